/** What has to hold before anything is billed: the ledger is complete, and the other stores say the same. */
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { ParkReason } from './park-reason.ts'

/** A stretch of a customer's time, on the quarter-hour grid. */
export interface CustomerStretch {
  readonly customerId: string
  /** Quarters, [from, to). */
  readonly from: number
  readonly to: number
}

/** Usage of a customer in a stretch of time, as the ledger has it. */
export interface LedgerStretch extends CustomerStretch {
  /** By model; one without usage may be left out. */
  readonly models: ReadonlyMap<string, Readonly<Record<TokenPool, bigint>>>
}

export interface BillingGate {
  /** Null: everything that arrived before `until`, ms, is in the ledger. It stays so. */
  ledgerBehind(until: number): Promise<Extract<ParkReason, { code: 'ledger-behind' }> | null>
  /**
   * Customers for whom another store says otherwise, or ClickHouse can't say yet; a customer may have several stretches. `until` as
   * in `ledgerBehind`, and the latest one of these stretches. What reached the ledger after `models` was read is no difference.
   * A store that is away throws a RetryableError: nothing is billed without it.
   */
  differences(stretches: readonly LedgerStretch[], until: number): Promise<ReadonlyMap<string, ParkReason>>
}
