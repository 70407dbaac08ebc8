import t from 'tap'
import { freshDatabase } from '../test/services.ts'
import { PostgresAnalyticsBlocks } from './analytics-blocks.ts'
import { Database } from './connect.ts'
import { PostgresUsageLedger } from './usage-ledger.ts'

const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'analytics-test' })
t.teardown(() => database.close())
const ledger = new PostgresUsageLedger(database, 1)
const blocks = new PostgresAnalyticsBlocks(database)

async function moveLedger(partition: number, cursor: number): Promise<void> {
  const from = await ledger.open(partition)
  await ledger.flush({ partition, from, to: { ...from, cursor }, rows: [], uncounted: [] })
}

t.test('a block that was recorded is the one a replay cuts, until it is finished', async (t) => {
  t.strictSame(await blocks.open(0), { done: 0, next: null, ledgerCursor: 0 })
  await moveLedger(0, 100)
  t.ok(await blocks.record(0, { from: 0, to: 60 }))
  t.strictSame(await blocks.open(0), { done: 0, next: { from: 0, to: 60 }, ledgerCursor: 100 })
  t.notOk(await blocks.record(0, { from: 0, to: 70 }), 'another block while one is recorded')
  t.notOk(await blocks.finish(0, { from: 0, to: 70 }), 'a block that is not the recorded one')
  t.ok(await blocks.finish(0, { from: 0, to: 60 }))
  t.notOk(await blocks.finish(0, { from: 0, to: 60 }), 'a second time')
  t.strictSame(await blocks.open(0), { done: 60, next: null, ledgerCursor: 100 })
  t.notOk(await blocks.record(0, { from: 0, to: 60 }), 'a block that is done')
})

t.test('of consumers that record at once, one is told that its bounds stand', async (t) => {
  await moveLedger(1, 100)
  await blocks.open(1)
  const outcomes = await Promise.all([10, 20, 30, 40].map((to) => blocks.record(1, { from: 0, to })))
  t.strictSame(outcomes.filter(Boolean), [true])
  t.equal((await blocks.open(1)).next?.to, [10, 20, 30, 40][outcomes.indexOf(true)])
})

t.test('a block never passes the ledger: what is uncounted beyond it is not known yet', async (t) => {
  await moveLedger(2, 100)
  await blocks.open(2)
  await t.rejects(blocks.record(2, { from: 0, to: 101 }), /passes the ledger's cursor 100/)
  t.strictSame(await blocks.open(2), { done: 0, next: null, ledgerCursor: 100 })
  t.ok(await blocks.record(2, { from: 0, to: 100 }))
})
