/** Whether every store says what was sent, and the same. */
import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import { reconcileStores } from '../../ingest/commands/reconcile-command.ts'
import type { Reconciliation } from '../../ingest/reconcile.ts'
import type { Database } from '../../sql/connect.ts'
import { PostgresLedgerReport } from '../../sql/ledger-report.ts'
import { newAccount } from '../../stack/demo/events.ts'
import { driftOf } from '../../stack/demo/verdict.ts'
import type { SoakAccount } from './soak-traffic.ts'

export interface Judged {
  readonly counted: number
  readonly uncounted: Readonly<Record<string, number>>
  /** Tokens, summed over customers and stores. */
  readonly drift: bigint
  readonly faults: readonly string[]
}

export async function judgeSoak(
  account: SoakAccount,
  environment: Readonly<Record<string, string>>,
  database: Database
): Promise<Judged> {
  const reconciliation = await reconcileStores({ ...process.env, ...environment })
  const report = new PostgresLedgerReport(database)
  const counted = Number((await report.totals()).events)
  const uncounted = await report.countUncounted()
  const drift = driftOf({ ...newAccount(), byCustomer: new Map(account.byCustomer) }, reconciliation)
  return {
    counted,
    uncounted: Object.fromEntries(uncounted),
    drift,
    faults: findSoakFaults({ account, counted, uncounted, drift, reconciliation })
  }
}

/**
 * A sentence for each thing that is not as it must be. How many duplicates there are is not among them: a request that failed and went
 * again may have made more than were meant.
 */
export function findSoakFaults(of: {
  readonly account: SoakAccount
  readonly counted: number
  readonly uncounted: ReadonlyMap<UncountedReason, number>
  readonly drift: bigint
  readonly reconciliation: Reconciliation
}): readonly string[] {
  const { account, counted, uncounted, drift, reconciliation } = of
  const rejected = [...uncounted].filter(([reason, count]) => reason !== 'duplicate' && count > 0)
  const duplicates = uncounted.get('duplicate') ?? 0
  return [
    ...(counted === account.events ? [] : [`events counted: ${counted} instead of ${account.events}`]),
    ...(duplicates >= account.repeats
      ? []
      : [`duplicates: ${duplicates}, though ${account.repeats} repeats were sent`]),
    ...rejected.map(([reason, count]) => `${count} events were refused as ${reason}`),
    ...(drift === 0n ? [] : [`the stores and what was sent differ by ${drift} tokens`]),
    ...reconciliation.differences.map(
      ({ customerId, day, what, ledger, other }) =>
        `${customerId} ${day ?? 'all time'}: ledger ${ledger}, ${what} ${other}`
    ),
    ...(reconciliation.seeding.length === 0
      ? []
      : [`${reconciliation.seeding.length} customers were not compared with Redis`]),
    ...(reconciliation.analyticsCaughtUp ? [] : ['ClickHouse did not catch up with the ledger'])
  ]
}
