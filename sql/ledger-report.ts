// The ledger for people and for reconciling: sums by customer and day, what was not counted and why, and how far it is.

import type { UncountedReason } from '../domain/tokens/usage-event.ts'
import type { Database } from './connect.ts'
import { type PoolSums, type TokenSums, toTokenSums } from './encoding/ledger-rows.ts'
import { decodePageKey, encodePageKey } from './encoding/page-key.ts'

const QUARTERS_PER_DAY = 96
const BEFORE_ALL_DAYS: readonly [customerId: string, day: number] = ['', -(2 ** 31)]
const BEFORE_ALL_OFFSETS: readonly [partition: number, offset: number] = [-1, -1]

/** A page and where the next begins; `next` null at the end. */
export interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface DayTotals {
  readonly customerId: string
  /** Whole UTC days since 1970-01-01. */
  readonly day: number
  readonly tokens: TokenSums
  readonly events: bigint
}

export interface UncountedOffset {
  readonly partition: number
  readonly offset: number
  readonly reason: UncountedReason
  readonly field: string | null
  readonly message: string
  /** Milliseconds since the epoch. */
  readonly notedAt: number
}

export interface LedgerCursor {
  readonly partition: number
  /** L. */
  readonly cursor: number
  readonly previousArrivedAt: number | null
  readonly generations: readonly number[]
}

export class PostgresLedgerReport {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Sums per customer and UTC day over the quarters in [fromQuarter, toQuarter), by customer, then day. */
  async listDayTotals(query: {
    readonly fromQuarter: number
    readonly toQuarter: number
    /** Null: every customer. */
    readonly customerId: string | null
    readonly after: string
    readonly limit: number
  }): Promise<Page<DayTotals>> {
    const [afterCustomer, afterDay] = decodePageKey(query.after, BEFORE_ALL_DAYS)
    const rows = await this.#database.query<PoolSums & { customer_id: string; day: number }>('list totals by day', {
      text: `select customer_id, floor(quarter / ${QUARTERS_PER_DAY}.0)::integer as day, ${SUMS}
               from usage_ledger
              where quarter >= $1 and quarter < $2
                and customer_id >= $4 and ($3::text is null or customer_id = $3)
                and (customer_id, floor(quarter / ${QUARTERS_PER_DAY}.0)::integer) > ($4, $5::integer)
              group by customer_id, day
              order by customer_id, day
              limit $6`,
      values: [query.fromQuarter, query.toQuarter, query.customerId, afterCustomer, afterDay, query.limit]
    })
    const items = rows.map((row) => ({
      customerId: row.customer_id,
      day: row.day,
      tokens: toTokenSums(row),
      events: BigInt(row.events)
    }))
    return { items, next: nextAfter(items, query.limit, ({ customerId, day }) => [customerId, day]) }
  }

  /** Everything ever counted. */
  async totals(): Promise<{ readonly tokens: TokenSums; readonly events: bigint }> {
    const [row] = await this.#database.query<PoolSums>('add up the ledger', {
      text: `select ${SUMS} from usage_ledger`
    })
    if (row === undefined) throw new Error('a sum without groups gave no row')
    return { tokens: toTokenSums(row), events: BigInt(row.events) }
  }

  /** Tokens ever counted, by model. */
  async tokensByModel(): Promise<ReadonlyMap<string, bigint>> {
    const rows = await this.#database.query<{ model: string; tokens: string }>('add up the models', {
      text: `select model, sum(input + cache_read + cache_write + output + reasoning) as tokens
               from usage_ledger group by model order by model`
    })
    return new Map(rows.map(({ model, tokens }) => [model, BigInt(tokens)]))
  }

  /** Offsets that were not counted, by partition, then offset. */
  async listUncounted(query: {
    readonly partition?: number
    readonly reason?: UncountedReason
    readonly after: string
    readonly limit: number
  }): Promise<Page<UncountedOffset>> {
    const rows = await this.#database.query<{
      partition: number
      record_offset: string
      reason: UncountedReason
      field: string | null
      message: string
      noted_at: Date
    }>('list uncounted offsets', {
      text: `select partition, record_offset, reason, field, message, noted_at
               from usage_uncounted
              where ($1::integer is null or partition = $1) and ($2::text is null or reason = $2)
                and (partition, record_offset) > ($3::integer, $4::bigint)
              order by partition, record_offset
              limit $5`,
      values: [
        query.partition ?? null,
        query.reason ?? null,
        ...decodePageKey(query.after, BEFORE_ALL_OFFSETS),
        query.limit
      ]
    })
    const items = rows.map((row) => ({
      partition: row.partition,
      offset: Number(row.record_offset),
      reason: row.reason,
      field: row.field,
      message: row.message,
      notedAt: row.noted_at.getTime()
    }))
    return { items, next: nextAfter(items, query.limit, ({ partition, offset }) => [partition, offset]) }
  }

  async countUncounted(): Promise<ReadonlyMap<UncountedReason, number>> {
    const rows = await this.#database.query<{ reason: UncountedReason; count: string }>('count uncounted offsets', {
      text: 'select reason, count(*) as count from usage_uncounted group by reason order by reason'
    })
    return new Map(rows.map((row) => [row.reason, Number(row.count)]))
  }

  /** Partitions that were ever consumed, in order. */
  async cursors(): Promise<readonly LedgerCursor[]> {
    const rows = await this.#database.query<{
      partition: number
      ledger_cursor: string
      previous_arrived_at: string | null
      generations: readonly string[]
    }>('read the cursors of the ledger', {
      text: 'select partition, ledger_cursor, previous_arrived_at, generations from usage_partition order by partition'
    })
    return rows.map((row) => ({
      partition: row.partition,
      cursor: Number(row.ledger_cursor),
      previousArrivedAt: row.previous_arrived_at === null ? null : Number(row.previous_arrived_at),
      generations: row.generations.map(Number)
    }))
  }
}

const SUMS = `coalesce(sum(input), 0) as input, coalesce(sum(cache_read), 0) as cache_read,
  coalesce(sum(cache_write), 0) as cache_write, coalesce(sum(output), 0) as output,
  coalesce(sum(reasoning), 0) as reasoning, coalesce(sum(events), 0) as events`

function nextAfter<T>(
  items: readonly T[],
  limit: number,
  keyOf: (item: T) => readonly (string | number)[]
): string | null {
  const last = items.length === limit ? items.at(-1) : undefined
  return last === undefined ? null : encodePageKey(keyOf(last))
}
