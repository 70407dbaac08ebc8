/**
 * A subscription goes on where the former service left it: with the period that holds now, by the anchor it had. Periods before that
 * are the former service's, and so is usage before the quarter-hour of the import.
 */

import { parseRfc3339 } from '../../rfc3339-time.ts'
import { anchorOf, firstPeriod, type Period, periodAt } from '../../subscriptions/billing-period.ts'
import { dayStart, localDay } from '../../subscriptions/local-day.ts'
import { isLive, type Subscription } from '../../subscriptions/subscription.ts'
import {
  changeTo,
  planRefusal,
  type RefusalCode,
  type Transition
} from '../../subscriptions/subscription-life-cycle.ts'
import { snapToQuarter } from '../../tokens/quarter-hour.ts'
import type { Candidate, CustomerStanding, PlanStanding, SubscriptionStanding } from './customer-import.ts'
import { type Fresh, type Judged, refused } from './judge-rows.ts'

const STATUSES = ['active', 'trialing'] as const
type ImportedStatus = (typeof STATUSES)[number]

interface SubscriptionContext {
  readonly customer: CustomerStanding | null
  /** All versions of all codes that the batch names. */
  readonly plans: readonly PlanStanding[]
  readonly standing: readonly SubscriptionStanding[]
}

export function judgeSubscription(
  { fields }: Candidate,
  { customer, plans, standing }: SubscriptionContext,
  fresh: Fresh
): Judged<Transition> {
  if (customer === null) return refused('customerExternalId', 'is of no customer that is known')
  const { planCode, planVersion, anchor, status: stated = 'active' } = fields
  const status = STATUSES.find((known) => known === stated)
  if (status === undefined) return refused('status', `must be one of ${STATUSES.join(', ')}`)
  if (typeof anchor !== 'string' || parseRfc3339(`${anchor}T00:00:00Z`) === null) {
    return refused('anchor', 'must be a date such as 2026-01-31')
  }
  const plan = findPlan(plans, planCode, planVersion)
  if (plan === null) return refused('planCode', `${shownPlan(planCode, planVersion)} is no plan version that is known`)
  if (standing.some((one) => one.planId === plan.id && one.anchor === anchor)) return { outcome: 'unchanged' }
  if (standing.some(isLive)) return refused('customerExternalId', 'has another subscription that is live')
  const refusal = planRefusal(plan, customer)
  if (refusal !== null) return refused(...REFUSALS[refusal.refused])
  return beginning({ customer, plan, anchor, status }, fresh)
}

/** Without a version the newest that is published; when there is none, the newest, to be refused as what it is. */
function findPlan(plans: readonly PlanStanding[], code: unknown, version: unknown): PlanStanding | null {
  const versions = plans.filter((plan) => plan.code === code).toSorted((a, b) => b.version - a.version)
  if (version !== undefined) return versions.find((plan) => plan.version === version) ?? null
  return versions.find((plan) => plan.status === 'published') ?? versions[0] ?? null
}

function shownPlan(code: unknown, version: unknown): string {
  return version === undefined ? String(code) : `${code} version ${version}`
}

const NOT_ASKED = ['planCode', 'can not be subscribed to'] as const
const REFUSALS: Readonly<Record<RefusalCode, readonly [field: string, message: string]>> = {
  'customer-not-active': ['customerExternalId', 'is of a customer that is suspended or closed'],
  'plan-not-published': ['planCode', 'is of a plan version that is not published, or no longer'],
  'plan-not-for-customer': ['planCode', 'is of a plan for another kind of customer'],
  'currency-mismatch': ['planCode', "is of a plan in another currency than the customer's"],
  'illegal-transition': NOT_ASKED,
  'renewal-due': NOT_ASKED,
  'not-due': NOT_ASKED,
  'same-plan': NOT_ASKED,
  'interval-changes-at-period-end': NOT_ASKED
}

interface Beginning {
  readonly customer: CustomerStanding
  readonly plan: PlanStanding
  readonly anchor: string
  readonly status: ImportedStatus
}

function beginning({ customer, plan, anchor, status }: Beginning, { id, now }: Fresh): Judged<Transition> {
  const { timeZone } = customer
  const schedule = { anchor, interval: plan.interval, timeZone }
  const isTrial = status === 'trialing'
  const currentPeriod = isTrial ? trialUntil(firstPeriod(schedule).start, timeZone, now) : periodAt(schedule, now)
  if (currentPeriod === undefined) {
    const today = anchorOf(now, timeZone)
    return isTrial
      ? refused('anchor', `is the first day after the trial, which must be later than today, ${today}`)
      : refused('anchor', `must not be later than today, ${today}`)
  }
  const next: Subscription = {
    id,
    customerId: customer.id,
    planId: plan.id,
    status,
    ...schedule,
    currentPeriod,
    trialEnd: isTrial ? currentPeriod.end : null,
    scheduledChange: null,
    pausedAt: null,
    canceledAt: null,
    version: 1,
    createdAt: now,
    updatedAt: now
  }
  const written: Transition = {
    next,
    events: ['subscription.created'],
    closed: null,
    opened: { ...currentPeriod, planId: plan.id, timeZone, isTrial },
    change: changeTo(next, { at: snapToQuarter(now), from: plan.id, reason: 'created' })
  }
  return { outcome: 'created', written, events: written.events }
}

/** What is left of it, in whole days. */
function trialUntil(end: number, timeZone: string, now: number): Period | undefined {
  const start = dayStart(localDay(now, timeZone), timeZone)
  return end > now ? { start, end } : undefined
}
