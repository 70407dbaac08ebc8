import t from 'tap'
import type { LineSource } from '../domain/billing/invoices/explain-line.ts'
import { ForeignCursorError } from '../domain/page.ts'
import { QUARTER_HOUR_MS, quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { freshClickHouse } from '../test/clickhouse-database.ts'
import { countedEvent } from '../test/counted-events.ts'
import { ClickHouseLineEvents } from './line-events.ts'
import { ClickHouseUsageLog } from './usage-log.ts'

const FROM = Date.UTC(2026, 2, 1, 12)
const TO = FROM + 4 * QUARTER_HOUR_MS

const { client } = await freshClickHouse(t)
const behind = new ClickHouseLineEvents(client)

const input = (tokens: number) => ({ ...NO_TOKENS, input: tokens })
/** Four of them are behind the line; two at the same instant. */
const used: readonly Partial<UsageEvent>[] = [
  { occurredAt: FROM, tokens: input(5) },
  { occurredAt: FROM - 1, tokens: input(7) },
  { occurredAt: TO, tokens: input(11) },
  { occurredAt: TO - 1, tokens: input(13) },
  { occurredAt: FROM + 1_000, tokens: input(17), model: 'large' },
  { occurredAt: FROM + 1_000, tokens: { ...NO_TOKENS, output: 19 } },
  { occurredAt: FROM + 1_000, tokens: input(23), customerId: 'other' },
  { occurredAt: FROM + 2_000, tokens: input(29) },
  { occurredAt: FROM + 2_000, tokens: input(-29), kind: 'voided', id: 'event-7' }
]
const counted = used.map((change, offset) => countedEvent(offset, change))
await new ClickHouseUsageLog({ client, topic: 'usage' }).append(0, { from: 0, to: counted.length }, counted)

const source: LineSource = { pool: 'input', model: 'small', from: quarterOf(FROM), to: quarterOf(TO) }
const ask = { customerId: 'acme', sources: [source], limit: 10, cursor: '' }

t.test('the events of a pool, a model and a stretch are told in the order of their time, and no others', async (t) => {
  const { rows, next } = await behind.lineEvents(ask)
  t.equal(next, null)
  t.same(
    rows.map(({ tokens, kind }) => [tokens.input, kind]),
    [
      [5, 'used'],
      [29, 'used'],
      [-29, 'voided'],
      [13, 'used']
    ]
  )
  const large = { ...source, model: 'large' }
  const both = await behind.lineEvents({ ...ask, sources: [source, large] })
  t.equal(both.rows.length, 5)
  t.same(await behind.lineEvents({ ...ask, sources: [] }), { rows: [], next: null })
})

t.test('pages follow each other without a gap or a repeat, also within one instant', async (t) => {
  const told: number[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page: Awaited<ReturnType<typeof behind.lineEvents>> = await behind.lineEvents({ ...ask, cursor, limit: 1 })
    told.push(...page.rows.map(({ tokens }) => tokens.input))
    cursor = page.next
  }
  t.same(told, [5, 29, -29, 13])
  await t.rejects(behind.lineEvents({ ...ask, cursor: 'x' }), ForeignCursorError)
})
