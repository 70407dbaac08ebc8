// The queue on the real Redis, with workers that bill on the real Postgres: in this process, and in others that are killed.

import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUIDv7 } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { getNextMillis } from 'bullmq'
import t, { type Test } from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { createBillingMetrics } from '../monitoring/billing/billing-metrics.ts'
import { createRegistry } from '../monitoring/metrics.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { billingRedisUrl, serviceUrl } from '../stack/service-urls.ts'
import { ALL_AGREE, type BillingService, HOUR_MS, startBillingService, TERMS } from '../test/billing/billing-service.ts'
import { addCustomer, addPlan } from '../test/plans-and-customers.ts'
import {
  type JobEnd,
  type JobWork,
  type RunningWorker,
  startBillingWorker,
  type WorkerOptions
} from './billing-worker.ts'
import { runWork } from './job-work.ts'
import {
  askForRun,
  type BillingJob,
  type BillingQueue,
  type BillingQueues,
  lastRun,
  lastRunOfAll,
  openBillingQueues
} from './queues.ts'
import { restoreSchedules, scheduleBilling } from './schedules.ts'

const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const LATER = MARCH_10 + 3 * HOUR_MS
const REDIS_URL = billingRedisUrl(serviceUrl('REDIS_URL'))
const MEMBER = join(import.meta.dirname, '../test/billing/billing-member.ts')
const NIGHTLY = { runPattern: '30 2 * * *', timeZone: 'Africa/Dakar', collectIntervalMs: 60_000 }
/** Longer than the event loop of a machine under load stands still: only the member that is killed has a short one. */
const LOCK_MS = 10_000
const MEMBER_LOCK_MS = 1_000
/** A lock runs out within its time, is missed within another, and a machine under load is slow. */
const TAKEN_OVER_MS = 30_000

const raise = (error: Error): never => {
  throw error
}

interface OwnQueues {
  readonly queues: BillingQueues
  /** Of runs. */
  readonly queue: BillingQueue
  readonly prefix: string
}

/** Queues of its own, gone with the test. */
function queueOf(t: Test): OwnQueues {
  const prefix = `test-${randomUUIDv7()}`
  const queues = openBillingQueues({ redisUrl: REDIS_URL, prefix }, raise)
  t.teardown(async () => {
    await obliterate(queues)
    await Promise.all([queues.run.close(), queues.collect.close()])
  })
  return { queues, queue: queues.run, prefix }
}

async function obliterate(queues: BillingQueues): Promise<void> {
  await Promise.all([queues.run, queues.collect].map((queue) => queue.obliterate({ force: true })))
}

function workerOf(
  t: Test,
  change: Partial<WorkerOptions> & Pick<WorkerOptions, 'prefix'>,
  run: JobWork
): RunningWorker {
  const worker = startBillingWorker({
    redisUrl: REDIS_URL,
    lockMs: LOCK_MS,
    work: { run, collect: async () => ({ charged: 0 }) },
    onEnd: () => undefined,
    onError: (error) => t.comment(error.message),
    ...change
  })
  t.teardown(() => worker.stop())
  return worker
}

/** So many subscriptions, each with a first base fee that is due. */
async function due(t: Test, subscriptions: number): Promise<BillingService> {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  for (let i = 0; i < subscriptions; i++) await service.subscribe(await addCustomer(service), plan)
  service.setNow(LATER)
  return service
}

function billing({ billingStore, now }: BillingService, gate = ALL_AGREE): JobWork {
  return runWork(
    { store: billingStore, gate, terms: TERMS, now },
    { batchSize: 2, concurrency: 1 },
    createBillingMetrics(createRegistry('test'))
  )
}

async function invoices({ database }: BillingService): Promise<{ invoices: number; boundaries: number; last: string }> {
  const [sums] = await database.query<{ invoices: number; boundaries: number; last: string }>('count', {
    text: `select count(*)::integer as invoices, count(distinct (subscription_id, boundary))::integer as boundaries,
                max(number) as last from invoice`
  })
  if (sums === undefined) throw new Error('no sums')
  return sums
}

