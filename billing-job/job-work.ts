/** What the jobs of the queue do, and how it is counted. */
import type { RoundOutcome } from '../domain/billing/invoices/billing-store.ts'
import { type BillingMetrics, countBoundaries, countCollected } from '../monitoring/billing/billing-metrics.ts'
import { type BillingDependencies, billDue, type RunAsk } from './bill-due.ts'
import type { JobWork } from './billing-worker.ts'
import { type CollectDependencies, collectDue } from './collect/collect-due.ts'
import { type FinishDependencies, finishRefunds } from './collect/finish-refunds.ts'
import { markPastDue, type PastDueDependencies } from './collect/mark-past-due.ts'

/** At four at once under two minutes when the provider answers none of them: so much longer than its limit a job may take. */
const COLLECT_BATCH_SIZE = 25
const COLLECT_CONCURRENCY = 4
/** Refunds are asked for one by one, and a provider that hangs takes 15 s for each. The next job goes on. */
const REFUNDS_LIMIT_MS = 60_000

/** `run`. */
export function runWork(
  dependencies: BillingDependencies,
  rounds: Pick<RunAsk, 'batchSize' | 'concurrency'>,
  metrics: BillingMetrics
): JobWork {
  return async ({ subscriptionId = null, onProgress, isStopped }) => {
    let told: RoundOutcome = { invoiced: 0, empty: 0, parked: 0 }
    const outcome = await billDue(dependencies, {
      ...rounds,
      subscriptionId,
      isStopped,
      onProgress: (soFar) => {
        countBoundaries(metrics, {
          invoiced: soFar.invoiced - told.invoiced,
          empty: soFar.empty - told.empty,
          parked: soFar.parked - told.parked
        })
        told = soFar
        onProgress({ ...soFar })
      }
    })
    return { ...outcome }
  }
}

/**
 * `collect`: invoices first, refunds that were left half-way, and subscriptions after what became of both. It ends within 10 minutes,
 * whatever the provider does.
 */
export function collectWork(
  dependencies: CollectDependencies & FinishDependencies & PastDueDependencies,
  metrics: BillingMetrics
): JobWork {
  return async ({ isStopped }) => {
    const collected = await collectDue(dependencies, {
      batchSize: COLLECT_BATCH_SIZE,
      concurrency: COLLECT_CONCURRENCY,
      isStopped,
      onBatch: (counts) => countCollected(metrics, counts)
    })
    const refundsEndAt = dependencies.now() + REFUNDS_LIMIT_MS
    const refundsFinished = await finishRefunds(dependencies, () => isStopped() || dependencies.now() >= refundsEndAt)
    return { ...collected, refundsFinished, ...(await markPastDue(dependencies, isStopped)) }
  }
}
