// A fence that is left out shows in the oracle's replay: consumers that were overtaken, marks of what was never counted, a copy that
// runs ahead of the ledger.

import t from 'tap'
import { type FaultSystem, until } from './fault-system.ts'
import { usageMessage } from './hold-traffic.ts'
import { emptyRedis, findDefect, inFullRuns, type Schedule } from './planted-system.ts'
import { QuotaSide } from './quota-side.ts'

/** Long enough to freeze a consumer, let another take over and wake it between two flushes. */
const SLOW_FLUSH = { FLUSH_INTERVAL_MS: '5000' }
/** A fetch that was not answered for five seconds is given up when a frozen consumer wakes: the other takes over well before. */
const SHORT_SESSION = { KAFKA_SESSION_TIMEOUT_MS: '1000' }
const ATTEMPTS_MAX = 15
/** What a consumer that wakes up had on its way from Kafka is counted within this, or not at all. */
const STALE_BATCH_MS = 3_000

async function logEnds(system: FaultSystem): Promise<number> {
  const ends = await system.admin.fetchTopicOffsets(system.installation.usageTopic)
  return ends.reduce((sum, { high }) => sum + Number(high), 0)
}

async function ledgerCursors(system: FaultSystem): Promise<number> {
  const [row] = await system.database.query<{ sum: string }>('read the cursors', {
    text: 'select coalesce(sum(ledger_cursor), 0) as sum from usage_partition'
  })
  return Number(row?.sum ?? 0)
}

async function freezeUntilTakenOver(system: FaultSystem, name: string): Promise<void> {
  const joins = system.saw(/partitions assigned/)
  system.supervisor.kill(name, 'SIGSTOP')
  await until('the other to take over', () => system.saw(/partitions assigned/) > joins)
}

/**
 * A consumer freezes with records on their way to it, another counts them, and it wakes up and counts them as well; before the other
 * has told the ledger, both die. Whoever comes next must not believe what the first one made of them.
 */
async function wakeWithStaleBatch(system: FaultSystem): Promise<void> {
  const quota = new QuotaSide(system.environment)
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      system.load.start()
      const sent = system.load.acknowledged
      await until('some load', () => system.load.acknowledged > sent + 300)
      await freezeUntilTakenOver(system, 'meter-1')
      await system.load.pause()
      const end = await logEnds(system)
      await until('the other to count on', async () => (await quota.cursors()) === end)
      system.supervisor.kill('meter-1', 'SIGCONT')
      if (await happens(async () => (await quota.cursors()) < end, STALE_BATCH_MS)) break
    }
    for (const name of system.meters) system.kill(name)
  } finally {
    await quota.close()
  }
}

async function happens(condition: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs
  while (Date.now() < deadline) if (await condition()) return true
  return false
}

/** A consumer freezes with sums that it has not flushed, another flushes the same, and it wakes up with nothing left to count. */
async function wakeWithStaleSums(system: FaultSystem): Promise<void> {
  const quota = new QuotaSide(system.environment)
  try {
    await system.load.pause()
    const before = await logEnds(system)
    await until('all to be flushed', async () => (await ledgerCursors(system)) === before)
    // So few that in some partition all are counted: what is not counted can't be noted twice, which is a fence of its own.
    await system.load.send(40)
    const end = await logEnds(system)
    await until('all to be counted', async () => (await quota.cursors()) === end)
    await freezeUntilTakenOver(system, 'meter-1')
    await until('the other to flush all', async () => (await ledgerCursors(system)) === end)
    system.supervisor.kill('meter-1', 'SIGCONT')
    const joins = system.saw(/partitions assigned/)
    await until('it to be back in the group', () => system.saw(/partitions assigned/) > joins)
  } finally {
    await quota.close()
  }
}

/** An event that was contradicted comes again, as it was, after the marks were built anew. */
async function repeatAfterConflict(...[system, redis]: Parameters<Schedule>): Promise<void> {
  const told = { customerId: 'customer-0', id: 'told-twice', input: 5 }
  const producer = system.kafka.producer({ allowAutoTopicCreation: false })
  const topic = system.installation.usageTopic
  await producer.connect()
  await producer.send({ topic, messages: [usageMessage(told), usageMessage({ ...told, input: 6 })] })
  await emptyRedis(system, redis)
  await producer.send({ topic, messages: [usageMessage(told)] })
  await producer.disconnect()
}

/** Analytics goes on while nobody moves the ledger's cursor. */
async function freezeMeter(system: FaultSystem): Promise<void> {
  system.supervisor.kill('meter-1', 'SIGSTOP')
  const sent = system.load.acknowledged
  await until('records that nobody counts', () => system.load.acknowledged > sent + 400)
  system.supervisor.kill('meter-1', 'SIGCONT')
}

const SHOWN_BY_STORES = [
  { defect: 'no-ledger-cas-in-sql', act: wakeWithStaleSums, meters: 2, environment: SLOW_FLUSH },
  { defect: 'past-ledger', act: freezeMeter }
]
const SIMULATED_TOO = [
  { defect: 'no-cas', act: wakeWithStaleBatch, meters: 2, environment: { ...SLOW_FLUSH, ...SHORT_SESSION } },
  { defect: 'marks-all', act: repeatAfterConflict }
]

for (const schedule of [...SHOWN_BY_STORES, ...inFullRuns(SIMULATED_TOO)]) {
  t.test(`the planted defect ${schedule.defect} is found`, async (t) => {
    const found = await findDefect(t, schedule)
    t.not(found.length, 0, 'the oracle finds it')
    t.comment(`${schedule.defect}: ${found[0]}`)
  })
}
