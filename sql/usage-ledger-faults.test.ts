// A flush whose session or answer is lost. The position decides: the same flush again is fenced when the first one landed,
// and moves the ledger when it didn't.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import type { LedgerFlush } from '../domain/ports.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { PostgresLedgerReport } from './ledger-report.ts'
import { PostgresUsageLedger } from './usage-ledger.ts'

const databaseUrl = await freshDatabase(t)
const database = new Database({ databaseUrl, applicationName: 'onlooker', role: 'login' })
t.teardown(() => database.close())
const onlooker = new PostgresUsageLedger(database, 1)
const report = new PostgresLedgerReport(database)

t.test(
  'a flush whose COMMIT was answered into the void has landed once, and the re-read position says so',
  async (t) => {
    const wire = await openWire(t, databaseUrl)
    const remote = new Database({ databaseUrl: wire.url, applicationName: 'remote' })
    t.teardown(() => remote.close())
    const ledger = new PostgresUsageLedger(remote, 1)
    const flush = await nextFlush(ledger, 0)

    wire.swallowAnswers()
    const outcome = t.rejects(ledger.flush(flush), { code: 'postgres-unavailable' })
    await waitUntil(async () => (await onlooker.open(0)).cursor === 1, { what: 'the flush to land', timeoutMs: 10_000 })
    wire.cut()
    await outcome

    t.equal(await ledger.flush(flush), 'fenced', 'the same flush again does nothing')
    t.strictSame(await ledger.open(0), flush.to)
    t.equal((await report.totals()).events, 1n)
  }
)

t.test(
  'a flush whose session the server ends before its COMMIT has left nothing, and the same flush again lands',
  async (t) => {
    const victim = new Database({ databaseUrl, applicationName: 'victim' })
    t.teardown(() => victim.close())
    const ledger = new PostgresUsageLedger(victim, 1)
    const flush = await nextFlush(ledger, 1)

    await database.transaction('hold the position', 'read committed', async (run) => {
      await run({ text: 'select partition from usage_partition where partition = 1 for update' })
      const outcome = t.rejects(ledger.flush(flush), { code: 'postgres-unavailable' })
      const waiting = "select pid from pg_stat_activity where application_name = 'victim' and wait_event_type = 'Lock'"
      await waitUntil(async () => (await database.query('look', { text: waiting })).length === 1, {
        what: 'the flush to wait for the position',
        timeoutMs: 5_000
      })
      await run({
        text: "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'victim'"
      })
      await outcome
    })

    t.equal((await ledger.open(1)).cursor, 0)
    t.equal(await ledger.flush(flush), 'moved')
    t.equal((await report.totals()).events, 2n, 'one of each test')
  }
)

t.test('a flush that waits too long for its position is given up by the server and lands later', async (t) => {
  const hasty = new Database({ databaseUrl, applicationName: 'hasty', statementTimeoutMs: 100 })
  t.teardown(() => hasty.close())
  const ledger = new PostgresUsageLedger(hasty, 1)
  const flush = await nextFlush(ledger, 2)
  await database.transaction('hold the position', 'read committed', async (run) => {
    await run({ text: 'select partition from usage_partition where partition = 2 for update' })
    await t.rejects(ledger.flush(flush), { code: 'postgres-timeout' })
  })
  t.equal(await ledger.flush(flush), 'moved')
})

async function nextFlush(ledger: PostgresUsageLedger, partition: number): Promise<LedgerFlush> {
  const from = await ledger.open(partition)
  const tokens = { input: 1, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 }
  const rows = [{ customerId: 'c', userId: '', model: 'm', quarter: 1, tokens, events: 1 }]
  return { partition, from, to: { ...from, cursor: from.cursor + 1 }, rows, uncounted: [] }
}

/** A wire to the server that can be made to lose what the server answers, and then cut. */
async function openWire(t: Tap, serverUrl: string) {
  const server = new URL(serverUrl)
  const sockets = new Set<Socket>()
  let swallows = false
  const wire = createServer((near) => {
    const far = connect(Number(server.port), server.hostname)
    for (const socket of [near, far]) {
      sockets.add(socket)
      // Either end going takes the other with it; that it went is what the test is about.
      socket.on('error', () => socket.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
    near.pipe(far)
    far.on('data', (bytes) => {
      if (!swallows) near.write(bytes)
    })
  })
  await once(wire.listen(0, '127.0.0.1'), 'listening')
  const cut = (): void => {
    swallows = false
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    cut()
    wire.close()
  })
  const url = new URL(serverUrl)
  const address = wire.address()
  if (address === null || typeof address === 'string') throw new Error('the wire has no port')
  url.host = `127.0.0.1:${address.port}`
  return { url: url.href, cut, swallowAnswers: () => (swallows = true) }
}

type Tap = Pick<typeof t, 'teardown'>
