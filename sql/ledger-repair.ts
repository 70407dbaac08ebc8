// The ledger as the repairer of a shard reads it, when Redis restarted: fence the shard first, then read what stands still.

import type { LedgerCustomer, LedgerRepair } from '../domain/ports.ts'
import type { CustomerLimits } from '../domain/tokens/limit.ts'
import type { Database, Run } from './connect.ts'
import { CUSTOMER_LIMITS_ROW, toCustomerLimits } from './encoding/customer-limits-row.ts'
import { type LedgerColumns, toLedgerRows } from './encoding/ledger-rows.ts'
import { findUncounted } from './uncounted-offsets.ts'

/** Advisory locks of repairers: this class, the shard. */
const REPAIR_LOCK_CLASS = 7_031_990

/** A chunk of customers ends at whichever comes first; a customer is never cut in two. */
const CHUNK_CUSTOMERS = 500
const CHUNK_LEDGER_ROWS = 100_000

export interface LedgerRepairOptions {
  /** With a long statement timeout: a chunk may hold a customer of millions of rows. */
  readonly database: Database
  /** METER_SHARDS. */
  readonly shards: number
  /** Of the usage topic. */
  readonly partitions: number
}

export class PostgresLedgerRepair implements LedgerRepair {
  readonly #database: Database
  readonly #shards: number
  readonly #partitions: number

  constructor({ database, shards, partitions }: LedgerRepairOptions) {
    this.#database = database
    this.#shards = shards
    this.#partitions = partitions
  }

  /**
   * The lock belongs to a session of its own and goes with it. When that connection dies during the work, the work is not
   * told and goes on: another repairer may take the lock and raise the generation again, whereupon the meter answers every
   * further step of this one with false. The lock keeps repairers from fencing each other for ever; it is the generation
   * that keeps them apart.
   */
  async withLock<T>(shard: number, work: () => Promise<T>): Promise<T | null> {
    const session = await this.#database.session(`lock shard ${shard} for its repair`)
    try {
      const [lock] = await session.run<{ locked: boolean }>({
        text: 'select pg_try_advisory_lock($1, $2) as locked',
        values: [REPAIR_LOCK_CLASS, shard]
      })
      return lock?.locked === true ? await work() : null
    } finally {
      await session.close()
    }
  }

  /**
   * The rows of all partitions are locked in order, so that two shards raised at once don't deadlock. A flush that is on
   * its way either holds its row before us, and lands with the older generation, or waits for us and is fenced.
   */
  async raiseGeneration(shard: number, from: number): Promise<number | null> {
    if (shard < 0 || shard >= this.#shards) throw new RangeError(`shard ${shard} is none of ${this.#shards}`)
    return this.#database.transaction(`raise the generation of shard ${shard}`, 'read committed', async (run) => {
      await run({ text: 'insert into meter_generation (shard) values ($1) on conflict do nothing', values: [shard] })
      const [raised] = await run<{ generation: string }>({
        text: `update meter_generation set generation = generation + 1 where shard = $1 and generation = $2
               returning generation`,
        values: [shard, from]
      })
      if (raised === undefined) return null
      await run({ text: 'select partition from usage_partition order by partition for update' })
      await run({
        text: 'update usage_partition set generations[$1::integer + 1] = $2',
        values: [shard, raised.generation]
      })
      return Number(raised.generation)
    })
  }

  /** The highest generation given out for a shard. */
  async generation(shard: number): Promise<number> {
    const [row] = await this.#database.query<{ generation: string }>(`read the generation of shard ${shard}`, {
      text: 'select generation from meter_generation where shard = $1',
      values: [shard]
    })
    return Number(row?.generation ?? 0)
  }

  async cursors(): Promise<readonly number[]> {
    const rows = await this.#database.query<{ partition: number; ledger_cursor: string }>(
      'read the cursors of the ledger',
      {
        text: 'select partition, ledger_cursor from usage_partition order by partition'
      }
    )
    const cursors = new Array<number>(this.#partitions).fill(0)
    for (const { partition, ledger_cursor } of rows) {
      if (partition >= this.#partitions) {
        throw new RangeError(`the ledger knows partition ${partition}, the usage topic has ${this.#partitions}`)
      }
      cursors[partition] = Number(ledger_cursor)
    }
    return cursors
  }

  async uncounted(partition: number, from: number, to: number): Promise<ReadonlySet<number>> {
    return findUncounted(this.#database, { partition, from, to })
  }

  async limits(after: string): Promise<{ readonly limits: readonly CustomerLimits[]; readonly next: string | null }> {
    const rows = await this.#database.query(`read the limits after ${JSON.stringify(after)}`, {
      text: `select customer_id, time_zone, version, limits from customer_limits
              where customer_id > $1 and limits is not null order by customer_id limit $2`,
      values: [after, CHUNK_CUSTOMERS]
    })
    const limits = rows.map((row) => toCustomerLimits(CUSTOMER_LIMITS_ROW.parse(row)))
    return { limits, next: limits.length < CHUNK_CUSTOMERS ? null : (limits.at(-1)?.customerId ?? null) }
  }

  /** One snapshot a chunk. At most 500 customers, fewer where they have many rows; the key is the last customer's id. */
  async customers(
    after: string,
    sinceQuarter: number
  ): Promise<{ readonly customers: readonly LedgerCustomer[]; readonly next: string | null }> {
    const what = `read the customers after ${JSON.stringify(after)}`
    return this.#database.transaction(what, 'repeatable read read only', async (run) => {
      const ids = await listCustomerIds(run, after)
      const totals = await readTotals(run, ids)
      const rows = await readRows(run, ids, sinceQuarter)
      const limits = await readLimits(run, ids)
      const customers = ids.map((customerId) => ({
        customerId,
        total: totals.get(customerId) ?? 0n,
        limits: limits.get(customerId) ?? null,
        rows: toLedgerRows(rows.get(customerId) ?? [])
      }))
      return { customers, next: ids.at(-1) ?? null }
    })
  }
}

