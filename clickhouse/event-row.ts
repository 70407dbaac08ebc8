// How a counted event stands in a row of `usage_event`: the one place that knows its columns, for writing and reading.

import type { MeteredEvent } from '../domain/ports.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'

/** In the order in which `encodeEventRow` gives the values. */
export const EVENT_COLUMNS = [
  'partition',
  'record_offset',
  'arrived_at',
  'occurred_at',
  'customer_id',
  'source',
  'id',
  'kind',
  'user_id',
  'model',
  'provider',
  'operation',
  'request_id',
  'hold_id',
  'input',
  'cache_read',
  'cache_write',
  'output',
  'reasoning',
  'metadata'
] as const satisfies readonly [string, ...string[]]

type EventRowValues = readonly (number | string | Readonly<Record<string, string>>)[]

/** Times go as integers: in JSON, ClickHouse takes one for the milliseconds of a DateTime64(3). */
export function encodeEventRow(partition: number, { offset, arrivedAt, event }: MeteredEvent): EventRowValues {
  const { tokens } = event
  return [
    partition,
    offset,
    arrivedAt,
    event.occurredAt,
    wellFormed(event.customerId),
    wellFormed(event.source),
    wellFormed(event.id),
    event.kind,
    wellFormed(event.userId),
    wellFormed(event.model),
    wellFormed(event.provider),
    wellFormed(event.operation),
    wellFormed(event.requestId),
    wellFormed(event.holdId),
    tokens.input,
    tokens.cacheRead,
    tokens.cacheWrite,
    tokens.output,
    tokens.reasoning,
    wellFormedEntries(event.metadata)
  ]
}

/** Half a surrogate pair is legal in JSON and in a JavaScript string, but ClickHouse refuses the whole block for it. */
function wellFormed(text: string): string {
  return text.isWellFormed() ? text : text.toWellFormed()
}

function wellFormedEntries(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(metadata)
  const isFine = entries.every(([key, value]) => key.isWellFormed() && value.isWellFormed())
  if (isFine) return metadata
  return Object.fromEntries(entries.map(([key, value]) => [wellFormed(key), wellFormed(value)]))
}

/** Select list of what `decodeEventRow` reads. Integers that may pass 2^32 come as text, whatever the server's settings. */
export const EVENT_SELECT = `partition, toString(record_offset) as offset_text,
  toString(toUnixTimestamp64Milli(arrived_at)) as arrived_ms, toString(toUnixTimestamp64Milli(occurred_at)) as occurred_ms,
  customer_id, source, id, kind, user_id, model, provider, operation, request_id, hold_id,
  arrayMap(x -> toString(x), [input, cache_read, cache_write, output, reasoning]) as pools, metadata`

export interface EventRow {
  readonly partition: number
  readonly offset_text: string
  readonly arrived_ms: string
  readonly occurred_ms: string
  readonly customer_id: string
  readonly source: string
  readonly id: string
  readonly kind: UsageEvent['kind']
  readonly user_id: string
  readonly model: string
  readonly provider: string
  readonly operation: string
  readonly request_id: string
  readonly hold_id: string
  readonly pools: readonly [input: string, cacheRead: string, cacheWrite: string, output: string, reasoning: string]
  readonly metadata: Readonly<Record<string, string>>
}

export function decodeEventRow(row: EventRow): MeteredEvent {
  const [input, cacheRead, cacheWrite, output, reasoning] = row.pools
  return {
    offset: Number(row.offset_text),
    arrivedAt: Number(row.arrived_ms),
    event: {
      kind: row.kind,
      id: row.id,
      source: row.source,
      customerId: row.customer_id,
      occurredAt: Number(row.occurred_ms),
      userId: row.user_id,
      model: row.model,
      provider: row.provider,
      operation: row.operation,
      requestId: row.request_id,
      holdId: row.hold_id,
      tokens: {
        input: Number(input),
        cacheRead: Number(cacheRead),
        cacheWrite: Number(cacheWrite),
        output: Number(output),
        reasoning: Number(reasoning)
      },
      metadata: row.metadata
    }
  }
}
