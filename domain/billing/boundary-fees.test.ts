import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { prorate } from '../subscriptions/proration.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import { baseFeeLines } from './boundary-fees.ts'
import { sumOf } from './exact-amounts.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const june = { start: Date.parse('2026-05-31T22:00Z'), end: Date.parse('2026-06-30T22:00Z') }
const july = { start: june.end, end: Date.parse('2026-07-31T22:00Z') }
const timeZone = 'Europe/Paris'

t.test('a boundary charges the period that begins and sets the ended one right', async (t) => {
  const at = Date.parse('2026-06-16T08:15Z')
  const changes = [{ at, oldFeeMinor: 1_000n, newFeeMinor: 3_001n }]
  t.same(baseFeeLines({ begins: { period: july, feeMinor: 3_001n }, ends: { period: june, timeZone, changes } }), [
    { reason: 'credit', from: at, to: june.end, amountMinor: -500n },
    { reason: 'charge', from: at, to: june.end, amountMinor: 1_500n },
    { reason: 'advance', from: july.start, to: july.end, amountMinor: 3_001n }
  ])
})

t.test('a first invoice is the advance alone, one after the end is none, and nothing is no line', async (t) => {
  const begins = { period: june, feeMinor: 1_000n }
  t.same(
    baseFeeLines({ begins, ends: null }).map(({ reason, amountMinor }) => [reason, amountMinor]),
    [['advance', 1_000n]]
  )
  t.same(baseFeeLines({ begins: { period: july, feeMinor: 0n }, ends: { period: june, timeZone, changes: [] } }), [])
  t.same(baseFeeLines({ begins: null, ends: { period: june, timeZone, changes: [] } }), [])
})

t.test('advance and corrections together are what each plan costs for its days, pauses included', async (t) => {
  const fee = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 10n ** 12n }))
  const quarters = (june.end - june.start) / QUARTER_HOUR_MS
  const times = fc.uniqueArray(fc.nat(quarters), { maxLength: 6 }).map((those) => those.toSorted((a, b) => a - b))
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(times, fc.array(fee, { minLength: 7, maxLength: 7 }), (those, fees) => {
        const instants = those.map((quarter) => june.start + quarter * QUARTER_HOUR_MS)
        const feeOf = (i: number) => fees[i] ?? 0n
        const changes = instants.map((at, i) => ({ at, oldFeeMinor: feeOf(i), newFeeMinor: feeOf(i + 1) }))
        const paid =
          feeOf(0) +
          sumOf(
            baseFeeLines({ begins: null, ends: { period: june, timeZone, changes } }).map((line) => line.amountMinor)
          )
        const edges = [june.start, ...instants, june.end]
        const due = edges.slice(1).map((to, i) => {
          return prorate({ amountMinor: feeOf(i), period: june, from: edges[i] ?? 0, to, timeZone })
        })
        assert.equal(paid, sumOf(due))
      }),
      { seed, numRuns: 300 }
    )
  )
})