async function inState(job: BillingJob | undefined, state: string): Promise<BillingJob> {
  if (job === undefined) throw new Error('no such job')
  await waitUntil(async () => (await job.getState()) === state, { what: `a job ${state}`, timeoutMs: TAKEN_OVER_MS })
  return job
}

async function jobOf(queue: BillingQueue, id: string, state: string): Promise<BillingJob> {
  await inState(await queue.getJob(id), state)
  const job = await queue.getJob(id)
  if (job === undefined) throw new Error(`job ${id} is gone`)
  return job
}

t.test('however many processes schedule, there is one schedule of each kind, and one next job of each', async (t) => {
  const { queues, prefix } = queueOf(t)
  const other = openBillingQueues({ redisUrl: REDIS_URL, prefix }, raise)
  t.teardown(() => Promise.all([other.run.close(), other.collect.close()]))
  await Promise.all([queues, other, queues, other].map((one) => scheduleBilling(one, NIGHTLY)))
  const { run, collect } = queues
  t.match(await run.getJobSchedulers(), [{ key: 'run', pattern: '30 2 * * *', tz: 'Africa/Dakar' }])
  t.match(await collect.getJobSchedulers(), [{ key: 'collect', every: 60_000 }])
  for (const queue of [run, collect]) t.equal((await queue.getJobs(['delayed', 'waiting'])).length, 1)
  await scheduleBilling(other, { ...NIGHTLY, runPattern: '30 3 * * *' })
  t.match(await run.getJobScheduler('run'), { pattern: '30 3 * * *' }, 'the last one says when')
  t.equal(await run.getJobSchedulersCount(), 1)
})

t.test('schedules that Redis lost stand again, and a run is asked for; those that stand are left alone', async (t) => {
  const { queues } = queueOf(t)
  const { run, collect } = queues
  await scheduleBilling(queues, NIGHTLY)
  t.equal(await run.getWaitingCount(), 0, 'a first start is no missed slot')
  t.equal(await restoreSchedules(queues, NIGHTLY), false)
  t.equal(await run.getWaitingCount(), 0)
  await obliterate(queues)
  t.equal(await run.getJobSchedulersCount(), 0)
  t.equal(await restoreSchedules(queues, NIGHTLY), true)
  t.match(await run.getJobScheduler('run'), { pattern: '30 2 * * *', tz: 'Africa/Dakar' })
  t.match(await collect.getJobScheduler('collect'), { every: 60_000 })
  t.match(await run.getJobs(['waiting']), [{ name: 'run', data: {} }])
})

t.test('a slot at which no worker was there is caught up by the next one that starts, once', async (t) => {
  const { queues } = queueOf(t)
  const { run } = queues
  // A slot that has come, and nobody begins its job.
  await run.upsertJobScheduler('run', { every: 60_000 }, { name: 'run', data: {} })
  await Promise.all([scheduleBilling(queues, NIGHTLY), scheduleBilling(queues, NIGHTLY)])
  t.match(await run.getJobs(['waiting']), [{ name: 'run', data: {} }])
  t.equal(await run.getDelayedCount(), 1, 'the next night has its own')
  await scheduleBilling(queues, NIGHTLY)
  t.equal(await run.getWaitingCount(), 1)
})

t.test('a run does not wait for collecting, however many collect jobs hang', async (t) => {
  const { queues, queue, prefix } = queueOf(t)
  const release = Promise.withResolvers<void>()
  t.teardown(() => release.resolve())
  const hanging = Promise.withResolvers<void>()
  const collect: JobWork = async () => {
    hanging.resolve()
    await release.promise
    return {}
  }
  const run: JobWork = async () => ({ invoiced: 0 })
  workerOf(t, { prefix, work: { run, collect } }, run)
  for (let i = 0; i < 5; i++) await queues.collect.add('collect', {})
  await hanging.promise
  t.same((await jobOf(queue, await askForRun(queue, null), 'completed')).returnvalue, { invoiced: 0 })
  t.equal(await queues.collect.getActiveCount(), 1)
  release.resolve()
})

