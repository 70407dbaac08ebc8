/**
 * All that an invoice of a boundary is made from, but for usage; and the stretches of time in which usage is asked for. A boundary is
 * where a subscription's period begins or ends: usage of the period that ends there is due, and the base fee of the one that begins.
 * Its settlement, some weeks after the last period, has what came late for earlier periods, and nothing else.
 */
import type { Customer } from '../../customers/customer.ts'
import type { Period } from '../../subscriptions/billing-period.ts'
import type { PlanVersion } from '../../subscriptions/plan.ts'
import type { SubscriptionChange, SubscriptionPeriod, SubscriptionStatus } from '../../subscriptions/subscription.ts'
import type { Grant } from '../../tokens/grants/grant.ts'
import { quarterOf } from '../../tokens/quarter-hour.ts'
import type { RatedRow } from '../usage-by-price.ts'
import type { InvoiceLine } from './invoice.ts'

export interface Boundary {
  readonly subscriptionId: string
  readonly customerId: string
  /** ms. */
  readonly at: number
}

export interface BilledPeriod extends SubscriptionPeriod {
  /** Its end as it was when it began, ms: it was cut short when it ended before. Base fees and allowances are for all of it. */
  readonly fullEnd: number
}

export interface BoundaryStory {
  readonly boundary: Boundary
  readonly customer: Customer
  readonly ended: BilledPeriod | null
  readonly begins: BilledPeriod | null
  /** The base fee of the ended period as it was invoiced when it began. Null: by nobody here, as of an import; the plan's fee was paid. */
  readonly advance: Advance | null
  /** Periods before, that ended lately enough for usage of them to have come since. */
  readonly earlier: readonly InvoicedPeriod[]
  /** Of the subscription, ascending; of several in one quarter-hour the last one holds. */
  readonly changes: readonly SubscriptionChange[]
  /** By id: every plan that a period or change names. */
  readonly plans: ReadonlyMap<string, PlanVersion>
  /** Of the customer. */
  readonly grants: readonly Grant[]
}

export interface Advance {
  /** 0 where nothing was invoiced. */
  readonly amountMinor: bigint
  /** Nobody owed it: there is nothing of it to give back, and it isn't asked for again. */
  readonly isVoid: boolean
}

export interface InvoicedPeriod {
  readonly period: BilledPeriod
  /** Whether the invoice of its usage was voided: nothing of it is given back. */
  readonly isVoid: boolean
  /** For usage of the period, on whatever invoice. One that was voided counts: what it asked for is not asked for again. */
  readonly lines: readonly InvoiceLine[]
}

/** Quarters, [from, to). */
export interface Stretch {
  readonly from: number
  readonly to: number
}

/** What the customer used in a stretch, a row for each model: its quarter is the first of the stretch. */
export interface StretchUsage extends Stretch {
  readonly rows: readonly RatedRow[]
}

/** From when to when a subscription had which plan and status; ms, [from, to). */
export interface Holding {
  readonly from: number
  readonly to: number
  readonly planId: string
  readonly status: SubscriptionStatus
}

/** Whether base fees, usage and allowances are charged. */
export function isCharged(status: SubscriptionStatus): boolean {
  return status === 'active' || status === 'past_due'
}

/**
 * How the subscription stood through a period, without gap up to its end. What was there when a period began with the day and
 * the subscription later on that day begins with the subscription.
 */
export function holdingsOf(period: Period, changes: readonly SubscriptionChange[]): readonly Holding[] {
  const holdings: Holding[] = []
  for (const { at, toPlanId, toStatus } of changes) {
    if (at >= period.end) continue
    const from = Math.max(at, period.start)
    const last = holdings.at(-1)
    if (last !== undefined && last.from === from) holdings.pop()
    else if (last !== undefined) holdings[holdings.length - 1] = { ...last, to: from }
    holdings.push({ from, to: period.end, planId: toPlanId, status: toStatus })
  }
  return holdings
}

/**
 * The stretches to sum usage in, ascending: the periods of a story cut wherever a plan, a status or a price changes, so that within
 * one of them every token of a model costs the same. Nothing is asked of trials, which cost nothing.
 */
export function stretchesOf(story: Pick<BoundaryStory, 'ended' | 'earlier' | 'changes' | 'plans'>): readonly Stretch[] {
  const periods = [...story.earlier.map(({ period }) => period), ...(story.ended === null ? [] : [story.ended])]
  return periods.filter(({ isTrial }) => !isTrial).flatMap((period) => stretchesOfPeriod(period, story))
}

function stretchesOfPeriod(
  period: BilledPeriod,
  { changes, plans }: Pick<BoundaryStory, 'changes' | 'plans'>
): readonly Stretch[] {
  const cuts = new Set([period.start, period.end])
  for (const { from, planId } of holdingsOf(period, changes)) {
    cuts.add(from)
    for (const { effectiveFrom } of planOf(plans, planId).prices) {
      if (effectiveFrom !== null && effectiveFrom > period.start && effectiveFrom < period.end) cuts.add(effectiveFrom)
    }
  }
  const quarters = [...cuts].map(quarterOf).toSorted((a, b) => a - b)
  return quarters.slice(1).map((to, i) => ({ from: quarters[i] ?? to, to }))
}

/** Throws when it isn't among them. */
export function planOf(plans: ReadonlyMap<string, PlanVersion>, planId: string): PlanVersion {
  const plan = plans.get(planId)
  if (plan === undefined) throw new Error(`plan ${planId} is named by a subscription and is not there`)
  return plan
}
