/**
 * What the API asks of the outside, in its own words. An adapter keeps the promise that stands here; what the pipeline asks
 * stands in ports.ts.
 */
import type { Change } from './change.ts'
import type { RaisingGrant } from './tokens/effective/compose-limits.ts'
import type { CompiledLimits, CustomerLimits, Limit } from './tokens/limit.ts'
import type { TokenPools } from './tokens/token-pools.ts'
import type { UsageEvent } from './tokens/usage-event.ts'

// ---- the meter, as the API sees it -----------------------------------------------------------------------------------

export interface LimitStanding {
  readonly id: string
  readonly max: number
  readonly used: number
  readonly held: number
  /** Never below 0. */
  readonly remaining: number
  /** When the window ends, ms; for a rolling limit when its oldest quarter-hour leaves. */
  readonly resetsAt: number
  /** What the ask's tokens come to in the measure of this limit; 0 without an ask. */
  readonly asked: number
  readonly mode: 'hard' | 'soft'
  readonly whenUnknown: 'deny' | 'allow'
  /** Set when the numbers leave out usage: the counter waits for what came before it, or the window list has run out. */
  readonly unknown: 'seeding' | 'windows-ran-out' | null
}

/** Why a shard can't know: Redis away, no state of this server run, under repair, or its consumers are behind. */
export type MeterUnknown = 'unavailable' | 'unrepaired' | 'stale'

export type Standing =
  | {
      readonly known: true
      readonly limits: readonly LimitStanding[]
      readonly countedUpTo: number
      readonly total: number
    }
  | { readonly known: false; readonly why: MeterUnknown; readonly limits: readonly LimitStanding[] }
  | { readonly known: true; readonly limits: null }

/** Whose call it is, and how much it may use. */
export interface UsageAsk {
  readonly customerId: string
  /** Empty: not told; then each-user and user limits do not apply. */
  readonly userId: string
  readonly model: string
  /** Null: no estimate; a check then asks whether anything is left. */
  readonly tokens: TokenPools | null
}

export interface Hold {
  readonly holdId: string
  readonly customerId: string
  readonly userId: string
  readonly model: string
  readonly tokens: TokenPools
  readonly state: 'held' | 'settled' | 'counted' | 'released' | 'expired'
  readonly expiresAt: number
}

export type HoldOutcome =
  /** `again`: the same hold was there already. `ended`: it was, and is over. */
  | { readonly outcome: 'held' | 'again' | 'ended'; readonly hold: Hold; readonly limits: readonly LimitStanding[] }
  | { readonly outcome: 'refused'; readonly binding: string; readonly limits: readonly LimitStanding[] }
  /** The same id with another content. */
  | { readonly outcome: 'conflict'; readonly hold: Hold }
  | { readonly outcome: 'not-found' }
  | { readonly outcome: 'unknown-customer' }
  | { readonly outcome: 'unknown'; readonly why: MeterUnknown | 'seeding' | 'windows-ran-out' }

/** The quota side of the meter. A customer without limits in the meter is unknown to it. */
export interface QuotaMeter {
  /** Every limit that applies to the ask, at one moment. `limits: null`: the customer is not known. */
  check(ask: UsageAsk): Promise<Standing>
  /** Reserves against all limits or none. Again with the same content: the same hold. */
  hold(
    ask: UsageAsk & { readonly tokens: TokenPools; readonly holdId: string; readonly ttlMs: number }
  ): Promise<HoldOutcome>
  /** Resizes a hold (tokens null: keeps them) and renews its expiry; refused when a hard limit has no room for the growth. */
  extend(change: {
    readonly customerId: string
    readonly holdId: string
    readonly tokens: TokenPools | null
    readonly ttlMs: number
  }): Promise<HoldOutcome>
  /** `settle` resizes to the actual until the usage event comes, `release` gives it back (tokens null). Twice changes nothing. */
  end(change: {
    readonly customerId: string
    readonly holdId: string
    readonly how: 'settle' | 'release'
    readonly tokens: TokenPools | null
  }): Promise<HoldOutcome>
  find(customerId: string, holdId: string): Promise<Hold | null>
}

