import fc from 'fast-check'
import t from 'tap'
import { noticesOf, tokensToNextNotice } from './quota-threshold.ts'
import type { Limit } from './tokens/limit.ts'

const LIMIT: Limit = {
  id: 'l',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 0,
  mode: 'soft',
  whenUnknown: 'allow'
}
const HOUR_MS = 3_600_000
const LIMITS_OF = { customerId: 'c', userId: 'u', model: 'm' }

function standingOf(used: number, max: number) {
  return {
    id: 'l',
    max,
    used,
    held: 0,
    remaining: 0,
    resetsAt: 7,
    asked: 0,
    mode: 'soft',
    whenUnknown: 'allow',
    unknown: null
  } as const
}

function noticed(used: number, max: number, { limit = LIMIT, now = 0 }: { limit?: Limit; now?: number } = {}) {
  return noticesOf({ ...LIMITS_OF, limit, standing: standingOf(used, max) }, [80, 100], now)
}

t.test(
  'the next notice is exactly so many tokens away, in the heaviest there are, up to the largest counts',
  async () => {
    const count = fc.oneof(fc.nat(1_000), fc.maxSafeInteger().map(Math.abs))
    const none = { input: 0, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 }
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        count,
        fc.integer({ min: 1, max: 1_000 }),
        (used, max, weight) => {
          const measure = { kind: 'cost', unit: 'u', weights: { '*': { ...none, input: 1, output: weight } } } as const
          const of = { ...LIMITS_OF, limit: { ...LIMIT, measure }, standing: standingOf(used, max) }
          const toNext = tokensToNextNotice(of, [80, 100])
          const before = noticed(used, max).length
          if (toNext === Number.POSITIVE_INFINITY) return before === 3
          const quiet = Math.ceil(toNext) - 1
          const after = used + (quiet + 1) * weight
          const isQuiet = noticed(used + quiet * weight, max).length === before
          return isQuiet && (after > Number.MAX_SAFE_INTEGER || noticed(after, max).length > before)
        }
      ),
      { numRuns: 5_000 }
    )
  }
)

t.test('a threshold is reached exactly where used / max is that percent, up to the largest counts', async () => {
  const count = fc.oneof(fc.nat(1_000), fc.maxSafeInteger().map(Math.abs))
  fc.assert(
    fc.property(count, count, (used, max) => {
      const percents = noticed(used, max).filter(({ type }) => type === 'quota.threshold_reached')
      const expected = [80n, 100n].filter((percent) => used > 0 && BigInt(used) * 100n >= BigInt(max) * percent)
      return percents.map(({ percent }) => percent).join() === expected.join()
    })
  )
})

t.test('exhausted is what was used up to the last token', async (t) => {
  t.notOk(noticed(999, 1_000).some(({ type }) => type === 'quota.exhausted'))
  t.match(noticed(1_000, 1_000).at(-1), { type: 'quota.exhausted', percent: 100 })
  t.same(noticed(0, 0), [], 'a limit of nothing that nobody used is not worth telling')
  const suspended = { ...LIMIT, id: 'customer-suspended' }
  t.same(noticed(5, 0, { limit: suspended }), [], 'who is suspended has used up nothing')
})

t.test('a rolling limit has a new window each time its own length has passed', async (t) => {
  const rolling: Limit = { ...LIMIT, window: { kind: 'rolling', hours: 5 } }
  const ends = [0, 5 * HOUR_MS - 1, 5 * HOUR_MS].map((now) => noticed(9, 10, { limit: rolling, now })[0]?.windowEnd)
  t.same(ends, [5 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS])
  t.equal(noticed(9, 10)[0]?.windowEnd, 7, 'any other ends when it is reset')
})
