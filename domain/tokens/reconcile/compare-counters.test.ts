import fc from 'fast-check'
import t from 'tap'
import type { LedgerRow } from '../../ports.ts'
import { compileLimits } from '../compile-limits.ts'
import { amountsOf } from '../counter-amounts.ts'
import type { Counter, Limit } from '../limit.ts'
import { quarterOf } from '../quarter-hour.ts'
import { NO_TOKENS } from '../token-pools.ts'
import { compareCounters, type MeteredCustomer, nameOfAmount, separatingQuarters } from './compare-counters.ts'

const NOW = Date.UTC(2026, 10, 25, 9, 40)
const WEIGHTS = { input: 3, cacheRead: 1, cacheWrite: 4, output: 15, reasoning: 15 }

const limit = (id: string, change: Pick<Limit, 'scope' | 'measure' | 'window'>): Limit => ({
  id,
  max: 1_000,
  mode: 'hard',
  whenUnknown: 'deny',
  ...change
})

const COUNTERS: readonly Counter[] = compileLimits(
  {
    customerId: 'acme',
    timeZone: 'Asia/Kathmandu',
    version: 1,
    limits: [
      limit('month', { scope: { kind: 'customer' }, measure: { kind: 'total' }, window: { kind: 'month' } }),
      limit('day', { scope: { kind: 'each-user' }, measure: { kind: 'total' }, window: { kind: 'day' } }),
      limit('hour', { scope: { kind: 'user', userId: 'ada' }, measure: { kind: 'total' }, window: { kind: 'hour' } }),
      limit('rolling', {
        scope: { kind: 'each-model' },
        measure: { kind: 'pool', pool: 'output' },
        window: { kind: 'rolling', hours: 3 }
      }),
      limit('cost', {
        scope: { kind: 'customer' },
        measure: { kind: 'cost', unit: 'EUR/1000000', weights: { '*': WEIGHTS } },
        window: { kind: 'week' }
      })
    ]
  },
  NOW
).compiled.counters

/** Usage of this and the previous month, much of it of the last hours. */
const arbitraryRow: fc.Arbitrary<LedgerRow> = fc.record({
  customerId: fc.constant('acme'),
  userId: fc.constantFrom('', 'ada', 'ben'),
  model: fc.constantFrom('small', 'large'),
  quarter: fc.oneof(
    fc.integer({ min: quarterOf(NOW) - 70 * 96, max: quarterOf(NOW) + 1 }),
    fc.integer({ min: quarterOf(NOW) - 20, max: quarterOf(NOW) + 1 })
  ),
  tokens: fc.record({ input: fc.nat(90), output: fc.nat(90) }).map((tokens) => ({ ...NO_TOKENS, ...tokens })),
  events: fc.constant(1)
})

function meterOf(rows: readonly LedgerRow[], seeding = false): MeteredCustomer {
  return { total: 0, counters: COUNTERS, amounts: amountsOf(COUNTERS, rows, 0), seeding }
}

t.test('a meter that is ahead of one look at the ledger and behind the next agrees with them', async (t) => {
  fc.assert(
    fc.property(fc.array(arbitraryRow), fc.array(arbitraryRow), fc.array(arbitraryRow), (flushed, ahead, later) => {
      const before = flushed
      const after = [...flushed, ...ahead, ...later]
      t.strictSame(compareCounters(meterOf([...flushed, ...ahead]), { before, after, now: NOW }), [])
    })
  )
})

t.test('of a ledger that stands still, every sum that the meter tells otherwise is a settled difference', async (t) => {
  fc.assert(
    fc.property(fc.array(arbitraryRow), fc.nat(), fc.integer({ min: 1, max: 9 }), (rows, at, amount) => {
      const meter = meterOf(rows)
      const looked = compareCounters({ ...meter, amounts: [] }, { before: rows, after: rows, now: NOW })
      const changed = looked[at % Math.max(1, looked.length)]
      if (changed === undefined) return
      const amounts = meter.amounts.map((one) =>
        nameOfAmount(one) === nameOfAmount(changed) ? { ...one, amount: one.amount - amount } : one
      )
      t.strictSame(compareCounters({ ...meter, amounts }, { before: rows, after: rows, now: NOW }), [
        { ...changed, other: changed.ledger - BigInt(amount) }
      ])
    })
  )
})

t.test('a sum that moves differs only beyond what moved it', async (t) => {
  const at = quarterOf(NOW) - 4 * 24 * 40
  const used = (input: number): LedgerRow => ({
    customerId: 'acme',
    userId: '',
    model: 'small',
    quarter: at,
    tokens: { ...NO_TOKENS, input },
    events: 1
  })
  const monthly = (metered: number) =>
    compareCounters(meterOf([used(metered)]), { before: [used(100)], after: [used(130)], now: NOW }).filter(
      ({ counterId }) => counterId === 'customer|total|month'
    )
  t.strictSame(monthly(100), [])
  t.strictSame(monthly(130), [])
  t.match(monthly(99), [{ ledger: 100n, other: 99n, isSettled: false }])
  t.match(monthly(131), [{ ledger: 130n, other: 131n, isSettled: false }])
})

t.test(
  'rows added up between the separating quarters come to the same in every counter that is looked at',
  async (t) => {
    const quarters = separatingQuarters(COUNTERS, NOW)
    fc.assert(
      fc.property(fc.array(arbitraryRow), (rows) => {
        const added = rows.flatMap((row) => {
          const quarter = quarters.findLast((bound) => bound <= row.quarter)
          return quarter === undefined ? [] : [{ ...row, quarter }]
        })
        t.strictSame(compareCounters(meterOf(rows), { before: added, after: added, now: NOW }), [])
      })
    )
  }
)

t.test('what a rolling counter no longer looks at is not compared', async (t) => {
  const rolling = COUNTERS.find(({ rollingHours }) => rollingHours > 0)
  if (rolling === undefined) throw new Error('there is a rolling counter')
  const amountAt = (startQuarter: number) => ({ counterId: rolling.id, startQuarter, subject: 'small', amount: 5 })
  const compare = (startQuarter: number) =>
    compareCounters({ ...meterOf([]), amounts: [amountAt(startQuarter)] }, { before: [], after: [], now: NOW })
  t.equal(compare(quarterOf(NOW) - 12).length, 0)
  t.match(compare(quarterOf(NOW) - 11), [{ subject: 'small', ledger: 0n, other: 5n, isSettled: true }])
})
