/**
 * The queue of billing: its jobs, how often they are tried, how long they are kept, and when they come by themselves. It holds ids
 * alone and the truth about nothing: what is due stands in Postgres. When its Redis is lost, the next start of a worker schedules
 * anew, and the next run bills whatever was due meanwhile.
 */
import { type DefaultJobOptions, type Job, Queue } from 'bullmq'
import type { RoundOutcome } from '../domain/billing/invoices/billing-store.ts'
import { RetryableError } from '../domain/errors.ts'

export const BILLING_QUEUE = 'billing'

/** `run` bills what is due; `collect` charges invoices and reminds of them. */
export const BILLING_JOBS = ['run', 'collect'] as const
export type BillingJobName = (typeof BILLING_JOBS)[number]

export interface BillingJobPayload {
  /** One subscription alone; absent: all. */
  readonly subscriptionId?: string
}

/** What a job has done, by what came of it. */
export type BillingJobCounts = Readonly<Record<string, number>>
export type BillingQueue = Queue<BillingJobPayload, BillingJobCounts, BillingJobName>
export type BillingJob = Job<BillingJobPayload, BillingJobCounts, BillingJobName>

export interface QueueAddress {
  /** One Redis, with the database in its path. Not a cluster: that has no database 1. */
  readonly redisUrl: string
  /** Begins every key. */
  readonly prefix: string
}

const DAY_SECONDS = 86_400
/** With the pauses between them, 1, 2, 4 and 8 minutes, a store may be away for a quarter of an hour. */
const ATTEMPTS = 5
const FIRST_PAUSE_MS = 60_000
/** Runs of about three months, one a night and some on demand. */
const KEPT = { age: 92 * DAY_SECONDS, count: 1_000 }
/** A collect job comes every minute: kept, they would push the runs out. What they did, metrics tell. */
const COLLECT_KEPT = true
/** Jobs of each state that are looked through for the last run. */
const LOOKED_AT = 100
const READY_TIMEOUT_MS = 5_000

const JOB_OPTIONS: Readonly<Record<BillingJobName, DefaultJobOptions>> = {
  run: {
    attempts: ATTEMPTS,
    backoff: { type: 'exponential', delay: FIRST_PAUSE_MS },
    removeOnComplete: KEPT,
    removeOnFail: KEPT
  },
  collect: {
    attempts: ATTEMPTS,
    backoff: { type: 'exponential', delay: FIRST_PAUSE_MS },
    removeOnComplete: COLLECT_KEPT,
    removeOnFail: KEPT
  }
}

/**
 * For who adds to it or looks at it: what is asked while Redis is away fails at once, but for the first connection, which is waited for.
 * `onError` is told of connections that fail; they are tried again without end.
 */
export function openBillingQueue({ redisUrl, prefix }: QueueAddress, onError: (error: Error) => void): BillingQueue {
  const queue: BillingQueue = new Queue(BILLING_QUEUE, {
    prefix,
    connection: { url: redisUrl, enableOfflineQueue: false, maxRetriesPerRequest: 1 }
  })
  queue.on('error', onError)
  return queue
}

/** Resolves when Redis answers; for a command, which has somebody waiting. Throws a `RetryableError` when it does not. */
export async function awaitQueue(queue: BillingQueue): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new RetryableError('queue-unavailable', 'the Redis of the job queue does not answer')),
    READY_TIMEOUT_MS
  )
  try {
    await Promise.race([queue.waitUntilReady(), promise])
  } finally {
    clearTimeout(timer)
  }
}

export interface Schedules {
  /** Cron, five fields. */
  readonly runPattern: string
  /** IANA name: the hour of a run is local there, through changes of the clocks. */
  readonly timeZone: string
  readonly collectIntervalMs: number
}

/** However many processes do it, there is one of each; the last one that starts says when. */
export async function scheduleBilling(queue: BillingQueue, schedules: Schedules): Promise<void> {
  const { runPattern, timeZone, collectIntervalMs } = schedules
  await queue.upsertJobScheduler(
    'run',
    { pattern: runPattern, tz: timeZone },
    { name: 'run', data: {}, opts: JOB_OPTIONS.run }
  )
  await queue.upsertJobScheduler(
    'collect',
    { every: collectIntervalMs },
    { name: 'collect', data: {}, opts: JOB_OPTIONS.collect }
  )
}

/**
 * A run as soon as a worker is free. While one that was asked for waits, asking again adds none; while it is under way, one more, since
 * something may have become due after it began.
 */
export async function askForRun(queue: BillingQueue, subscriptionId: string | null): Promise<string> {
  const job = await queue.add('run', subscriptionId === null ? {} : { subscriptionId }, {
    ...JOB_OPTIONS.run,
    deduplication: { id: subscriptionId === null ? 'run' : `run-${subscriptionId}`, keepLastIfActive: true }
  })
  return job.id ?? ''
}

export interface ToldRun {
  readonly jobId: string
  readonly state: 'active' | 'completed' | 'failed'
  /** ms. */
  readonly at: number
  /** What it did, so far when it is active. */
  readonly counts: Partial<RoundOutcome>
  /** Why it failed; null otherwise. */
  readonly reason: string | null
}

/** The newest run of a state; null when none is kept. */
export async function lastRun(queue: BillingQueue, state: ToldRun['state']): Promise<ToldRun | null> {
  const jobs = await queue.getJobs([state], 0, LOOKED_AT - 1)
  const [job] = jobs
    .filter(({ name }) => name === 'run')
    .toSorted((a, b) => (b.finishedOn ?? b.timestamp) - (a.finishedOn ?? a.timestamp))
  if (job === undefined) return null
  const told = state === 'completed' ? job.returnvalue : job.progress
  return {
    jobId: job.id ?? '',
    state,
    at: job.finishedOn ?? job.processedOn ?? job.timestamp,
    counts: typeof told === 'object' ? told : {},
    reason: state === 'failed' ? (job.failedReason ?? null) : null
  }
}
