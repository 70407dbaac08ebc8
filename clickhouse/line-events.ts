// The usage events behind a line of an invoice, page by page. An event that stands here twice comes twice: the ledger decides what is billed.

import type { ClickHouseClient } from '@clickhouse/client'
import type { LineEvents, LineSource, LineUsageAsk } from '../domain/billing/invoices/explain-line.ts'
import { ForeignCursorError, type Page } from '../domain/page.ts'
import { quarterStartMs } from '../domain/tokens/quarter-hour.ts'
import { TOKEN_POOLS } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { decodeEventRow, EVENT_SELECT, type EventRow } from './event-row.ts'
import { streamRows } from './stream-rows.ts'

/** The first two conditions are for the sorting key and the months in which the table is kept. */
const EVENTS_OF_SOURCES = `
  from usage_event
  where customer_id = {customerId:String}
    and occurred_at >= fromUnixTimestamp64Milli({first:Int64}) and occurred_at < fromUnixTimestamp64Milli({end:Int64})
    and (toUnixTimestamp64Milli(occurred_at), partition, record_offset) > ({afterMs:Int64}, {afterPartition:Int64}, {afterOffset:Int64})
    and arrayExists(
      (a_model, a_rank, a_from, a_to) -> a_model = model
        and toUnixTimestamp64Milli(occurred_at) >= a_from and toUnixTimestamp64Milli(occurred_at) < a_to
        and arrayElement([input, cache_read, cache_write, output, reasoning], a_rank) != 0,
      {models:Array(String)}, {ranks:Array(UInt8)}, {froms:Array(Int64)}, {tos:Array(Int64)})`

interface Place {
  readonly ms: number
  readonly partition: number
  readonly offset: number
}

const BEFORE_ALL: Place = { ms: -1, partition: 0, offset: 0 }

export class ClickHouseLineEvents implements LineEvents {
  readonly #client: ClickHouseClient

  constructor(client: ClickHouseClient) {
    this.#client = client
  }

  async lineEvents({ customerId, sources, limit, cursor }: LineUsageAsk): Promise<Page<UsageEvent>> {
    const after = placeOf(cursor)
    if (sources.length === 0) return { rows: [], next: null }
    const rows = streamRows<EventRow>(this.#client, {
      what: `read the events behind a line of ${customerId}`,
      query: `select ${EVENT_SELECT} ${EVENTS_OF_SOURCES}
        order by occurred_at, partition, record_offset limit {limit:UInt32}`,
      params: {
        ...paramsOf(sources),
        customerId,
        afterMs: after.ms,
        afterPartition: after.partition,
        afterOffset: after.offset,
        limit: limit + 1
      }
    })
    const found = await Array.fromAsync(rows)
    const page = found.slice(0, limit)
    const last = found.length > limit ? page.at(-1) : undefined
    const next = last === undefined ? null : `${last.occurred_ms}.${last.partition}.${last.offset_text}`
    return { rows: page.map((row) => decodeEventRow(row).event), next }
  }
}

function placeOf(cursor: string): Place {
  if (cursor === '') return BEFORE_ALL
  const [, ms, partition, offset] = /^(\d{1,15})\.(\d{1,9})\.(\d{1,16})$/.exec(cursor) ?? []
  if (ms === undefined) throw new ForeignCursorError(cursor)
  return { ms: Number(ms), partition: Number(partition), offset: Number(offset) }
}

function paramsOf(sources: readonly LineSource[]) {
  const froms = sources.map(({ from }) => quarterStartMs(from))
  const tos = sources.map(({ to }) => quarterStartMs(to))
  return {
    models: sources.map(({ model }) => model),
    ranks: sources.map(({ pool }) => TOKEN_POOLS.indexOf(pool) + 1),
    froms,
    tos,
    first: froms.reduce((least, from) => Math.min(least, from)),
    end: tos.reduce((most, to) => Math.max(most, to))
  }
}
