import t from 'tap'
import type { LedgerRow, Uncounted } from '../domain/ports.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { type Page, PostgresLedgerReport } from './ledger-report.ts'
import { PostgresUsageLedger } from './usage-ledger.ts'

const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'report-test' })
t.teardown(() => database.close())
const ledger = new PostgresUsageLedger(database, 1)
const report = new PostgresLedgerReport(database)

async function append(partition: number, rows: readonly LedgerRow[], uncounted: readonly Uncounted[]): Promise<void> {
  const from = await ledger.open(partition)
  const to = { ...from, cursor: from.cursor + 10, previousArrivedAt: 77 }
  await ledger.flush({ partition, from, to, rows, uncounted })
}

function row(customerId: string, quarter: number, input: number): LedgerRow {
  const tokens = { input, cacheRead: 1, cacheWrite: 2, output: 3, reasoning: 4 }
  return { customerId, userId: 'u', model: 'm', quarter, tokens, events: 1 }
}

function uncounted(offset: number, reason: Uncounted['reason']): Uncounted {
  return { offset, reason, field: 'data', message: 'why' }
}

async function all<T>(list: (after: string) => Promise<Page<T>>): Promise<readonly T[]> {
  const items: T[] = []
  for (let after: string | null = ''; after !== null; ) {
    const page: Page<T> = await list(after)
    items.push(...page.items)
    after = page.next
  }
  return items
}

await append(
  0,
  [row('a', -1, 1), row('a', 0, 10), row('a', 95, 20), row('b', 96, 40)],
  [uncounted(1, 'duplicate'), uncounted(4, 'not-json')]
)
await append(1, [row('a', 95, 80), row('a', 960, 99)], [uncounted(0, 'duplicate')])

t.test('totals by day are summed over partitions and paged without loss', async (t) => {
  const query = { fromQuarter: -1, toQuarter: 960, customerId: null }
  const days = await all((after) => report.listDayTotals({ ...query, after, limit: 1 }))
  t.strictSame(
    days.map(({ customerId, day, tokens, events }) => [customerId, day, tokens.input, tokens.reasoning, events]),
    [
      ['a', -1, 1n, 4n, 1n],
      ['a', 0, 110n, 12n, 3n],
      ['b', 1, 40n, 4n, 1n]
    ]
  )
  const ofB = await report.listDayTotals({ ...query, customerId: 'b', after: '', limit: 10 })
  t.match(ofB, { items: [{ customerId: 'b', day: 1 }], next: null })
})

t.test('uncounted offsets are listed by partition and reason, paged without loss, and counted', async (t) => {
  const offsets = async (filter: Pick<Parameters<typeof report.listUncounted>[0], 'partition' | 'reason'>) =>
    (await all((after) => report.listUncounted({ ...filter, after, limit: 1 }))).map(({ partition, offset }) => [
      partition,
      offset
    ])
  t.strictSame(await offsets({}), [
    [0, 1],
    [0, 4],
    [1, 0]
  ])
  t.strictSame(await offsets({ reason: 'duplicate' }), [
    [0, 1],
    [1, 0]
  ])
  t.strictSame(await offsets({ partition: 0, reason: 'not-json' }), [[0, 4]])
  t.strictSame(
    await report.countUncounted(),
    new Map([
      ['duplicate', 2],
      ['not-json', 1]
    ])
  )
  await t.rejects(report.listUncounted({ after: 'bm9uc2Vuc2U', limit: 1 }), /not a page key of ours/)
})

t.test('the whole ledger and its cursors are told', async (t) => {
  const { tokens, events } = await report.totals()
  t.strictSame([tokens.input, events], [250n, 6n])
  const cursor = { cursor: 10, previousArrivedAt: 77, generations: [0] }
  t.strictSame(await report.cursors(), [
    { partition: 0, ...cursor },
    { partition: 1, ...cursor }
  ])
})
