// What ClickHouse has of the stretches that are about to be billed, to be held against the ledger: sums from the roll-up, and the
// events behind them.

import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client'
import type { CustomerStretch } from '../domain/billing/invoices/billing-gate.ts'
import type { QuarterTokens, StretchEvents, StretchSums, StretchTokens } from '../domain/billing/invoices/gate-ports.ts'
import type { MeteredEvent } from '../domain/ports.ts'
import { QUARTER_HOUR_MS, quarterStartMs } from '../domain/tokens/quarter-hour.ts'
import type { TokenPool } from '../domain/tokens/token-pools.ts'
import { decodeEventRow, EVENT_SELECT, type EventRow } from './event-row.ts'
import { streamRows } from './stream-rows.ts'

/** The most of the server's memory one statement may take. */
const READ_SETTINGS: ClickHouseSettings = { max_memory_usage: String(2 * 1024 ** 3) }
const QUARTER_SECONDS = QUARTER_HOUR_MS / 1_000
/** What a DateTime can hold, in quarters: up to 2106. */
const QUARTER_MAX = Math.floor((2 ** 32 - 1) / QUARTER_SECONDS)

/** The five pools' sums as decimal digits. */
const SUMS = 'arrayMap(x -> toString(x), sumForEach([input, cache_read, cache_write, output, reasoning])) as sums'

/**
 * Rows of the roll-up beside the stretches they belong to, which come as lists side by side. The first two conditions are for the
 * sorting key and the months in which the table is kept: without them the join would read all of it.
 */
const ROWS_OF_STRETCHES = `
  from usage_quarter_hour
  inner join (
    select customer, from_quarter, to_quarter, stretch
    from (select {customers:Array(String)} as customers, {fromQuarters:Array(UInt32)} as from_quarters,
            {toQuarters:Array(UInt32)} as to_quarters)
    array join customers as customer, from_quarters as from_quarter, to_quarters as to_quarter,
      arrayEnumerate(customers) as stretch
  ) as asked on usage_quarter_hour.customer_id = asked.customer
  where usage_quarter_hour.customer_id in {customers:Array(String)}
    and quarter_start >= fromUnixTimestamp({first:Int64}) and quarter_start < fromUnixTimestamp({end:Int64})
    and quarter_start >= fromUnixTimestamp(toInt64(from_quarter) * ${QUARTER_SECONDS})
    and quarter_start < fromUnixTimestamp(toInt64(to_quarter) * ${QUARTER_SECONDS})`

const EVENTS_OF_STRETCH = `
  from usage_event
  where customer_id = {customerId:String}
    and occurred_at >= fromUnixTimestamp64Milli({from:Int64}) and occurred_at < fromUnixTimestamp64Milli({to:Int64})`

interface SumsRow {
  /** From 1. */
  readonly stretch: number
  readonly model: string
  readonly sums: readonly [input: string, cacheRead: string, cacheWrite: string, output: string, reasoning: string]
}

export class ClickHouseBillingUsage implements StretchSums, StretchEvents {
  readonly #client: ClickHouseClient

  constructor(client: ClickHouseClient) {
    this.#client = client
  }

  async stretchSums(stretches: readonly CustomerStretch[]): Promise<readonly StretchTokens[]> {
    if (stretches.length === 0) return []
    const rows = streamRows<SumsRow>(this.#client, {
      what: `sum usage of ${stretches.length} stretches`,
      query: `select toUInt32(stretch) as stretch, model, ${SUMS} ${ROWS_OF_STRETCHES} group by stretch, model`,
      params: paramsOf(stretches),
      settings: READ_SETTINGS
    })
    return Array.fromAsync(rows, decodeSums)
  }

  async quarterSums(stretches: readonly CustomerStretch[]): Promise<readonly QuarterTokens[]> {
    if (stretches.length === 0) return []
    const rows = streamRows<SumsRow & { readonly quarter: number }>(this.#client, {
      what: `sum usage of ${stretches.length} stretches by quarter-hour`,
      query: `select toUInt32(stretch) as stretch, model,
          toUInt32(intDiv(toUnixTimestamp(quarter_start), ${QUARTER_SECONDS})) as quarter, ${SUMS}
        ${ROWS_OF_STRETCHES} group by stretch, model, quarter`,
      params: paramsOf(stretches),
      settings: READ_SETTINGS
    })
    return Array.fromAsync(rows, (row) => ({ ...decodeSums(row), quarter: row.quarter }))
  }

  async *stretchEvents(
    asked: CustomerStretch & { readonly partition: number; readonly fromOffset: number; readonly toOffset: number }
  ): AsyncGenerator<MeteredEvent> {
    const { partition, fromOffset, toOffset } = asked
    const rows = streamRows<EventRow>(this.#client, {
      what: `read the events of ${asked.customerId} in partition ${partition}`,
      query: `select ${EVENT_SELECT} ${EVENTS_OF_STRETCH}
          and partition = {partition:UInt32} and record_offset >= {fromOffset:UInt64} and record_offset < {toOffset:UInt64}
        order by record_offset`,
      params: { ...timesOf(asked), partition, fromOffset, toOffset },
      settings: READ_SETTINGS
    })
    for await (const row of rows) yield decodeEventRow(row)
  }

  async countEvents(stretch: CustomerStretch): Promise<ReadonlyMap<number, number>> {
    const rows = streamRows<{ partition: number; count_text: string }>(this.#client, {
      what: `count the events of ${stretch.customerId}`,
      query: `select partition, toString(count()) as count_text ${EVENTS_OF_STRETCH} group by partition`,
      params: timesOf(stretch)
    })
    const counts = new Map<number, number>()
    for await (const row of rows) counts.set(row.partition, Number(row.count_text))
    return counts
  }
}

function paramsOf(stretches: readonly CustomerStretch[]) {
  const fromQuarters = stretches.map(({ from }) => clampQuarter(from))
  const toQuarters = stretches.map(({ to }) => clampQuarter(to))
  return {
    customers: stretches.map(({ customerId }) => customerId),
    fromQuarters,
    toQuarters,
    first: Math.min(...fromQuarters) * QUARTER_SECONDS,
    end: Math.max(...toQuarters) * QUARTER_SECONDS
  }
}

function timesOf({ customerId, from, to }: CustomerStretch) {
  return { customerId, from: quarterStartMs(from), to: quarterStartMs(to) }
}

function clampQuarter(quarter: number): number {
  return Math.min(Math.max(quarter, 0), QUARTER_MAX)
}

function decodeSums({ stretch, model, sums }: SumsRow): StretchTokens {
  const [input, cacheRead, cacheWrite, output, reasoning] = sums
  const tokens: Record<TokenPool, bigint> = {
    input: BigInt(input),
    cacheRead: BigInt(cacheRead),
    cacheWrite: BigInt(cacheWrite),
    output: BigInt(output),
    reasoning: BigInt(reasoning)
  }
  return { stretch: stretch - 1, model, tokens }
}
