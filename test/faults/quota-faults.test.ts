// Limits that change, holds and checks while consumers and Redis die: no counter above what was sent, no yes from a false
// zero, no hold past its limit, none left behind.

import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { RedisServer } from '../../stack/redis.ts'
import { FaultSystem, until } from './fault-system.ts'
import { HoldTraffic, RESERVING_CUSTOMER, usageMessage } from './hold-traffic.ts'
import { LimitTurns } from './limit-turns.ts'
import { MeterWatch } from './meter-watch.ts'
import { limitOf, QuotaSide, windowAroundNow } from './quota-side.ts'

const SPENT = { customerId: 'spent', tokens: 5_000 }
/** Some seconds of all that goes on: more than lies between the ledger and Redis, also on a busy machine. */
const TAIL_BYTES = 400_000
const LEAK_TIMEOUT_MS = 45_000
const TIMEOUT_MS = 60_000

const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-faults-'))
const redis = new RedisServer({ folder })
await redis.start()
t.teardown(async () => {
  await redis.kill()
  rmSync(folder, { recursive: true, force: true })
})
const system = await FaultSystem.start(t, { services: { REDIS_URL: redis.url } })
const quota = new QuotaSide(system.environment)
t.teardown(() => quota.close())
const holds = new HoldTraffic(system, quota)
t.teardown(() => holds.close())
const turns = new LimitTurns(quota)
t.teardown(() => turns.stop())
const watch = new MeterWatch({ quota, sent: system.load.sent, spent: SPENT })
t.teardown(() => watch.stop())

/** So many more records are in the ledger than the broker has now. */
async function moreCounted(records: number): Promise<void> {
  const enough = system.load.acknowledged + records
  await until(`${records} more records to be counted`, async () => (await ledgerCursors()) >= enough, TIMEOUT_MS)
}

async function ledgerCursors(): Promise<number> {
  const [row] = await system.database.query<{ sum: string }>('read the cursors', {
    text: 'select coalesce(sum(ledger_cursor), 0) as sum from usage_partition'
  })
  return Number(row?.sum ?? 0)
}

async function spendAll(): Promise<void> {
  const { customerId, tokens } = SPENT
  await quota.setLimits(customerId, [limitOf({ id: 'all', window: windowAroundNow(), max: 1_000 })])
  const producer = system.kafka.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  await producer.send({
    topic: system.installation.usageTopic,
    messages: [usageMessage({ customerId, id: 'all-of-it', input: tokens })]
  })
  await producer.disconnect()
  await until('it to be counted', async () => (await quota.report.customer(customerId))?.total === tokens)
  await until('its limit to be known', async () => {
    const standing = await quota.meter.check({ customerId, userId: '', model: 'model-a', tokens: null })
    return standing.known && standing.limits?.every(({ unknown }) => unknown === null) === true
  })
}

/** Everything goes on: events, holds, limits that come and go, and someone who looks. */
function startAll(): void {
  system.load.start()
  turns.start()
  watch.start()
}

/** Limits stand still, nothing is sent, everything is counted. */
async function findAll(): Promise<readonly unknown[]> {
  await Promise.all([holds.stop(), turns.stop()])
  const findings = await system.verdict()
  await watch.stop()
  return [...findings, ...watch.faults, ...holds.faults()]
}

t.test('consumers killed while limits begin and calls are held leave every counter and every hold right', async (t) => {
  await spendAll()
  startAll()
  await holds.start()
  const points = [
    ['meter-1', 'before:meter.seed:2'],
    ['meter-2', 'after:meter.seed:2'],
    ['meter-1', 'after:ledger.readForCuts:3'],
    ['meter-2', 'before:dead-letters.append:2']
  ] as const
  for (const [name, point] of points) {
    const before = system.kills()
    system.killAtPoint(name, point)
    await until(`${name} to die at ${point}`, () => system.kills() >= before + 2)
    await moreCounted(200)
  }
  const asked = (outcome: string): number => holds.outcomes.get(outcome) ?? 0
  await until('the limit to be reached', () => asked('refused') > 10, TIMEOUT_MS)
  t.same(await findAll(), [], 'I1 to I5 and I8 hold', { lines: system.lastLines() })
  await until('the last hold to be over', async () => (await holds.held()) === 0, LEAK_TIMEOUT_MS)
  t.ok(asked('held') > 0 && watch.answers.known > 0, 'holds were given and answers were known')
  t.comment(`${system.kills()} SIGKILLs, ${turns.count} limits set; ${holds.summary()}`)
})

/** Puts Redis out of step, so that a repairer has to roll forward, to build, or to do nothing but open it again. */
const LOSSES = {
  'lost its tail': async (): Promise<void> => {
    await redis.kill()
    const folder = join(redis.dataFolder, 'appendonlydir')
    const tail = readdirSync(folder).find((name) => name.endsWith('.incr.aof')) ?? ''
    truncateSync(join(folder, tail), Math.max(0, statSync(join(folder, tail)).size - TAIL_BYTES))
    await redis.start()
  },
  'was emptied while it ran': () => quota.flushAll(),
  restarted: async (): Promise<void> => {
    await redis.kill()
    await redis.start()
  }
} as const

t.test(
  'a repairer killed at any step, and Redis killed in the middle of a repair, end with every counter right',
  async (t) => {
    const steps = [
      ['after:repair.rollForward:1', 'lost its tail'],
      // What the first tear left in the file comes back now: this one is built from empty.
      ['after:repair.begin:1', 'lost its tail'],
      ['before:repair.finish:1', 'restarted'],
      ['after:repair.build:2', 'was emptied while it ran'],
      ['after:repair.finish:1', 'was emptied while it ran']
    ] as const
    await holds.start()
    for (const [point, loss] of steps) {
      startAll()
      await moreCounted(300)
      const before = system.kills()
      for (const name of system.meters) system.killAtPoint(name, point)
      await holds.noteLoss()
      await LOSSES[loss]()
      await until(`a repairer to die ${point} when Redis ${loss}`, () => system.kills() >= before + 3, TIMEOUT_MS)
    }
    await moreCounted(300)
    await holds.noteLoss()
    await LOSSES['was emptied while it ran']()
    await until('a repair to begin', () => quota.isUnderRepair())
    await LOSSES.restarted()
    await moreCounted(300)
    t.same(await findAll(), [], 'I1 to I5 and I8 hold', { lines: system.lastLines() })
    const modes = ['roll-forward', 'build'].map((mode) => `${system.saw(new RegExp(`"mode":"${mode}"`))} ${mode}`)
    t.comment(`${system.kills()} SIGKILLs of consumers; repairs: ${modes.join(', ')}; ${holds.summary()}`)
    t.comment(`${watch.answers.known} checks known, ${watch.answers.unknown} not`)
    t.equal((await quota.report.customer(RESERVING_CUSTOMER))?.seeding, false)
  }
)
