/** Holds what came out against the demo's own account: whatever differs was lost or counted twice. */

import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import type { Reconciliation } from '../../ingest/reconcile.ts'
import type { Account } from './events.ts'

export interface Counts {
  readonly accepted: number
  /** Repeats that the API found within a batch, so that the log never had them. */
  readonly repeatsInBatch: number
  readonly uncounted: ReadonlyMap<UncountedReason, number>
  readonly byModel: ReadonlyMap<string, bigint>
}

/** A sentence for each thing that is not as it must be; empty when all is right. */
export function findFaults(account: Account, counts: Counts, reconciliation: Reconciliation): string[] {
  const faults: string[] = []
  const expect = (what: string, expected: number | bigint, found: number | bigint): void => {
    if (BigInt(expected) !== BigInt(found)) faults.push(`${what}: ${found} instead of ${expected}`)
  }
  expect('events counted', account.accepted, counts.accepted)
  expect('duplicates', account.duplicates - counts.repeatsInBatch, counts.uncounted.get('duplicate') ?? 0)
  expect('conflicts', account.conflicts, counts.uncounted.get('conflict') ?? 0)
  for (const [reason, count] of counts.uncounted) {
    if (reason !== 'duplicate' && reason !== 'conflict')
      expect(`rejected as ${reason}`, account.rejected[reason] ?? 0, count)
  }
  for (const [customerId, tokens] of account.byCustomer) {
    const found = reconciliation.customers.find((customer) => customer.customerId === customerId)
    for (const store of ['log', 'ledger', 'clickhouse', 'redis'] as const) {
      expect(`tokens of ${customerId} in ${store}`, tokens, found?.[store] ?? 0n)
    }
  }
  for (const [model, tokens] of account.byModel) expect(`tokens of ${model}`, tokens, counts.byModel.get(model) ?? 0n)
  for (const { customerId, day, what, ledger, other } of reconciliation.differences) {
    faults.push(`${customerId} ${day ?? 'all time'}: ledger ${ledger}, ${what} ${other}`)
  }
  if (!reconciliation.analyticsCaughtUp) faults.push('ClickHouse did not catch up with the ledger')
  return faults
}

/** Tokens by which the stores differ from each other or from the account, summed over customers. */
export function driftOf(account: Account, reconciliation: Reconciliation): bigint {
  const names = new Set([...account.byCustomer.keys(), ...reconciliation.customers.map(({ customerId }) => customerId)])
  let drift = 0n
  for (const name of names) {
    const found = reconciliation.customers.find(({ customerId }) => customerId === name)
    const expected = BigInt(account.byCustomer.get(name) ?? 0)
    for (const store of ['log', 'ledger', 'clickhouse', 'redis'] as const) {
      const difference = (found?.[store] ?? 0n) - expected
      drift += difference < 0n ? -difference : difference
    }
  }
  return drift
}
