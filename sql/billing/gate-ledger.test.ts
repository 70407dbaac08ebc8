import fc from 'fast-check'
import t from 'tap'
import type { LedgerRow } from '../../domain/ports.ts'
import { NO_TOKENS, TOKEN_POOLS, type TokenPools } from '../../domain/tokens/token-pools.ts'
import { freshDatabase } from '../../test/services.ts'
import { PostgresAnalyticsBlocks } from '../analytics-blocks.ts'
import { Database } from '../connect.ts'
import { PostgresUsageLedger } from '../usage-ledger.ts'
import { PostgresGateLedger } from './gate-ledger.ts'

const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'gate-ledger-test' })
t.teardown(() => database.close())
const usageLedger = new PostgresUsageLedger(database, 1)
const blocks = new PostgresAnalyticsBlocks(database)
const gateLedger = new PostgresGateLedger(database)

async function flush(partition: number, rows: readonly LedgerRow[], records = rows.length): Promise<void> {
  const from = await usageLedger.open(partition)
  const to = { ...from, cursor: from.cursor + records, previousArrivedAt: 1 }
  t.equal(await usageLedger.flush({ partition, from, to, rows, uncounted: [] }), 'moved')
}

const arbitraryPool = fc.oneof(fc.nat(100), fc.constant(2 ** 52), fc.constant(-3))
const arbitraryRow: fc.Arbitrary<LedgerRow> = fc.record({
  customerId: fc.constantFrom('acme', 'ümlaut "& söhne', 'c\\'),
  userId: fc.constantFrom('', 'ann'),
  model: fc.constantFrom('small', 'large'),
  quarter: fc.integer({ min: 0, max: 40 }),
  tokens: fc.record({
    input: arbitraryPool,
    cacheRead: arbitraryPool,
    cacheWrite: arbitraryPool,
    output: arbitraryPool,
    reasoning: arbitraryPool
  }),
  events: fc.constant(1)
})

/** Sums by key as text, in order. */
function added(
  rows: readonly { readonly key: string; readonly tokens: Readonly<Record<keyof TokenPools, number | bigint>> }[]
) {
  const sums = new Map<string, bigint[]>()
  for (const { key, tokens } of rows) {
    const sum = sums.get(key) ?? TOKEN_POOLS.map(() => 0n)
    sums.set(
      key,
      TOKEN_POOLS.map((pool, i) => (sum[i] ?? 0n) + BigInt(tokens[pool]))
    )
  }
  return [...sums].map(([key, sum]) => `${key}: ${sum}`).sort()
}

t.test('sums of stretches, by quarter and between the quarters of counters equal a plain addition', async (t) => {
  let run = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(arbitraryRow, { maxLength: 30 }),
      fc.array(fc.tuple(arbitraryRow, fc.nat(30)), { minLength: 1, maxLength: 6 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 45 }), { minLength: 1, maxLength: 6 }),
      async (drawn, places, bounds) => {
        const prefix = `${run++} `
        const rows = drawn.map((row) => ({ ...row, customerId: prefix + row.customerId }))
        await flush(0, rows.slice(0, 10))
        await flush(1, rows.slice(10))
        const stretches = places.map(([{ customerId, quarter }, length]) => ({
          customerId: prefix + customerId,
          from: quarter,
          to: quarter + length
        }))
        const inStretches = stretches.flatMap(({ customerId, from, to }, stretch) =>
          rows
            .filter((row) => row.customerId === customerId && row.quarter >= from && row.quarter < to)
            .map((row) => ({ ...row, stretch }))
        )
        t.same(
          added(
            (await gateLedger.stretchSums(stretches)).map((row) => ({ ...row, key: `${row.stretch} ${row.model}` }))
          ),
          added(inStretches.map((row) => ({ ...row, key: `${row.stretch} ${row.model}` })))
        )
        const byQuarter = (row: { stretch: number; model: string; quarter: number }) =>
          `${row.stretch} ${row.model} ${row.quarter}`
        t.same(
          added((await gateLedger.quarterSums(stretches)).map((row) => ({ ...row, key: byQuarter(row) }))),
          added(inStretches.map((row) => ({ ...row, key: byQuarter(row) })))
        )
        const quarters = bounds.toSorted((a, b) => a - b)
        const counted = await gateLedger.counterRows(
          [...new Set(rows.map(({ customerId }) => customerId))].map((customerId) => ({ customerId, quarters }))
        )
        const byCounter = (row: LedgerRow) => `${row.customerId} ${row.userId} ${row.model} ${row.quarter}`
        t.same(
          added([...counted.values()].flat().map((row) => ({ ...row, key: byCounter(row) }))),
          added(
            rows.flatMap((row) => {
              const quarter = quarters.findLast((bound) => bound <= row.quarter)
              return quarter === undefined ? [] : [{ ...row, key: byCounter({ ...row, quarter }) }]
            })
          )
        )
      }
    ),
    { numRuns: 15 }
  )
})

t.test('counters that count nothing are not asked about, each customer has quarters of its own', async (t) => {
  const tokens = { ...NO_TOKENS, input: 1 }
  const row = (customerId: string, quarter: number): LedgerRow => ({
    customerId,
    userId: '',
    model: 'm',
    quarter,
    tokens,
    events: 1
  })
  await flush(
    0,
    ['own-1', 'own-2', 'own-3'].flatMap((name) => [row(name, 1), row(name, 5)])
  )
  const counted = await gateLedger.counterRows([
    { customerId: 'own-1', quarters: [0] },
    { customerId: 'own-2', quarters: [2, 5] },
    { customerId: 'own-3', quarters: [] }
  ])
  t.strictSame(
    [...counted]
      .toSorted()
      .map(([customerId, rows]) => [customerId, rows.map(({ quarter, tokens }) => [quarter, tokens.input])]),
    [
      ['own-1', [[0, 2]]],
      ['own-2', [[5, 1]]]
    ]
  )
})

t.test('a partition that only one of them has begun stands at the start of the other', async (t) => {
  await flush(7, [], 12)
  await blocks.open(8)
  await flush(9, [], 5)
  await blocks.open(9)
  t.ok(await blocks.record(9, { from: 0, to: 4 }))
  t.ok(await blocks.finish(9, { from: 0, to: 4 }))
  const stands = await gateLedger.stands()
  t.strictSame(
    [7, 8, 9].map((partition) => stands.get(partition)),
    [
      { ledger: 12, analytics: 0 },
      { ledger: 0, analytics: 0 },
      { ledger: 5, analytics: 4 }
    ]
  )
})
