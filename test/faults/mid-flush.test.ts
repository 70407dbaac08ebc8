// Asked to stop while the ledger is still writing, a consumer waits for it, writes the rest, and ends in order.

import t from 'tap'
import { FaultSystem, until } from './fault-system.ts'
import { QuotaSide } from './quota-side.ts'

const STOP_MS_MAX = 25_000

const system = await FaultSystem.start(t, { meters: 1 })
const quota = new QuotaSide(system.environment)
t.teardown(() => quota.close())

async function ledgerCursors(): Promise<number> {
  const [row] = await system.database.query<{ sum: string }>('read the cursors', {
    text: 'select coalesce(sum(ledger_cursor), 0) as sum from usage_partition'
  })
  return Number(row?.sum ?? 0)
}

async function isFlushWaiting(): Promise<boolean> {
  const rows = await system.database.query('look for a flush that waits for a lock', {
    text: `select pid from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%update usage_partition%'`
  })
  return rows.length > 0
}

t.test(
  'SIGTERM in the middle of a flush: exit code 0 within 25 s, and all that was counted is in the ledger',
  async (t) => {
    system.load.start()
    await until('some flushes', async () => (await ledgerCursors()) > 400)
    const stopped = await system.database.transaction('hold up the flushes', 'read committed', async (run) => {
      await run({ text: 'select partition from usage_partition for update' })
      await until('a flush to wait', isFlushWaiting)
      const startedAt = performance.now()
      const ended = system.supervisor.stop('meter-1').then(() => performance.now() - startedAt)
      await until('the consumer to hear it', () => system.saw(/"msg":"stops"/) > 0)
      t.equal(system.ends.length, 0, 'it does not end before its flush')
      return { ended }
    })
    const durationMs = await stopped.ended
    t.equal(system.ends.at(-1), 'meter-1 code 0')
    t.ok(durationMs < STOP_MS_MAX, `it took ${Math.round(durationMs)} ms`)
    t.equal(await quota.cursors(), await ledgerCursors(), 'nothing that Redis counted is left to replay')
    system.supervisor.start('meter-1')
    t.same(await system.verdict(), [], 'I1 to I5 hold', { lines: system.lastLines() })
  }
)
