// The queue on the real Redis, with workers that bill on the real Postgres: in this process, and in others that are killed.

import { spawn } from 'node:child_process'
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
import { type JobWork, type RunningWorker, startBillingWorker } from './billing-worker.ts'
import { runWork } from './job-work.ts'
import { askForRun, type BillingJob, type BillingQueue, lastRun, openBillingQueue, scheduleBilling } from './queues.ts'

const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const LATER = MARCH_10 + 3 * HOUR_MS
const REDIS_URL = billingRedisUrl(serviceUrl('REDIS_URL'))
const MEMBER = join(import.meta.dirname, '../test/billing/billing-member.ts')
const NIGHTLY = { runPattern: '0 2 * * *', timeZone: 'Africa/Dakar', collectIntervalMs: 60_000 }
const LOCK_MS = 1_000
/** A lock runs out within its time, is missed within another, and a machine under load is slow. */
const TAKEN_OVER_MS = 30_000

const raise = (error: Error): never => {
  throw error
}

/** A queue of its own, gone with the test. */
function queueOf(
  t: Test,
  prefix = `test-${randomUUIDv7()}`
): { readonly queue: BillingQueue; readonly prefix: string } {
  const queue = openBillingQueue({ redisUrl: REDIS_URL, prefix }, raise)
  t.teardown(async () => {
    await queue.obliterate({ force: true })
    await queue.close()
  })
  return { queue, prefix }
}

function workerOf(t: Test, prefix: string, run: JobWork): RunningWorker {
  const worker = startBillingWorker({
    redisUrl: REDIS_URL,
    prefix,
    lockMs: LOCK_MS,
    work: { run, collect: async () => ({ charged: 0 }) },
    onEnd: () => undefined,
    onError: (error) => t.comment(error.message)
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
  const { queue, prefix } = queueOf(t)
  const other = openBillingQueue({ redisUrl: REDIS_URL, prefix }, raise)
  t.teardown(() => other.close())
  await Promise.all([queue, other, queue, other].map((one) => scheduleBilling(one, NIGHTLY)))
  const schedulers = await queue.getJobSchedulers()
  t.match(
    schedulers.toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    [
      { key: 'collect', every: 60_000 },
      { key: 'run', pattern: '0 2 * * *', tz: 'Africa/Dakar' }
    ]
  )
  t.equal(schedulers.length, 2)
  t.equal((await queue.getJobs(['delayed', 'waiting'])).length, 2)
  await scheduleBilling(other, { ...NIGHTLY, runPattern: '30 3 * * *' })
  t.match(await queue.getJobScheduler('run'), { pattern: '30 3 * * *' }, 'the last one says when')
  t.equal(await queue.getJobSchedulersCount(), 2)
})

t.test('a run comes at the hour of its time zone, also on the days on which clocks change', async (t) => {
  const { queue } = queueOf(t)
  for (const timeZone of ['Europe/Paris', 'Pacific/Auckland', 'Asia/Kathmandu']) {
    await scheduleBilling(queue, { ...NIGHTLY, timeZone })
    const next = (await queue.getJobScheduler('run'))?.next ?? 0
    t.equal(localTime(next, timeZone), '02:00', timeZone)
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
  workerOf(t, prefix, billing(service))
  const job = await jobOf(queue, await askForRun(queue, null), 'completed')
  t.same(job.returnvalue, { invoiced: 5, empty: 0, parked: 0 })
  t.same(job.data, {}, 'its payload holds no more than ids')
  t.match(await invoices(service), { invoices: 5, last: 'INV-000005' })
  t.match(await lastRun(queue, 'completed'), { jobId: job.id, counts: { invoiced: 5 }, reason: null })
})

t.test('a job about one subscription bills no other', async (t) => {
  const service = await due(t, 2)
  const { queue, prefix } = queueOf(t)
  workerOf(t, prefix, billing(service))
  const [one] = await service.database.query<{ id: string }>('read', { text: 'select id from subscription limit 1' })
  const job = await jobOf(queue, await askForRun(queue, one?.id ?? ''), 'completed')
  t.same(job.returnvalue, { invoiced: 1, empty: 0, parked: 0 })
  t.match(await invoices(service), { invoices: 1 })
})

t.test('runs that are asked for do not pile up: one is under way at most, and one waits', async (t) => {
  const { queue, prefix } = queueOf(t)
  const first = await askForRun(queue, null)
  for (let i = 0; i < 5; i++) t.equal(await askForRun(queue, null), first)
  t.equal(await queue.getWaitingCount(), 1)
  const begun = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  let runs = 0
  workerOf(t, prefix, async () => {
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
  workerOf(t, prefix, async () => raise(errors.shift() ?? new Error('no third attempt')))
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
  const worker = workerOf(t, prefix, billing(service, gate))
  const id = await askForRun(queue, null)
  await inRound.promise
  const stopped = worker.stop()
  stopping.resolve()
  await stopped
  t.match(await invoices(service), { invoices: 2 })
  const returned = await jobOf(queue, id, 'waiting')
  t.equal(returned.attemptsMade, 0, 'it costs no attempt')
  workerOf(t, prefix, billing(service))
  t.same((await jobOf(queue, id, 'completed')).returnvalue, { invoiced: 4, empty: 0, parked: 0 })
  t.match(await invoices(service), { invoices: 6, boundaries: 6, last: 'INV-000006' })
})

t.test('a worker is killed in a round: its job is done by another, and each boundary is billed once', async (t) => {
  const service = await due(t, 8)
  const { queue, prefix } = queueOf(t)
  const args = [MEMBER, service.databaseUrl, REDIS_URL, prefix, String(LATER)]
  const member = spawn(process.execPath, [...args, 'before:gate.differences:3'], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => member.kill('SIGKILL'))
  const id = await askForRun(queue, null)
  const [, signal] = await once(member, 'exit')
  t.equal(signal, 'SIGKILL')
  t.equal((await queue.getJob(id))?.progress !== 0, true, 'it had told of the rounds before')
  t.match(await invoices(service), { invoices: 4 })
  t.equal(await (await queue.getJob(id))?.getState(), 'active', 'nobody knows yet')
  workerOf(t, prefix, billing(service))
  const job = await jobOf(queue, id, 'completed')
  t.same(job.returnvalue, { invoiced: 4, empty: 0, parked: 0 })
  t.equal(job.stalledCounter, 1)
  t.match(await invoices(service), { invoices: 8, boundaries: 8, last: 'INV-000008' })
  t.match(await service.billingStore.status(LATER), { due: 0, parked: 0, oldestDueAt: null })
})

function localTime(at: number, timeZone: string): string {
  return new Date(at).toLocaleTimeString('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' })
}
