import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { allocate, DECIMAL_ONE, parseDecimal, roundedQuotient, sumOf } from './exact-amounts.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

t.test('a decimal keeps all of its digits, and what is none is refused', async (t) => {
  t.equal(parseDecimal('0.000000000001'), 1n)
  t.equal(parseDecimal('12.50'), (DECIMAL_ONE * 25n) / 2n)
  t.equal(parseDecimal('999999999999.999999999999'), 10n ** 24n - 1n)
  for (const wrong of ['', '-1', '+1', '1e3', '.5', '1.', '0.0000000000001', '1,5', ' 1', 'NaN', '1\n'])
    t.throws(() => parseDecimal(wrong), RangeError, JSON.stringify(wrong))
})

t.test('halves are rounded away from zero, so that a credit is what the charge was', async (t) => {
  t.same(
    [4n, 5n, 6n, 14n, 15n, -4n, -5n, -15n].map((dividend) => roundedQuotient(dividend, 10n)),
    [0n, 1n, 1n, 1n, 2n, 0n, -1n, -2n]
  )
  t.throws(() => roundedQuotient(1n, 0n), RangeError)
  t.throws(() => roundedQuotient(1n, -1n), RangeError)
})

t.test(
  'parts sum to the whole, each less than one unit away from its exact value, the larger remainder first',
  async (t) => {
    t.same(allocate(100n, [1n, 1n, 1n]), [34n, 33n, 33n], 'of equal remainders the first')
    t.same(allocate(10n, [1n, 3n, 1n, 0n]), [2n, 6n, 2n, 0n])
    t.same(allocate(2n, [1n, 2n, 2n]), [0n, 1n, 1n])
    t.same(allocate(-100n, [1n, 1n, 1n]), [-34n, -33n, -33n])
    t.same(allocate(0n, [0n, 0n]), [0n, 0n])
    t.same(allocate(0n, []), [])
    t.throws(() => allocate(1n, []), RangeError)
    t.throws(() => allocate(1n, [0n]), RangeError)
    t.throws(() => allocate(1n, [2n, -1n]), RangeError)
    const amount = fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n })
    const weights = fc.array(fc.oneof(fc.bigInt({ min: 0n, max: 9n }), fc.bigInt({ min: 0n, max: 10n ** 30n })), {
      minLength: 1,
      maxLength: 20
    })
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(amount, weights, (total, those) => {
          const sum = sumOf(those)
          fc.pre(sum > 0n)
          const parts = allocate(total, those)
          assert.equal(sumOf(parts), total)
          for (const [i, weight] of those.entries()) {
            const away = (parts[i] ?? 0n) * sum - total * weight
            assert(away < sum && away > -sum, `part ${i}: ${parts[i]}`)
          }
        }),
        { seed, numRuns: 1_000 }
      )
    )
  }
)
