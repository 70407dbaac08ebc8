/**
 * The queues of billing: their jobs, how often they are tried, and how long they are kept. They hold ids alone and the truth about
 * nothing: what is due stands in Postgres.
 */
import { type DefaultJobOptions, type Job, Queue } from 'bullmq'
import type { RoundOutcome } from '../domain/billing/invoices/billing-store.ts'
import { RetryableError } from '../domain/errors.ts'

/**
 * `run` bills what is due; `collect` charges invoices and reminds of them. A queue each: a provider that hangs keeps collect jobs in
 * hand for minutes, and no run must wait for that.
 */
export const QUEUES = { run: 'billing', collect: 'billing-collect' } as const
export type BillingJobName = keyof typeof QUEUES

export interface BillingJobPayload {
  /** One subscription alone; absent: all. */
  readonly subscriptionId?: string
}

/** What a job has done, by what came of it. */
export type BillingJobCounts = Readonly<Record<string, number>>
export type BillingQueue = Queue<BillingJobPayload, BillingJobCounts, BillingJobName>
export type BillingJob = Job<BillingJobPayload, BillingJobCounts, BillingJobName>
/** By what their jobs do. */
export type BillingQueues = Readonly<Record<BillingJobName, BillingQueue>>

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
const READY_TIMEOUT_MS = 5_000

export const JOB_OPTIONS: Readonly<Record<BillingJobName, DefaultJobOptions>> = {
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

/** The queue of runs. As `openBillingQueues`. */
export function openBillingQueue(address: QueueAddress, onError: (error: Error) => void): BillingQueue {
  return openQueue(QUEUES.run, address, onError)
}

/**
 * For who adds to them or looks at them: what is asked while Redis is away fails at once, but for the first connection, which is waited
 * for. `onError` is told of connections that fail; they are tried again without end.
 */
export function openBillingQueues(address: QueueAddress, onError: (error: Error) => void): BillingQueues {
  return { run: openQueue(QUEUES.run, address, onError), collect: openQueue(QUEUES.collect, address, onError) }
}

function openQueue(name: string, { redisUrl, prefix }: QueueAddress, onError: (error: Error) => void): BillingQueue {
  const queue: BillingQueue = new Queue(name, {
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
  return newest(queue, state, () => true)
}

/** The newest run of all subscriptions that got through; null when none is kept. */
export async function lastRunOfAll(queue: BillingQueue): Promise<ToldRun | null> {
  return newest(queue, 'completed', ({ subscriptionId }) => subscriptionId === undefined)
}

async function newest(
  queue: BillingQueue,
  state: ToldRun['state'],
  isWanted: (payload: BillingJobPayload) => boolean
): Promise<ToldRun | null> {
  const jobs = await queue.getJobs([state], 0, KEPT.count - 1)
  const [job] = jobs
    .filter(({ data }) => isWanted(data))
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
