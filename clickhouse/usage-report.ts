// What ClickHouse holds, told for reconciling with the ledger and the log: sums, offsets, and the events behind a sum.

import type { ClickHouseClient } from '@clickhouse/client'
import type { MeteredEvent } from '../domain/ports.ts'
import { dayOf, type UsageDay } from '../domain/tokens/usage-day.ts'
import { decodeEventRow, EVENT_SELECT, type EventRow } from './event-row.ts'
import { type ReportStatement, streamRows } from './stream-rows.ts'

const REPEATED_OFFSETS_MAX = 1_000

/** What is held of a partition of the log. Offsets in between may be uncounted. */
export interface PartitionContent {
  readonly partition: number
  readonly firstOffset: number
  readonly lastOffset: number
  readonly events: bigint
}

export interface LoggedEvent extends MeteredEvent {
  readonly partition: number
}

/** The five pools' sums as decimal digits. */
const SUMS =
  'arrayMap(x -> toString(x), sumForEach(arrayMap(x -> toInt128(x), [input, cache_read, cache_write, output, reasoning])))'

interface UsageDayRow {
  readonly customer_id: string
  readonly day_text: string
  readonly sums: readonly [string, string, string, string, string]
  readonly events_text: string
}

export class ClickHouseUsageReport {
  readonly #client: ClickHouseClient

  constructor(client: ClickHouseClient) {
    this.#client = client
  }

  /** Per customer and day, in that order, from the events themselves or from the roll-up; both must say the same. */
  async *usageDays(table: 'events' | 'roll-up', from: number, to: number): AsyncGenerator<UsageDay> {
    const source =
      table === 'events'
        ? { table: 'usage_event', time: 'occurred_at', events: 'count()' }
        : { table: 'usage_quarter_hour', time: 'quarter_start', events: 'sum(events)' }
    const rows = this.#stream<UsageDayRow>(
      'sum usage by day',
      `select customer_id, toString(toDate(${source.time}, 'UTC')) as day_text,
         ${SUMS} as sums,
         toString(${source.events}) as events_text
       from ${source.table}
       where ${source.time} >= fromUnixTimestamp64Milli({from:Int64}) and ${source.time} < fromUnixTimestamp64Milli({to:Int64})
       group by customer_id, day_text
       order by customer_id, day_text`,
      { from, to }
    )
    for await (const row of rows) yield decodeUsageDay(row)
  }

  /** Per customer and day, of the events with an offset before the given one of their partition (index = partition). */
  async *usageDaysThrough(through: readonly number[]): AsyncGenerator<UsageDay> {
    const rows = this.#stream<UsageDayRow>(
      'sum usage by day up to the cursors',
      `select customer_id, toString(toDate(occurred_at, 'UTC')) as day_text, ${SUMS} as sums, toString(count()) as events_text
       from usage_event
       where record_offset < {through:Array(UInt64)}[partition + 1]
       group by customer_id, day_text`,
      { through: [...through] }
    )
    for await (const row of rows) yield decodeUsageDay(row)
  }

  async partitions(): Promise<readonly PartitionContent[]> {
    const rows = this.#stream<{ partition: number; first_text: string; last_text: string; events_text: string }>(
      'list partitions',
      `select partition, toString(min(record_offset)) as first_text, toString(max(record_offset)) as last_text,
         toString(count()) as events_text
       from usage_event group by partition order by partition`,
      {}
    )
    const contents: PartitionContent[] = []
    for await (const row of rows) {
      contents.push({
        partition: row.partition,
        firstOffset: Number(row.first_text),
        lastOffset: Number(row.last_text),
        events: BigInt(row.events_text)
      })
    }
    return contents
  }

  /** Offsets in [from, to) that stand here more than once, the first thousand of them: there should be none. */
  async repeatedOffsets(partition: number, from: number, to: number): Promise<readonly number[]> {
    const rows = this.#stream<{ offset_text: string }>(
      'look for repeated offsets',
      `select toString(record_offset) as offset_text from usage_event
       where partition = {partition:UInt32} and record_offset >= {from:UInt64} and record_offset < {to:UInt64}
       group by record_offset having count() > 1 order by record_offset limit {limit:UInt32}`,
      { partition, from, to, limit: REPEATED_OFFSETS_MAX }
    )
    const offsets: number[] = []
    for await (const row of rows) offsets.push(Number(row.offset_text))
    return offsets
  }

  /** The events of a customer's day (of UTC, as in `usageDays`) in the order of the log: what a difference is explained with. */
  async *eventsOfDay(customerId: string, day: string): AsyncGenerator<LoggedEvent> {
    const rows = this.#stream<EventRow>(
      `read the events of ${day}`,
      `select ${EVENT_SELECT} from usage_event
       where customer_id = {customerId:String}
         and occurred_at >= toDateTime({day:Date}, 'UTC') and occurred_at < toDateTime({day:Date} + 1, 'UTC')
       order by partition, record_offset`,
      { customerId, day }
    )
    for await (const row of rows) yield { partition: row.partition, ...decodeEventRow(row) }
  }

  #stream<T>(what: string, query: string, params: ReportStatement['params']): AsyncGenerator<T> {
    return streamRows<T>(this.#client, { what, query, params })
  }
}

function decodeUsageDay(row: UsageDayRow): UsageDay {
  const [input, cacheRead, cacheWrite, output, reasoning] = row.sums
  return {
    customerId: row.customer_id,
    day: dayOf(Date.parse(row.day_text)),
    tokens: {
      input: BigInt(input),
      cacheRead: BigInt(cacheRead),
      cacheWrite: BigInt(cacheWrite),
      output: BigInt(output),
      reasoning: BigInt(reasoning)
    },
    events: BigInt(row.events_text)
  }
}
