/**
 * What a customer may use. A limit = scope × measure × window × max. The meter keeps no limit's count: it keeps counters,
 * one per (scope, measure, window), and several limits may look at one. `compile-limits.ts` turns limits into counters.
 */
import type { TokenPool } from './token-pools.ts'

/** Whose usage is summed. `each-user` and `each-model` keep one sum for every user or model that turns up. */
export type LimitScope =
  | { readonly kind: 'customer' }
  | { readonly kind: 'user'; readonly userId: string }
  | { readonly kind: 'each-user' }
  | { readonly kind: 'model'; readonly model: string }
  | { readonly kind: 'each-model' }
  | { readonly kind: 'user-model'; readonly userId: string; readonly model: string }

/** Integer price of one token per pool, in the fraction of a currency that `LimitMeasure.unit` states. */
export type CostWeights = Readonly<Record<TokenPool, number>>

/** What is summed: all tokens, one pool, or a cost as Σ tokens × weight (linear, so that it can be rebuilt). */
export type LimitMeasure =
  | { readonly kind: 'total' }
  | { readonly kind: 'pool'; readonly pool: TokenPool }
  | {
      readonly kind: 'cost'
      /** For example `EUR/1000000`: a weight of 3 is three millionths of a euro a token. */
      readonly unit: string
      /** By exact model name; `*` is for every model not named and must be there. */
      readonly weights: Readonly<Record<string, CostWeights>>
    }

/** Over which time. Calendar windows are local to the customer's zone; `rolling` is the last 1–24 hours by the quarter-hour. */
export type LimitWindow =
  | { readonly kind: 'month' | 'week' | 'day' | 'hour' }
  | { readonly kind: 'rolling'; readonly hours: number }
  | {
      readonly kind: 'period'
      /** Boundaries of billing periods in milliseconds since the epoch, ascending, contiguous. */
      readonly boundaries: readonly number[]
    }

export interface Limit {
  /** Chosen by whoever sets it, unique for the customer: 1–64 of `A–Z a–z 0–9 . _ -`. */
  readonly id: string
  readonly scope: LimitScope
  readonly measure: LimitMeasure
  readonly window: LimitWindow
  /** Tokens, or for a cost its unit: an integer in [0, 2^53). */
  readonly max: number
  /** A hard limit refuses what would pass it; a soft one only says so. */
  readonly mode: 'hard' | 'soft'
  /** What a hard limit answers while the meter can't know. */
  readonly whenUnknown: 'deny' | 'allow'
}

export interface CustomerLimits {
  readonly customerId: string
  /** IANA name. */
  readonly timeZone: string
  /** Raised by one with each change; an older one never replaces a newer one. */
  readonly version: number
  readonly limits: readonly Limit[]
}

/** [start, end) in quarters since the epoch. */
export type WindowBounds = readonly [startQuarter: number, endQuarter: number]

/**
 * A sum that the meter keeps. `id` tells scope, measure and kind of window, and nothing of any limit, so that a limit with
 * another max keeps its counter.
 */
export interface Counter {
  readonly id: string
  readonly scope: LimitScope
  /** Weight per pool in the order of TOKEN_POOLS; one entry `*` unless the measure is a cost. */
  readonly weights: Readonly<Record<string, readonly number[]>>
  /** `rolling` counters are kept per quarter-hour for `hours`; others per listed window. */
  readonly rollingHours: number
  /** Ascending: previous, current and several next. Empty for a rolling counter. */
  readonly windows: readonly WindowBounds[]
}

export interface CompiledLimit {
  readonly id: string
  readonly counterId: string
  readonly max: number
  readonly mode: 'hard' | 'soft'
  readonly whenUnknown: 'deny' | 'allow'
  /** Hours of a rolling limit, 0 for others. */
  readonly rollingHours: number
}

/** What the meter holds of a customer's limits. */
export interface CompiledLimits {
  readonly customerId: string
  readonly version: number
  readonly counters: readonly Counter[]
  readonly limits: readonly CompiledLimit[]
}
