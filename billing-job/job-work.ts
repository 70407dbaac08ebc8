/** What the jobs of the queue do, and how it is counted. */
import type { RoundOutcome } from '../domain/billing/invoices/billing-store.ts'
import { type BillingMetrics, countBoundaries, countCollected } from '../monitoring/billing/billing-metrics.ts'
import { type BillingDependencies, billDue, type RunAsk } from './bill-due.ts'
import type { JobWork } from './billing-worker.ts'
import { type CollectDependencies, collectDue } from './collect/collect-due.ts'
import { type FinishDependencies, finishRefunds } from './collect/finish-refunds.ts'
import { markPastDue, type PastDueDependencies } from './collect/mark-past-due.ts'

/** As many as the lease of an invoice has time for when the provider answers none of them. */
const COLLECT_BATCH_SIZE = 25
const COLLECT_CONCURRENCY = 4

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

/** `collect`: invoices first, refunds that were left half-way, and subscriptions after what became of both. */
export function collectWork(
  dependencies: CollectDependencies & FinishDependencies & PastDueDependencies,
  metrics: BillingMetrics
): JobWork {
  return async ({ isStopped }) => {
    const collected = await collectDue(dependencies, {
      batchSize: COLLECT_BATCH_SIZE,
      concurrency: COLLECT_CONCURRENCY,
      isStopped
    })
    countCollected(metrics, collected)
    const refundsFinished = await finishRefunds(dependencies, isStopped)
    return { ...collected, refundsFinished, ...(await markPastDue(dependencies, isStopped)) }
  }
}
