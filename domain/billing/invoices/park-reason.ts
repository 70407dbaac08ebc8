/** Why a boundary isn't billed. It stays due: each run looks again, so that what is mended is billed by the next one. */
import type { JsonObject } from '../../json.ts'
import type { CounterDifference } from '../../tokens/reconcile/compare-counters.ts'
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { UnratedUsage } from '../usage-by-price.ts'

/** Tokens of a model and pool in a stretch of the period, by the ledger and by the store that disagrees with it. */
export interface StoreDifference {
  readonly model: string
  readonly pool: TokenPool
  /** Quarters, [from, to). */
  readonly from: number
  readonly to: number
  readonly ledger: bigint
  readonly other: bigint
}

export type ParkReason =
  /** The log goes on beyond the ledger, before the end of the period and its grace: more usage may come. */
  | { readonly code: 'ledger-behind'; readonly partitions: readonly number[] }
  /** ClickHouse has not got everything yet that the ledger has, so that a difference would say nothing. */
  | { readonly code: 'analytics-behind'; readonly partitions: readonly number[] }
  | {
      readonly code: 'stores-differ'
      readonly store: 'clickhouse'
      /** At most ten. */
      readonly differences: readonly StoreDifference[]
    }
  | {
      readonly code: 'stores-differ'
      readonly store: 'redis'
      /** At most ten. */
      readonly differences: readonly CounterDifference[]
    }
  /** Models that no price is for, or more taken back than was used. */
  | { readonly code: 'unrated-usage'; readonly usage: readonly UnratedUsage[] }
  /** A defect: the others are billed all the same. */
  | { readonly code: 'failed'; readonly message: string }

/** As it is kept and told: counts of tokens are decimal digits. */
export type ToldParkReason = JsonObject & { readonly code: ParkReason['code'] }

export function tellParkReason(reason: ParkReason): ToldParkReason {
  const text = JSON.stringify(reason, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
  return { ...(JSON.parse(text) as JsonObject), code: reason.code }
}
