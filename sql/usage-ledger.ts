// The ledger as a partition's consumer writes it: sixth stop on the way of an event. A flush is one statement, hence one
// transaction and one round trip: compare-and-set of the position first, and the effects only where it held. The row lock
// of the position makes a second flush of the partition wait; it then finds another cursor and is fenced.

import type {
  CutRange,
  LedgerFlush,
  LedgerPart,
  LedgerPosition,
  LedgerRow,
  Refusable,
  UsageLedger
} from '../domain/ports.ts'
import { TOKEN_POOLS } from '../domain/tokens/token-pools.ts'
import type { Database } from './connect.ts'
import { numberArrayLiteral, textArrayLiteral } from './encoding/array-literal.ts'
import { type LedgerColumns, toLedgerRows } from './encoding/ledger-rows.ts'
import { decodePageKey, encodePageKey } from './encoding/page-key.ts'

/** Rows that `readForCuts` answers for one cut at most: the meter tells 64 cuts at a time, and all of their rows are in memory. */
const CUT_PART_ROWS = 1_000
/** Text about one bad record stays within this many characters. */
const MESSAGE_LENGTH_MAX = 2_000
/** Before every key of a customer's rows in one partition; quarters are 32-bit integers. */
const BEFORE_ALL_ROWS: readonly [userId: string, model: string, quarter: number] = ['', '', -(2 ** 31)]

interface PositionColumns {
  readonly ledger_cursor: string
  readonly previous_arrived_at: string | null
  readonly generations: readonly string[]
  readonly shard_cursors: readonly string[]
}

/** With the cut's place among those asked for, from 1. */
type CutColumns = (LedgerColumns | { readonly quarter: null }) & { readonly cut: number }

export class PostgresUsageLedger implements UsageLedger {
  readonly #database: Database
  readonly #shards: number

  /** `shards`: METER_SHARDS, fixed at install. */
  constructor(database: Database, shards: number) {
    this.#database = database
    this.#shards = shards
  }

  async open(partition: number): Promise<LedgerPosition> {
    const position = (await this.#findPosition(partition)) ?? (await this.#begin(partition))
    if (position.generations.length !== this.#shards) {
      throw new Error(
        `partition ${partition} of the ledger was begun with ${position.generations.length} shards, not ${this.#shards}: METER_SHARDS is fixed at install`
      )
    }
    return position
  }

  async flush(flush: LedgerFlush): Promise<'moved' | 'fenced'> {
    refuseImpossible(flush)
    const { partition, from, to } = flush
    const [answer] = await this.#database.query<{ moved: boolean }>(
      `flush ${flush.rows.length} rows of partition ${partition} from ${from.cursor} to ${to.cursor}`,
      {
        name: 'flush',
        text: FLUSH,
        values: [
          partition,
          from.cursor,
          from.generations,
          to.cursor,
          to.previousArrivedAt,
          to.shardCursors,
          ...columnsOf(flush.rows),
          flush.uncounted.map(({ offset }) => offset),
          flush.uncounted.map(({ reason }) => reason),
          flush.uncounted.map(({ field }) => (field === null ? null : storableText(field))),
          flush.uncounted.map(({ message }) => storableText(message))
        ]
      }
    )
    return answer?.moved === true ? 'moved' : 'fenced'
  }

  async readForCuts(ask: {
    readonly partition: number
    readonly position: LedgerPosition
    readonly cuts: readonly CutRange[]
  }): Promise<Refusable<{ readonly parts: readonly LedgerPart[] }>> {
    const { partition, position, cuts } = ask
    const after = cuts.map((cut) => decodePageKey(cut.after, BEFORE_ALL_ROWS))
    const found = await this.#database.query<CutColumns>(
      `read ${cuts.length} customers of partition ${partition} for cuts`,
      {
        name: 'read-for-cuts',
        text: READ_FOR_CUTS,
        values: [
          partition,
          position.cursor,
          position.generations,
          cuts.map(({ customerId }) => customerId),
          cuts.map(({ sinceQuarter }) => sinceQuarter),
          after.map(([userId]) => userId),
          after.map(([, model]) => model),
          after.map(([, , quarter]) => quarter),
          CUT_PART_ROWS
        ]
      }
    )
    if (found.length === 0 && cuts.length > 0) return { refused: true }
    const rows: LedgerColumns[][] = cuts.map(() => [])
    for (const row of found) if (row.quarter !== null) rows[row.cut - 1]?.push(row)
    return { refused: false, parts: rows.map(partOf) }
  }

  async #findPosition(partition: number): Promise<LedgerPosition | null> {
    const [row] = await this.#database.query<PositionColumns>(`read the position of partition ${partition}`, {
      text: 'select ledger_cursor, previous_arrived_at, generations, shard_cursors from usage_partition where partition = $1',
      values: [partition]
    })
    if (row === undefined) return null
    return {
      cursor: Number(row.ledger_cursor),
      previousArrivedAt: row.previous_arrived_at === null ? null : Number(row.previous_arrived_at),
      generations: row.generations.map(Number),
      shardCursors: row.shard_cursors.map(Number)
    }
  }

  /**
   * Inserts the row of a partition that was never seen. The share locks make a repairer that raises a generation meanwhile
   * wait for us and then find our row, or make us wait and then read what it raised: no partition is left behind.
   */
  async #begin(partition: number): Promise<LedgerPosition> {
    await this.#database.transaction(`begin partition ${partition}`, 'read committed', async (run) => {
      await run({
        text: 'insert into meter_generation (shard) select generate_series(0, $1::integer - 1) on conflict do nothing',
        values: [this.#shards]
      })
      const shards = await run<{ generation: string }>({
        text: 'select generation from meter_generation where shard < $1 order by shard for share',
        values: [this.#shards]
      })
      await run({
        text: 'insert into usage_partition (partition, generations, shard_cursors) values ($1, $2, $3) on conflict do nothing',
        values: [partition, shards.map(({ generation }) => generation), shards.map(() => 0)]
      })
    })
    const position = await this.#findPosition(partition)
    if (position === null) throw new Error(`the row of partition ${partition} was deleted while it began`)
    return position
  }
}