t.test('a run comes at the hour of its time zone, also on the days on which clocks change', async (t) => {
  const { queues, queue } = queueOf(t)
  for (const timeZone of ['Europe/Paris', 'Pacific/Auckland', 'Asia/Kathmandu']) {
    await scheduleBilling(queues, { ...NIGHTLY, timeZone })
    const next = (await queue.getJobScheduler('run'))?.next ?? 0
    t.equal(localTime(next, timeZone), '02:30', timeZone)
    t.ok(next > Date.now() && next <= Date.now() + 25 * HOUR_MS)
  }
  const nightly = { pattern: '0 4 * * *', tz: 'Europe/Paris' }
  for (const [eve, expected] of [
    ['2026-03-28T12:00:00Z', '2026-03-29T02:00:00.000Z'],
    ['2026-10-24T12:00:00Z', '2026-10-25T03:00:00.000Z']
  ] as const) {
    t.equal(new Date(getNextMillis(Date.parse(eve), nightly) ?? 0).toISOString(), expected)
  }
})

t.test('a job bills what is due, and says what it did', async (t) => {
  const service = await due(t, 5)
  const { queue, prefix } = queueOf(t)
  workerOf(t, { prefix }, billing(service))
  const job = await jobOf(queue, await askForRun(queue, null), 'completed')
  t.same(job.returnvalue, { invoiced: 5, empty: 0, parked: 0 })
  t.same(job.data, {}, 'its payload holds no more than ids')
  t.match(await invoices(service), { invoices: 5, last: 'INV-000005' })
  t.match(await lastRun(queue, 'completed'), { jobId: job.id, counts: { invoiced: 5 }, reason: null })
})

t.test('a job about one subscription bills no other', async (t) => {
  const service = await due(t, 2)
  const { queue, prefix } = queueOf(t)
  workerOf(t, { prefix }, billing(service))
  const [one] = await service.database.query<{ id: string }>('read', { text: 'select id from subscription limit 1' })
  const job = await jobOf(queue, await askForRun(queue, one?.id ?? ''), 'completed')
  t.same(job.returnvalue, { invoiced: 1, empty: 0, parked: 0 })
  t.match(await invoices(service), { invoices: 1 })
  t.match(await lastRun(queue, 'completed'), { jobId: job.id })
  t.equal(await lastRunOfAll(queue), null, 'and says nothing about all the others')
})

t.test('runs that are asked for do not pile up: one is under way at most, and one waits', async (t) => {
  const { queue, prefix } = queueOf(t)
  const first = await askForRun(queue, null)
  for (let i = 0; i < 5; i++) t.equal(await askForRun(queue, null), first)
  t.equal(await queue.getWaitingCount(), 1)
  const begun = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  let runs = 0
  workerOf(t, { prefix }, async () => {
    runs++
    begun.resolve()
    await release.promise
    return {}
  })
  await begun.promise
  for (let i = 0; i < 5; i++) await askForRun(queue, null)
  release.resolve()
  await waitUntil(async () => (await queue.getCompletedCount()) === 2, { what: 'two runs', timeoutMs: TAKEN_OVER_MS })
  t.equal(await queue.getJobCountByTypes('waiting', 'active', 'delayed'), 0)
  t.equal(runs, 2)
})

t.test('a store that is away has the job tried again; a defect is a failed job with its stack', async (t) => {
  const { queue, prefix } = queueOf(t)
  const errors = [new RetryableError('clickhouse-unavailable', 'ClickHouse is away'), new TypeError('a defect')]
  workerOf(t, { prefix }, async () => raise(errors.shift() ?? new Error('no third attempt')))
  const id = await askForRun(queue, null)
  const waiting = await jobOf(queue, id, 'delayed')
  t.match(waiting, { attemptsMade: 1, failedReason: 'ClickHouse is away' })
  await waiting.promote()
  const failed = await jobOf(queue, id, 'failed')
  t.equal(failed.attemptsMade, 2, 'and is not tried again')
  t.match(failed.stacktrace?.at(-1), /TypeError: a defect\n.*billing-queue\.test/s)
  t.match(await lastRun(queue, 'failed'), { reason: 'a defect' })
})

