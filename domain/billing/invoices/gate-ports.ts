/** What the gate before billing asks of the stores and the log. All of it reads; a store that is away throws a RetryableError. */
import type { LedgerRow, MeteredEvent } from '../../ports.ts'
import type { MeteredCustomer } from '../../tokens/reconcile/compare-counters.ts'
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { CustomerStretch } from './billing-gate.ts'

export interface LogArrival {
  readonly partition: number
  /** The first record that arrived at the instant or later; where there is none, the end. */
  readonly offset: number
  /** The offset after the last record. */
  readonly end: number
}

export interface LogArrivals {
  /** Every partition, by the broker's time of arrival, ms. */
  arrivedBy(instant: number): Promise<readonly LogArrival[]>
}

/** Tokens of a model in one of the stretches that were asked about. */
export interface StretchTokens {
  /** Its place in the question. */
  readonly stretch: number
  readonly model: string
  readonly tokens: Readonly<Record<TokenPool, bigint>>
}

export interface QuarterTokens extends StretchTokens {
  readonly quarter: number
}

/** Sums over all users. Each call is one statement, so ask about some hundred stretches at a time. */
export interface StretchSums {
  /** A row for each stretch and model with usage, in no order. */
  stretchSums(stretches: readonly CustomerStretch[]): Promise<readonly StretchTokens[]>
  /** The same by quarter-hour, which may be thousands of rows a stretch. */
  quarterSums(stretches: readonly CustomerStretch[]): Promise<readonly QuarterTokens[]>
}

/** How far the stores follow a partition: offsets before which they have everything. */
export interface PartitionStand {
  readonly ledger: number
  readonly analytics: number
}

export interface GateLedger extends StretchSums {
  /** Of every partition that was ever consumed. */
  stands(): Promise<ReadonlyMap<number, PartitionStand>>
  /**
   * What the ledger has of each customer from the first of its quarters on, added up between them (`separatingQuarters`): a row's quarter is
   * the one it was added to. One statement; customers without usage are missing.
   */
  counterRows(
    asked: readonly { readonly customerId: string; readonly quarters: readonly number[] }[]
  ): Promise<ReadonlyMap<string, readonly LedgerRow[]>>
}

export interface GateMeter {
  /** Null while a customer's shard can't know. */
  customers(customerIds: readonly string[]): Promise<ReadonlyMap<string, MeteredCustomer | null>>
  /** How far the customers' shards have counted each partition; what was read of them before is not ahead of it. */
  countedThrough(customerIds: readonly string[]): Promise<ReadonlyMap<number, number>>
}

/** Searchable events of a customer's stretch, as they are held: an event that stands there twice comes twice. */
export interface StretchEvents {
  /** Of one partition, with offsets in [fromOffset, toOffset), in their order. */
  stretchEvents(
    asked: CustomerStretch & { readonly partition: number; readonly fromOffset: number; readonly toOffset: number }
  ): AsyncIterable<MeteredEvent>
  /** How many there are, by partition. */
  countEvents(stretch: CustomerStretch): Promise<ReadonlyMap<number, number>>
}