/**
 * Customers that the ledger or the limits know. Looks at the next 100,000 ledger rows at most: `beyond` customers of the
 * limits wait for the next chunk, lest one of the ledger that sorts before them be passed over.
 */
async function listCustomerIds(run: Run, after: string): Promise<readonly string[]> {
  const rows = await run<{ customer_id: string }>({
    text: `
      with seen as materialized (
        select customer_id from usage_ledger where customer_id > $1 order by customer_id limit $2
      ), bound as (
        select case when count(*) = $2 then max(customer_id) end as last from seen
      ), limited as (
        select customer_id from customer_limits where customer_id > $1 order by customer_id limit $3
      )
      select customer_id
        from (select customer_id from seen union select customer_id from limited) as known, bound
       where last is null or customer_id <= last
       order by customer_id
       limit $3`,
    values: [after, CHUNK_LEDGER_ROWS, CHUNK_CUSTOMERS]
  })
  return rows.map((row) => row.customer_id)
}

async function readTotals(run: Run, ids: readonly string[]): Promise<ReadonlyMap<string, bigint>> {
  const rows = await run<{ customer_id: string; total: string }>({
    text: `select customer_id, sum(input + cache_read + cache_write + output + reasoning) as total
             from usage_ledger where customer_id = any($1::text[])
            group by customer_id`,
    values: [ids]
  })
  return new Map(rows.map((row) => [row.customer_id, BigInt(row.total)]))
}

async function readRows(
  run: Run,
  ids: readonly string[],
  sinceQuarter: number
): Promise<ReadonlyMap<string, readonly LedgerColumns[]>> {
  const rows = await run<LedgerColumns>({
    text: `select customer_id, user_id, model, quarter,
                  sum(input) as input, sum(cache_read) as cache_read, sum(cache_write) as cache_write,
                  sum(output) as output, sum(reasoning) as reasoning, sum(events) as events
             from usage_ledger where customer_id = any($1::text[]) and quarter >= $2
            group by customer_id, user_id, model, quarter
            order by customer_id, user_id, model, quarter`,
    values: [ids, sinceQuarter]
  })
  return Map.groupBy(rows, (row) => row.customer_id)
}

async function readLimits(run: Run, ids: readonly string[]): Promise<ReadonlyMap<string, CustomerLimits>> {
  const rows = await run({
    text: `select customer_id, time_zone, version, limits from customer_limits
            where customer_id = any($1::text[]) and limits is not null`,
    values: [ids]
  })
  const limits = rows.map((row) => toCustomerLimits(CUSTOMER_LIMITS_ROW.parse(row)))
  return new Map(limits.map((one) => [one.customerId, one]))
}
