/** Billing, as the worker tells it: what its jobs did, what waits, and when a run last got through. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { BillingStatus, RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import type { ParkReason } from '../../domain/billing/invoices/park-reason.ts'

export interface BillingMetrics {
  readonly boundaries: Counter<'outcome'>
  readonly jobs: Counter<'kind' | 'outcome'>
  readonly collected: Counter<'outcome'>
  readonly runSeconds: Histogram
  readonly lastRun: Gauge
  readonly due: Gauge
  readonly parked: Gauge<'reason'>
  readonly oldestDueSeconds: Gauge
}

/** What became of a job: ended, to be tried again, failed for good, or given back by a worker that stopped. */
const JOB_KINDS = ['run', 'collect'] as const
const JOB_OUTCOMES = ['completed', 'retried', 'failed', 'returned'] as const
const BOUNDARY_OUTCOMES = ['invoiced', 'empty', 'parked'] as const
const COLLECT_OUTCOMES = [
  'succeeded',
  'pending',
  'failed',
  'reminded',
  'givenUp',
  'skipped',
  'unanswered',
  'faulty'
] as const
const PARK_REASONS = {
  'ledger-behind': 0,
  'analytics-behind': 0,
  'stores-differ': 0,
  'unrated-usage': 0,
  failed: 0
} as const satisfies Record<ParkReason['code'], 0>
const RUN_SECONDS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600]

export function createBillingMetrics(registry: Registry): BillingMetrics {
  const registers = [registry]
  const metrics = {
    boundaries: new Counter({
      name: 'tokenmeter_billing_boundaries_total',
      help: 'Boundaries that runs looked at: invoiced, empty (nothing was to be invoiced), parked. One that stays parked counts in each run.',
      labelNames: ['outcome'],
      registers
    }),
    jobs: new Counter({
      name: 'tokenmeter_billing_jobs_total',
      help: 'Jobs by kind and outcome: completed, retried, failed (somebody has to look), returned (the worker stopped).',
      labelNames: ['kind', 'outcome'],
      registers
    }),
    collected: new Counter({
      name: 'tokenmeter_collected_invoices_total',
      help: 'Invoices that collecting took up, by what came of it: charges succeeded, pending or failed, reminded, givenUp, unanswered (asked again), faulty (somebody has to look), skipped (another did it).',
      labelNames: ['outcome'],
      registers
    }),
    runSeconds: new Histogram({
      name: 'tokenmeter_billing_run_seconds',
      help: 'Time of a run, failed ones included.',
      buckets: RUN_SECONDS,
      registers
    }),
    lastRun: new Gauge({
      name: 'tokenmeter_billing_last_run_timestamp_seconds',
      help: 'When a run of all subscriptions last got through, or this process started and knew of none. Each process knows its own: take the largest.',
      registers
    }),
    ...standingGauges(registers)
  }
  for (const outcome of BOUNDARY_OUTCOMES) metrics.boundaries.labels(outcome).inc(0)
  for (const outcome of COLLECT_OUTCOMES) metrics.collected.labels(outcome).inc(0)
  for (const kind of JOB_KINDS) for (const outcome of JOB_OUTCOMES) metrics.jobs.labels(kind, outcome).inc(0)
  return metrics
}

function standingGauges(registers: Registry[]): Pick<BillingMetrics, 'due' | 'parked' | 'oldestDueSeconds'> {
  return {
    due: new Gauge({
      name: 'tokenmeter_billing_due',
      help: 'Boundaries that are due and were not billed yet, parked ones aside. Every worker tells the same: take the largest.',
      registers
    }),
    parked: new Gauge({
      name: 'tokenmeter_billing_parked',
      help: 'Boundaries that could not be billed when they were last tried, by reason. Every worker tells the same: take the largest.',
      labelNames: ['reason'],
      registers
    }),
    oldestDueSeconds: new Gauge({
      name: 'tokenmeter_billing_oldest_due_seconds',
      help: 'How long the oldest of them, parked ones too, has been due; 0 when there is none.',
      registers
    })
  }
}

export interface EndedJob {
  readonly kind: (typeof JOB_KINDS)[number]
  readonly outcome: (typeof JOB_OUTCOMES)[number]
  readonly seconds: number
  /** False: a run about one subscription alone, which says nothing about the others. */
  readonly isOfAll: boolean
}

export function countJob(metrics: BillingMetrics, { kind, outcome, seconds, isOfAll }: EndedJob, nowMs: number): void {
  metrics.jobs.inc({ kind, outcome })
  if (kind !== 'run') return
  metrics.runSeconds.observe(seconds)
  if (outcome === 'completed' && isOfAll) metrics.lastRun.set(nowMs / 1_000)
}

/** Of one round or several. */
export function countBoundaries({ boundaries }: BillingMetrics, counts: RoundOutcome): void {
  for (const outcome of BOUNDARY_OUTCOMES) boundaries.inc({ outcome }, counts[outcome])
}

/** Of one collect job. */
export function countCollected(
  { collected }: BillingMetrics,
  counts: Readonly<Record<(typeof COLLECT_OUTCOMES)[number], number>>
): void {
  for (const outcome of COLLECT_OUTCOMES) collected.inc({ outcome }, counts[outcome])
}

/** Null: it could not be read, so that no figure is told: an old one would pass for true. */
export function setBillingStatus(metrics: BillingMetrics, status: BillingStatus | null, nowMs: number): void {
  const { due, parked, oldestDueSeconds } = metrics
  parked.reset()
  due.set(status?.due ?? Number.NaN)
  for (const reason of Object.keys(PARK_REASONS) as ParkReason['code'][]) {
    parked.set({ reason }, status === null ? Number.NaN : (status.parkedByReason.get(reason) ?? 0))
  }
  const oldest = status?.oldestDueAt ?? null
  oldestDueSeconds.set(status === null ? Number.NaN : oldest === null ? 0 : Math.max(0, nowMs - oldest) / 1_000)
}
