// What reconciling reads: the ledger's sums and the log's, of one moment. The log's own sums are kept here and added to with
// each run, so that a run reads only what came since the last one.

import type { LedgerRow } from '../domain/ports.ts'
import { TOKEN_POOLS } from '../domain/tokens/token-pools.ts'
import type { UsageDay } from '../domain/tokens/usage-day.ts'
import type { Database, Run } from './connect.ts'
import { type LedgerColumns, type PoolSums, toLedgerRows, toTokenSums } from './encoding/ledger-rows.ts'
import { findUncountedIn } from './uncounted-offsets.ts'

const QUARTERS_PER_DAY = 96
const RECONCILE_LOCK = 7_031_991

/** Reads a stretch of the log and sums it by customer and day, leaving the uncounted offsets out. */
export type SumLog = (stretch: {
  readonly partition: number
  readonly from: number
  readonly to: number
  readonly uncounted: ReadonlySet<number>
}) => Promise<readonly UsageDay[]>

export interface LedgerAndLog {
  /** L of each partition, at which both stand. */
  readonly cursors: ReadonlyMap<number, number>
  readonly ledger: readonly UsageDay[]
  readonly log: readonly UsageDay[]
  /** Customers for whom no limits are set. */
  readonly withoutLimits: readonly string[]
}

export class PostgresReconciliation {
  readonly #database: Database

  /** A database with a long statement timeout. */
  constructor(database: Database) {
    this.#database = database
  }

  /** One snapshot, in which the log's sums are brought up to L. A second run waits for the first. */
  async ledgerAndLog(sumLog: SumLog): Promise<LedgerAndLog> {
    return this.#database.transaction('reconcile the ledger with the log', 'repeatable read', async (run) => {
      await run({ text: 'select pg_advisory_xact_lock($1)', values: [RECONCILE_LOCK] })
      const cursors = await readCursors(run)
      const summed = await readSummed(run)
      for (const [partition, to] of cursors) {
        const from = summed.get(partition) ?? 0
        if (from >= to) continue
        const uncounted = await findUncountedIn(run, { partition, from, to })
        await addToLog(run, await sumLog({ partition, from, to, uncounted }))
        await run({
          text: `insert into log_summary (partition, through) values ($1, $2)
                 on conflict (partition) do update set through = excluded.through`,
          values: [partition, to]
        })
      }
      return {
        cursors,
        ledger: await readLedger(run),
        log: await readLog(run),
        withoutLimits: await readWithoutLimits(run)
      }
    })
  }

  /** Analytics' stand: everything before it is in ClickHouse. */
  async analyticsDone(): Promise<ReadonlyMap<number, number>> {
    const rows = await this.#database.query<{ partition: number; done: string }>('read how far analytics is', {
      text: 'select partition, done from analytics_partition'
    })
    return new Map(rows.map(({ partition, done }) => [partition, Number(done)]))
  }

  /** What the ledger has of one customer now, over all partitions. */
  async customerRows(customerId: string): Promise<{ readonly rows: readonly LedgerRow[]; readonly total: bigint }> {
    const columns = await this.#database.query<LedgerColumns>(`read the ledger of ${customerId}`, {
      text: `select customer_id, user_id, model, quarter, sum(input) as input, sum(cache_read) as cache_read,
                    sum(cache_write) as cache_write, sum(output) as output, sum(reasoning) as reasoning, sum(events) as events
               from usage_ledger where customer_id = $1
              group by customer_id, user_id, model, quarter`,
      values: [customerId]
    })
    const sums = columns.map(toTokenSums)
    const total = sums.reduce((sum, tokens) => TOKEN_POOLS.reduce((all, pool) => all + tokens[pool], sum), 0n)
    return { rows: toLedgerRows(columns), total }
  }
}

async function readCursors(run: Run): Promise<Map<number, number>> {
  const rows = await run<{ partition: number; ledger_cursor: string }>({
    text: 'select partition, ledger_cursor from usage_partition order by partition'
  })
  return new Map(rows.map(({ partition, ledger_cursor }) => [partition, Number(ledger_cursor)]))
}

async function readSummed(run: Run): Promise<Map<number, number>> {
  const rows = await run<{ partition: number; through: string }>({ text: 'select partition, through from log_summary' })
  return new Map(rows.map(({ partition, through }) => [partition, Number(through)]))
}

async function addToLog(run: Run, days: readonly UsageDay[]): Promise<void> {
  if (days.length === 0) return
  const pools = TOKEN_POOLS.map((pool) => days.map(({ tokens }) => String(tokens[pool])))
  await run({
    text: `insert into log_day as kept (customer_id, day, input, cache_read, cache_write, output, reasoning, events)
           select * from unnest($1::text[], $2::integer[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[], $8::bigint[])
           on conflict (customer_id, day) do update set
             input = kept.input + excluded.input, cache_read = kept.cache_read + excluded.cache_read,
             cache_write = kept.cache_write + excluded.cache_write, output = kept.output + excluded.output,
             reasoning = kept.reasoning + excluded.reasoning, events = kept.events + excluded.events`,
    values: [
      days.map(({ customerId }) => customerId),
      days.map(({ day }) => day),
      ...pools,
      days.map(({ events }) => String(events))
    ]
  })
}

type DayRow = PoolSums & { readonly customer_id: string; readonly day: number }

async function readLedger(run: Run): Promise<readonly UsageDay[]> {
  const rows = await run<DayRow>({
    text: `select customer_id, floor(quarter / ${QUARTERS_PER_DAY}.0)::integer as day, sum(input) as input,
                  sum(cache_read) as cache_read, sum(cache_write) as cache_write, sum(output) as output,
                  sum(reasoning) as reasoning, sum(events) as events
             from usage_ledger group by customer_id, day`
  })
  return rows.map(toUsageDay)
}

async function readLog(run: Run): Promise<readonly UsageDay[]> {
  const rows = await run<DayRow>({
    text: 'select customer_id, day, input, cache_read, cache_write, output, reasoning, events from log_day'
  })
  return rows.map(toUsageDay)
}

async function readWithoutLimits(run: Run): Promise<readonly string[]> {
  const rows = await run<{ customer_id: string }>({
    text: `select distinct customer_id from usage_ledger
            where customer_id not in (select customer_id from customer_limits) order by customer_id`
  })
  return rows.map(({ customer_id }) => customer_id)
}

function toUsageDay(row: DayRow): UsageDay {
  return { customerId: row.customer_id, day: row.day, tokens: toTokenSums(row), events: BigInt(row.events) }
}
