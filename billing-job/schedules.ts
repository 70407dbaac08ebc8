/**
 * When jobs come by themselves. Schedules stand in the Redis of the queues, which may be lost, and with it the next job of each: whoever
 * works looks after them now and then. BullMQ catches up nothing of its own accord: to schedule anew drops a job that no worker has
 * begun, also one of a slot that has come. That slot is answered by a run that is asked for; one too many finds nothing due.
 */
import { askForRun, type BillingQueues, JOB_OPTIONS } from './queues.ts'

export interface Schedules {
  /** Cron, five fields. */
  readonly runPattern: string
  /** IANA name: the hour of a run is local there, through changes of the clocks. */
  readonly timeZone: string
  readonly collectIntervalMs: number
}

/** The next job of a schedule that lies so far back is lost; no collect job keeps the one after it waiting for so long. */
const LOST_AFTER_MS = 900_000

/** However many processes do it, there is one of each; the last one that starts says when. A slot that no worker was there for is caught up. */
export async function scheduleBilling(queues: BillingQueues, schedules: Schedules): Promise<void> {
  const { runPattern, timeZone, collectIntervalMs } = schedules
  const before = await queues.run.getJobScheduler('run')
  await queues.run.upsertJobScheduler(
    'run',
    { pattern: runPattern, tz: timeZone },
    { name: 'run', data: {}, opts: JOB_OPTIONS.run }
  )
  await queues.collect.upsertJobScheduler(
    'collect',
    { every: collectIntervalMs },
    { name: 'collect', data: {}, opts: JOB_OPTIONS.collect }
  )
  // Looked at afterwards: the slot may have come meanwhile.
  if (before?.next !== undefined && before.next <= Date.now()) await askForRun(queues.run, null)
}

/** True: Redis had lost them, and they stand again. A slot may have passed without them, so a run is asked for. */
export async function restoreSchedules(queues: BillingQueues, schedules: Schedules): Promise<boolean> {
  const [run, collect] = await Promise.all([
    queues.run.getJobScheduler('run'),
    queues.collect.getJobScheduler('collect')
  ])
  const lostBefore = Date.now() - LOST_AFTER_MS
  if ([run, collect].every((standing) => (standing?.next ?? 0) > lostBefore)) return false
  await scheduleBilling(queues, schedules)
  if (run === undefined) await askForRun(queues.run, null)
  return true
}