/**
 * Both inserts read `moved`, so they run after it and insert nothing when it is empty. Rows go in by key: neighbours in
 * the index are written together. An uncounted offset that is there already means that L passed it twice: that fails.
 */
const FLUSH = `
  with moved as (
    update usage_partition
       set ledger_cursor = $4, previous_arrived_at = $5, shard_cursors = $6::bigint[]
     where partition = $1 and ledger_cursor = $2 and generations = $3::bigint[]
    returning partition
  ), summed as (
    select customer_id, user_id, model, quarter,
           sum(input) as input, sum(cache_read) as cache_read, sum(cache_write) as cache_write,
           sum(output) as output, sum(reasoning) as reasoning, sum(events)::bigint as events
      from unnest($7::text[], $8::text[], $9::text[], $10::integer[], $11::bigint[], $12::bigint[], $13::bigint[],
                  $14::bigint[], $15::bigint[], $16::bigint[])
        as row (customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events)
     group by customer_id, user_id, model, quarter
  ), written as (
    insert into usage_ledger as kept
      (partition, customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events)
    select moved.partition, customer_id, user_id, model, quarter,
           input, cache_read, cache_write, output, reasoning, events
      from moved, summed
     order by customer_id collate "C", user_id collate "C", model collate "C", quarter
    on conflict (partition, customer_id, user_id, model, quarter) do update
       set input = kept.input + excluded.input,
           cache_read = kept.cache_read + excluded.cache_read,
           cache_write = kept.cache_write + excluded.cache_write,
           output = kept.output + excluded.output,
           reasoning = kept.reasoning + excluded.reasoning,
           events = kept.events + excluded.events
  ), noted as (
    insert into usage_uncounted (partition, record_offset, reason, field, message)
    select moved.partition, record_offset, reason, field, message
      from moved, unnest($17::bigint[], $18::text[], $19::text[], $20::text[])
        as row (record_offset, reason, field, message)
  )
  select exists (select from moved) as moved`

/** No row: the position is another. A row of nulls: the position holds and there is nothing after the key. */
const READ_FOR_CUTS = `
  select cut.number::integer as cut, found.customer_id, found.user_id, found.model, found.quarter, found.input, found.cache_read,
         found.cache_write, found.output, found.reasoning, found.events
    from (select from usage_partition where partition = $1 and ledger_cursor = $2 and generations = $3::bigint[]) as stand
   cross join unnest($4::text[], $5::integer[], $6::text[], $7::text[], $8::integer[])
         with ordinality as cut (customer_id, since, user_id, model, quarter, number)
    left join lateral (
      select customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events
        from usage_ledger as kept
       where partition = $1 and kept.customer_id = cut.customer_id and kept.quarter >= cut.since
         and (kept.user_id, kept.model, kept.quarter) > (cut.user_id, cut.model, cut.quarter)
       order by user_id, model, quarter
       limit $9
    ) as found on true`

function partOf(columns: readonly LedgerColumns[]): LedgerPart {
  const last = columns.length === CUT_PART_ROWS ? columns.at(-1) : undefined
  const next = last === undefined ? null : encodePageKey([last.user_id, last.model, last.quarter])
  return { rows: toLedgerRows(columns), next }
}

/** Our own defects, caught before they are written: what is added wrong here no later reader can tell from right. */
function refuseImpossible({ partition, from, to, rows, uncounted }: LedgerFlush): void {
  const where = `flush of partition ${partition} from ${from.cursor} to ${to.cursor}`
  if (to.cursor < from.cursor) throw new RangeError(`${where} moves the cursor back`)
  if (to.generations.join() !== from.generations.join()) throw new RangeError(`${where} changes a generation`)
  if (to.shardCursors.length !== from.generations.length) throw new RangeError(`${where} leaves out shards`)
  for (const row of rows) {
    if (Number.isSafeInteger(row.events) && TOKEN_POOLS.every((pool) => Number.isSafeInteger(row.tokens[pool])))
      continue
    throw new RangeError(
      `${where} adds what is no integer below 2^53 to ${row.customerId}: ${JSON.stringify(row.tokens)}`
    )
  }
  for (const { offset } of uncounted) {
    if (offset < from.cursor || offset >= to.cursor)
      throw new RangeError(`${where} leaves out offset ${offset}, which it does not cover`)
  }
}

function columnsOf(rows: readonly LedgerRow[]): readonly string[] {
  return [
    textArrayLiteral(rows.map((row) => row.customerId)),
    textArrayLiteral(rows.map((row) => row.userId)),
    textArrayLiteral(rows.map((row) => row.model)),
    numberArrayLiteral(rows.map((row) => row.quarter)),
    numberArrayLiteral(rows.map((row) => row.tokens.input)),
    numberArrayLiteral(rows.map((row) => row.tokens.cacheRead)),
    numberArrayLiteral(rows.map((row) => row.tokens.cacheWrite)),
    numberArrayLiteral(rows.map((row) => row.tokens.output)),
    numberArrayLiteral(rows.map((row) => row.tokens.reasoning)),
    numberArrayLiteral(rows.map((row) => row.events))
  ]
}

/** A message may quote the record it is about, and Postgres refuses U+0000 in text. */
function storableText(text: string): string {
  return text.slice(0, MESSAGE_LENGTH_MAX).replaceAll('\0', '\ufffd')
}
