/**
 * Takes jobs of the billing queues and does them, one of each kind at a time. A worker that dies loses its lock, and another one does the job again: what was done
 * of it stands in Postgres, and is not done twice. One that is stopped ends the round it is in and gives the job back.
 */
import { UnrecoverableError, WaitingError, Worker } from 'bullmq'
import { RetryableError } from '../domain/errors.ts'
import {
  type BillingJob,
  type BillingJobCounts,
  type BillingJobName,
  type BillingJobPayload,
  QUEUES,
  type QueueAddress
} from './queues.ts'

export interface JobAsk extends BillingJobPayload {
  /** Told what was done so far. */
  readonly onProgress: (counts: BillingJobCounts) => void
  /** Asked between rounds: true, do no more of them. */
  readonly isStopped: () => boolean
}

/** A `RetryableError` has the job tried again; any other is a defect, and somebody has to look at the failed job. */
export type JobWork = (ask: JobAsk) => Promise<BillingJobCounts>

/** How a job ended here. `retried` is tried again after a pause, `returned` was given back when this process stopped. */
export interface JobEnd {
  readonly kind: BillingJobName
  readonly outcome: 'completed' | 'retried' | 'failed' | 'returned'
  readonly jobId: string
  /** One that the job was about alone; null: all. */
  readonly subscriptionId: string | null
  /** Null: it failed. */
  readonly counts: BillingJobCounts | null
  readonly seconds: number
  readonly error: unknown
}

export interface WorkerOptions extends QueueAddress {
  readonly work: Readonly<Record<BillingJobName, JobWork>>
  /** The job of a worker that said nothing for so long is given to another one, ms; looked at as often. */
  readonly lockMs: number
  readonly onEnd: (end: JobEnd) => void
  /** A connection that fails, or a lock that was lost; BullMQ goes on by itself. */
  readonly onError: (error: Error) => void
}

export interface RunningWorker {
  /** Rejects unless it takes jobs. */
  assertWell(): Promise<void>
  /** Resolves when every job here has ended its round and was given back. */
  stop(): Promise<void>
}

/** Of each kind: runs of one process never share its connections. */
const JOBS_AT_ONCE = 1
/** Workers that a job asked for by hand may take down with it. A scheduled one is always tried again. */
const STALLS_MAX = 5

export function startBillingWorker(options: WorkerOptions): RunningWorker {
  let isStopping = false
  const workers = [startWorker('run', options, () => isStopping), startWorker('collect', options, () => isStopping)]
  return {
    assertWell: async () => {
      if (isStopping || !workers.every((worker) => worker.isRunning())) throw new Error('the worker takes no jobs')
    },
    stop: async () => {
      isStopping = true
      await Promise.all(workers.map((worker) => worker.close()))
    }
  }
}

type JobWorker = Worker<BillingJobPayload, BillingJobCounts, BillingJobName>

function startWorker(kind: BillingJobName, options: WorkerOptions, isStopping: () => boolean): JobWorker {
  const { redisUrl, prefix, lockMs, onEnd, onError } = options
  const worker: JobWorker = new Worker(
    QUEUES[kind],
    async (job, token) => {
      const startedAt = performance.now()
      const ended = await attempt(job, options.work, { onError, isStopping })
      onEnd({ ...nameOf(job), seconds: (performance.now() - startedAt) / 1_000, ...ended })
      if (ended.outcome === 'returned') {
        await job.moveToWait(token)
        throw new WaitingError()
      }
      if (ended.counts === null) throw ended.error
      return ended.counts
    },
    {
      prefix,
      connection: { url: redisUrl, maxRetriesPerRequest: null },
      concurrency: JOBS_AT_ONCE,
      lockDuration: lockMs,
      stalledInterval: lockMs,
      maxStalledCount: STALLS_MAX
    }
  )
  worker.on('error', onError)
  worker.on('failed', (job, error) => {
    // Only of a job that took too many workers down is this all that is heard: nobody does it again.
    if (job?.deferredFailure === undefined) return
    onEnd({ ...nameOf(job), outcome: 'failed', counts: null, seconds: 0, error })
  })
  return worker
}

function nameOf({ name, id, data }: BillingJob): Pick<JobEnd, 'kind' | 'jobId' | 'subscriptionId'> {
  return { kind: name, jobId: id ?? '', subscriptionId: data.subscriptionId ?? null }
}

type Attempted = Pick<JobEnd, 'outcome' | 'counts' | 'error'>

async function attempt(
  job: BillingJob,
  work: WorkerOptions['work'],
  { isStopping, onError }: { readonly isStopping: () => boolean; readonly onError: (error: Error) => void }
): Promise<Attempted> {
  let isCutShort = false
  try {
    if (!Object.hasOwn(work, job.name)) throw new Error(`no job is called ${job.name} in this version`)
    const counts = await work[job.name]({
      ...job.data,
      isStopped: () => {
        isCutShort ||= isStopping()
        return isCutShort
      },
      // Whoever looks at the job sees it; that Redis is away for a moment is no reason to end a run.
      onProgress: (soFar) => void job.updateProgress(soFar).catch(onError)
    })
    return { outcome: isCutShort ? 'returned' : 'completed', counts, error: null }
  } catch (error) {
    if (!(error instanceof RetryableError)) return { outcome: 'failed', counts: null, error: withoutRetry(error) }
    const isLast = job.attemptsMade + 1 >= (job.opts.attempts ?? 1)
    return { outcome: isLast ? 'failed' : 'retried', counts: null, error }
  }
}

/** With the stack of the defect, which the failed job shows. */
function withoutRetry(error: unknown): UnrecoverableError {
  const final = new UnrecoverableError(error instanceof Error ? error.message : String(error))
  if (error instanceof Error && error.stack !== undefined) final.stack = error.stack
  return final
}
