/**
 * From what a customer has, to what it may use: the limits of its plan with the boundaries of its billing periods, its own limits,
 * which replace those of the same id, and its grants, which raise one limit each. What must not be used at all gets a limit of 0,
 * and the others stay, so that nothing has to be counted anew when it may be used again.
 */
import type { CustomerStatus } from '../../customers/customer.ts'
import type { PlanLimit } from '../../subscriptions/plan.ts'
import type { SubscriptionStatus } from '../../subscriptions/subscription.ts'
import type { Grant } from '../grants/grant.ts'
import { type GrantOutcome, type GrantStanding, type SettledGrant, standingOf } from '../grants/reckon-grants.ts'
import type { CustomerLimits, Limit } from '../limit.ts'
import { firstUnsettled, raisedBy, raiseLimits } from './raise-limits.ts'

export interface LimitSources {
  readonly customerId: string
  /** Null: nobody knows the customer but by the limits that were put for it. */
  readonly status: CustomerStatus | null
  readonly timeZone: string
  /** The subscription that is not over, with the limits of its plan; null: none. */
  readonly subscription: {
    readonly status: SubscriptionStatus
    readonly planLimits: readonly PlanLimit[]
    /** Of its periods in ms, ascending: from the one before the current period's start, or that start, and those listed ahead. */
    readonly boundaries: readonly number[]
    /** Starts of periods before those, ascending, as far back as a grant is not settled. */
    readonly earlier: readonly number[]
  } | null
  readonly ownLimits: readonly Limit[]
  /** Those of tokens that have anything left, or had when they were settled last. */
  readonly grants: readonly Grant[]
  /** What grants raised when this was composed last, and in which zone; null: it was not. */
  readonly before: Pick<CustomerLimits, 'timeZone' | 'limits'> | null
  /** Tokens that the ledger has of the customer with event time in [from, to) ms. */
  readonly usedBetween: (from: number, to: number) => number
}

export interface ComposedLimits {
  readonly limits: readonly Limit[]
  /** The same without grants and denial: what `before` is to be next time. */
  readonly unraised: readonly Limit[]
  readonly settled: readonly SettledGrant[]
  /** Of every grant, also of one that raises no limit and waits. */
  readonly standings: readonly RaisingGrant[]
  /** When this has to be composed anew although nobody changes anything, ms; null: never. */
  readonly nextAt: number | null
}

export interface RaisingGrant extends GrantStanding {
  readonly grant: Grant
  /** Null: it waits for a limit that it can raise. */
  readonly limitId: string | null
}

/** Why a customer may use nothing; each is the id of a limit of 0. */
export const DENIALS = ['customer-suspended', 'customer-closed', 'subscription-paused', 'no-subscription'] as const
export type Denial = (typeof DENIALS)[number]

export function composeLimits(sources: LimitSources, now: number): ComposedLimits {
  const unraised = unraisedLimits(sources)
  const { raised, settled, grants } = raiseLimits({ ...sources, limits: unraised, earlier: earlierOf(sources) }, now)
  const inForce = unraised.map((limit) => ({ ...limit, max: raised.get(limit.id)?.max ?? limit.max }))
  const denial = denialOf(sources)
  const next = [...raised.values()].flatMap(({ nextAt }) => (nextAt === null ? [] : [nextAt]))
  return {
    limits: denial === null ? inForce : [...inForce, nothing(denial)],
    unraised,
    settled,
    standings: grants.map((grant) => {
      const limitId = raisedBy(grant, unraised)?.id ?? null
      return { grant, limitId, ...reckonedOf(grant, raised.get(limitId ?? ''), now) }
    }),
    nextAt: next.length === 0 ? null : Math.min(...next)
  }
}

function reckonedOf(grant: Grant, outcome: GrantOutcome | undefined, now: number): GrantStanding {
  const reckoned = outcome?.standings.find(({ grantId }) => grantId === grant.id)
  return reckoned ?? standingOf(grant, { burnt: Number(grant.burnt), now })
}

/** The limits of plan and customer, before any grant raises one. */
export function unraisedLimits({
  subscription,
  ownLimits
}: Pick<LimitSources, 'subscription' | 'ownLimits'>): readonly Limit[] {
  const replaced = new Set(ownLimits.map(({ id }) => id))
  return [...plannedLimits(subscription).filter(({ id }) => !replaced.has(id)), ...ownLimits]
}

function plannedLimits(subscription: LimitSources['subscription']): readonly Limit[] {
  if (subscription === null) return []
  const { planLimits, boundaries } = subscription
  return planLimits.map(({ window, ...limit }): Limit => {
    return { ...limit, window: window.kind === 'plan-period' ? { kind: 'period', boundaries } : window }
  })
}

/** Since when `usedBetween` is asked, ms; null: it is not. */
export function usageSince(sources: Omit<LimitSources, 'usedBetween'>, now: number): number | null {
  return firstUnsettled({ ...sources, limits: unraisedLimits(sources), earlier: earlierOf(sources) }, now)
}

/** Earlier boundaries are the subscription's: of a limit with periods of its own there are none. */
function earlierOf({
  subscription,
  ownLimits
}: Pick<LimitSources, 'subscription' | 'ownLimits'>): (limit: Limit) => readonly number[] {
  const own = new Set(ownLimits)
  return (limit) => (own.has(limit) ? [] : (subscription?.earlier ?? []))
}

function denialOf({ status, subscription, ownLimits }: LimitSources): Denial | null {
  if (status === 'suspended') return 'customer-suspended'
  if (status === 'closed') return 'customer-closed'
  if (subscription?.status === 'paused') return 'subscription-paused'
  // Limits of one's own are enough; without any, everything would be free.
  return status !== null && subscription === null && ownLimits.length === 0 ? 'no-subscription' : null
}

function nothing(id: Denial): Limit {
  const window = { kind: 'month' } as const
  return {
    id,
    scope: { kind: 'customer' },
    measure: { kind: 'total' },
    window,
    max: 0,
    mode: 'hard',
    whenUnknown: 'deny'
  }
}