/** The limit-setting side of the meter. */
export interface LimitMeter {
  /** Replaces a customer's limits unless a newer version stands; a counter not kept yet is cut. Throws `RetryableError` when the shard can't. */
  setLimits(limits: CompiledLimits): Promise<void>
  /** Begins every counter of a customer again at zero under a cut, so that the ledger seeds it anew while traffic goes on. */
  recount(customerId: string): Promise<void>
  /** Every limit of a customer but the each-user ones (told with a user) and the each-model ones (told with a model). */
  balance(customerId: string, userId: string, model: string): Promise<Standing>
}

/** A customer's own limits, as they are put, and when its effective ones are due. */
export interface LimitStore {
  /** Version 0: none were put. Null: nothing of the customer is kept. */
  find(customerId: string): Promise<CustomerLimits | null>
  /** Raises the version by one. `expectedVersion` null: any; another than the stored one: null is answered and nothing changes. */
  put(
    limits: Omit<CustomerLimits, 'version'>,
    expectedVersion: number | null,
    change: Change
  ): Promise<CustomerLimits | null>
  /** Customers whose limits must be put in force again by now, longest due first; each is given out once per `leaseMs`. */
  takeDue(now: number, leaseMs: number): Promise<readonly string[]>
  /** When they are due next. Nothing happens when their effective limits are of another version by now. */
  setRenewal(customerId: string, version: number, renewAt: number): Promise<void>
}

/** What a customer may use, all together. */
export interface EffectiveLimits {
  /**
   * Composes the customer's limits of its plan, its own and its grants as of now, settles what grants burnt in windows that are
   * over, and stores both in one transaction. Of the version that is to be put in force. Null: nothing of the customer is kept.
   */
  reckon(
    customerId: string,
    /** Asked once nobody else composes them: a later composition is never of an earlier moment. */
    now: () => number
  ): Promise<{
    readonly effective: CustomerLimits
    /** When this changes by itself, ms; null: never. */
    readonly nextAt: number | null
  } | null>
  /** Where the grants of tokens stand that may still give, in the order of their creation; changes nothing. The ledger lags by seconds. */
  grants(customerId: string, now: number): Promise<readonly RaisingGrant[]>
  /** The limits that grants can raise or not, by `raisedBy`; changes nothing. */
  unraised(customerId: string): Promise<readonly Limit[]>
}

// ---- usage queries ---------------------------------------------------------------------------------------------------

export type UsageGrain = 'quarter-hour' | 'hour' | 'day' | 'week' | 'month' | 'all'
export type UsageGroup = 'customer' | 'user' | 'model' | 'pool'

export interface UsageQuery {
  readonly from: number
  readonly to: number
  readonly grain: UsageGrain
  readonly timeZone: string
  readonly groupBy: readonly UsageGroup[]
  readonly customerId: string | null
  readonly userId: string | null
  readonly model: string | null
  readonly limit: number
}

export interface UsageRow {
  /** Start of the grain's window, ms; null for the grain `all`. */
  readonly start: number | null
  readonly customerId: string | null
  readonly userId: string | null
  readonly model: string | null
  readonly pool: string | null
  /** Decimal digits: sums may pass 2^53. */
  readonly tokens: string
  readonly events: string
}

export interface UsageQueries {
  usage(query: UsageQuery): Promise<readonly UsageRow[]>
  /** The event as it was counted, or null. */
  findEvent(customerId: string, source: string, id: string): Promise<UsageEvent | null>
}

// ---- the log

/** The producing end of the usage topic. */
export interface UsageEventLog {
  /** Resolves when the broker has them all; throws `RetryableError` when it is away or the queue is full. */
  append(events: readonly UsageEvent[]): Promise<void>
}