t.test('a worker that is stopped ends its round and gives the job back; the next one bills the rest', async (t) => {
  const service = await due(t, 6)
  const { queue, prefix } = queueOf(t)
  const inRound = Promise.withResolvers<void>()
  const stopping = Promise.withResolvers<void>()
  const gate = {
    ...ALL_AGREE,
    differences: async () => {
      inRound.resolve()
      await stopping.promise
      return new Map()
    }
  }
  const worker = workerOf(t, { prefix }, billing(service, gate))
  const id = await askForRun(queue, null)
  await inRound.promise
  const stopped = worker.stop()
  stopping.resolve()
  await stopped
  t.match(await invoices(service), { invoices: 2 })
  const returned = await jobOf(queue, id, 'waiting')
  t.equal(returned.attemptsMade, 0, 'it costs no attempt')
  workerOf(t, { prefix }, billing(service))
  t.same((await jobOf(queue, id, 'completed')).returnvalue, { invoiced: 4, empty: 0, parked: 0 })
  t.match(await invoices(service), { invoices: 6, boundaries: 6, last: 'INV-000006' })
})

t.test('a worker is killed in a round: its job is done by another, and each boundary is billed once', async (t) => {
  const service = await due(t, 8)
  const { queue, prefix } = queueOf(t)
  const member = memberOf(t, service, [prefix, 'before:gate.differences:3'])
  const id = await askForRun(queue, null)
  t.equal((await once(member, 'exit'))[1], 'SIGKILL')
  t.equal((await queue.getJob(id))?.progress !== 0, true, 'it had told of the rounds before')
  t.match(await invoices(service), { invoices: 4 })
  t.equal(await (await queue.getJob(id))?.getState(), 'active', 'nobody knows yet')
  workerOf(t, { prefix, lockMs: MEMBER_LOCK_MS }, billing(service))
  const job = await jobOf(queue, id, 'completed')
  t.same(job.returnvalue, { invoiced: 4, empty: 0, parked: 0 })
  t.equal(job.stalledCounter, 1)
  t.match(await invoices(service), { invoices: 8, boundaries: 8, last: 'INV-000008' })
  t.match(await service.billingStore.status(LATER), { due: 0, parked: 0, oldestDueAt: null })
})

t.test('a job that takes too many workers down with it has failed, and is told as such', async (t) => {
  const service = await due(t, 1)
  const { queue, prefix } = queueOf(t)
  const id = await askForRun(queue, null)
  // As if it had taken five down before this one.
  await queue.backend.client.then((redis) => redis.hset(queue.toKey(id), { stc: 5 }))
  const member = memberOf(t, service, [prefix, 'before:gate.differences:1'])
  t.equal((await once(member, 'exit'))[1], 'SIGKILL')
  const ends: JobEnd[] = []
  workerOf(t, { prefix, lockMs: MEMBER_LOCK_MS, onEnd: (end) => ends.push(end) }, async () =>
    raise(new Error('it is not begun again'))
  )
  const failed = await jobOf(queue, id, 'failed')
  t.match(failed.failedReason, 'stalled')
  await waitUntil(async () => ends.length > 0, { what: 'its end to be told', timeoutMs: TAKEN_OVER_MS })
  t.match(ends, [{ kind: 'run', jobId: id, outcome: 'failed', subscriptionId: null, counts: null }])
})

function memberOf(
  t: Test,
  { databaseUrl }: BillingService,
  [prefix, crashAt]: readonly [prefix: string, crashAt: string]
): ChildProcess {
  const args = [MEMBER, databaseUrl, REDIS_URL, prefix, String(LATER), String(MEMBER_LOCK_MS), crashAt]
  const member = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => member.kill('SIGKILL'))
  return member
}

function localTime(at: number, timeZone: string): string {
  return new Date(at).toLocaleTimeString('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' })
}
