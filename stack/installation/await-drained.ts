/** Waits until every record of the log has had its effect in the ledger and in ClickHouse. */
import type { Admin } from 'kafkajs'
import type { Database } from '../../sql/connect.ts'

export interface Drain {
  readonly admin: Admin
  readonly topic: string
  readonly database: Database
  /** Told of the records whose effect is everywhere, and of all there are. */
  readonly onProgress: (done: number, all: number) => void
  /** So long without a step forward, and something stands still for good. */
  readonly standstillMaxMs?: number
}

const STANDSTILL_MAX_MS = 90_000
const LOOK_INTERVAL_MS = 200

export async function awaitDrained(drain: Drain): Promise<void> {
  const { admin, topic, database, onProgress, standstillMaxMs = STANDSTILL_MAX_MS } = drain
  let most = -1
  let deadline = Date.now() + standstillMaxMs
  for (;;) {
    const ends = await admin.fetchTopicOffsets(topic)
    const all = ends.reduce((sum, { high }) => sum + Number(high), 0)
    const { ledger, analytics } = await readDone(database)
    const done = Math.min(ledger, analytics)
    onProgress(done, all)
    if (done >= all) return
    if (done > most) {
      most = done
      deadline = Date.now() + standstillMaxMs
    }
    if (Date.now() > deadline) {
      throw new Error(
        `of ${all} records the ledger has ${ledger} and ClickHouse ${analytics}, and nothing moves any more`
      )
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS))
  }
}

/** Records whose effect is in the ledger, and in ClickHouse: sums over the partitions. */
export async function readDone(database: Database): Promise<{ ledger: number; analytics: number }> {
  const [row] = await database.query<{ ledger: string; analytics: string }>('read how far the consumers are', {
    text: `select (select coalesce(sum(ledger_cursor), 0) from usage_partition) as ledger,
                  (select coalesce(sum(done), 0) from analytics_partition) as analytics`
  })
  return { ledger: Number(row?.ledger ?? 0), analytics: Number(row?.analytics ?? 0) }
}
