/**
 * What a subscription may turn into, and what goes with it. Each rule takes a subscription as it is stored and answers what is to be
 * written, or why not; plan-change.ts and subscription-renewal.ts have the other rules of this shape.
 *
 *   trialing ──► active ◄──► paused          trialing, active, past_due, paused ──► canceled (now), ended (at the period's end)
 *                  ▲
 *                  └──────► past_due         (an invoice is overdue, until none is)
 *
 * What is asked for holds from the first instant of its quarter-hour on. Periods go on through a pause, so that they stay
 * contiguous; it is the changes that tell billing for which days of them no base fee is due.
 */
import type { Customer } from '../customers/customer.ts'
import { QUARTER_HOUR_MS, snapToQuarter } from '../tokens/quarter-hour.ts'
import { firstPeriod, type Period } from './billing-period.ts'
import { dayStart, localDay } from './local-day.ts'
import type { PlanVersion } from './plan.ts'
import { isLive, type Subscription, type SubscriptionChange, type SubscriptionPeriod } from './subscription.ts'

export type SubscriptionEventType = `subscription.${
  | 'created'
  | 'activated'
  | 'changed'
  | 'paused'
  | 'resumed'
  | 'canceled'
  | 'renewed'}`

export type RefusalCode =
  | 'illegal-transition'
  /** The period has ended and the next one is not written yet: renew first, then ask again. */
  | 'renewal-due'
  | 'not-due'
  | 'same-plan'
  | 'interval-changes-at-period-end'
  | 'plan-not-published'
  | 'plan-not-for-customer'
  | 'currency-mismatch'
  | 'customer-not-active'

export interface Refused {
  readonly refused: RefusalCode
}

/** Written in one transaction, or not at all. */
export interface Transition {
  /** One version higher than what it was made from. */
  readonly next: Subscription
  /** The first of them names the transition; each tells `next`. */
  readonly events: readonly [SubscriptionEventType, ...SubscriptionEventType[]]
  /** The open period as it is closed, its end perhaps earlier than it was. */
  readonly closed: Period | null
  /** Begins where `closed` ends; when nothing is closed it takes the place of the open period, if there is one. */
  readonly opened: SubscriptionPeriod | null
  readonly change: SubscriptionChange | null
}

export type Outcome = Transition | Refused

export interface SubscriptionAsk {
  /** UUID v7. */
  readonly id: string
  readonly customer: Customer
  readonly plan: PlanVersion
  readonly now: number
  /** Since when the customer uses the plan, ms; not after now, which it is unless told. */
  readonly startsAt?: number
}

/**
 * Begins with the customer's day. A trial is a period of its own, of whole days; those that are paid for follow it, and are anchored
 * to the day after it. One that began so long ago that periods have ended since is brought up to date by renewing it.
 */
export function createSubscription({ id, customer, plan, now, startsAt = now }: SubscriptionAsk): Outcome {
  const refused = planRefusal(plan, customer)
  if (refused !== null) return refused
  const { timeZone } = customer
  const today = localDay(startsAt, timeZone)
  const anchorDay = today.add({ days: plan.trialDays })
  const isTrial = plan.trialDays > 0
  const schedule = { anchor: anchorDay.toString(), interval: plan.interval, timeZone }
  const currentPeriod = isTrial
    ? { start: dayStart(today, timeZone), end: dayStart(anchorDay, timeZone) }
    : firstPeriod(schedule)
  const next: Subscription = {
    id,
    customerId: customer.id,
    planId: plan.id,
    status: isTrial ? 'trialing' : 'active',
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
  return {
    next,
    events: ['subscription.created'],
    closed: null,
    opened: { ...currentPeriod, planId: plan.id, timeZone, isTrial },
    change: changeTo(next, { at: snapToQuarter(startsAt), from: plan.id, reason: 'created' })
  }
}

/** Why a customer can't have a plan version; null: it can. */
export function planRefusal(
  plan: Pick<PlanVersion, 'status' | 'onlyFor' | 'currency'>,
  customer: Pick<Customer, 'status' | 'kind' | 'currency'>
): Refused | null {
  if (customer.status !== 'active') return { refused: 'customer-not-active' }
  if (plan.status !== 'published') return { refused: 'plan-not-published' }
  if (plan.onlyFor !== null && plan.onlyFor !== customer.kind) return { refused: 'plan-not-for-customer' }
  if (plan.currency !== customer.currency) return { refused: 'currency-mismatch' }
  return null
}

/** Checks are denied and no base fee is due until it is resumed. Who owes money, or has not begun to pay, can't. */
export function pause(subscription: Subscription, now: number): Outcome {
  return refusalOf(subscription, now, ['active']) ?? turn(subscription, now, 'paused')
}

export function resume(subscription: Subscription, now: number): Outcome {
  return refusalOf(subscription, now, ['paused']) ?? turn(subscription, now, 'resumed')
}

/** An invoice is overdue. What is used is charged as before; whether anything else follows is for whoever hears of it. */
export function becomePastDue(subscription: Subscription, now: number): Outcome {
  return (
    refusalOf(subscription, now, ['active']) ?? turnTo(subscription, now, { status: 'past_due', reason: 'past_due' })
  )
}

/** No invoice is overdue any more. */
export function recover(subscription: Subscription, now: number): Outcome {
  return (
    refusalOf(subscription, now, ['past_due']) ?? turnTo(subscription, now, { status: 'active', reason: 'recovered' })
  )
}

/**
 * At the end of its period, or now: its last period then ends with the quarter-hour before, but is never empty, so that what is
 * canceled in the first quarter-hour of a period ends with that one.
 */
export function cancel(
  subscription: Subscription,
  { when, now }: { readonly when: 'now' | 'period-end'; readonly now: number }
): Outcome {
  const refused = refusalOf(subscription, now, ['trialing', 'active', 'past_due', 'paused'])
  if (refused !== null) return refused
  const canceledAt = momentOf(subscription, now)
  if (when === 'now') {
    const { start } = subscription.currentPeriod
    const at = snapToQuarter(canceledAt)
    const closed = { start, end: Math.max(at, start + QUARTER_HOUR_MS) }
    const ended = { status: 'canceled', currentPeriod: closed, scheduledChange: null, pausedAt: null } as const
    const next = successor(subscription, now, { ...ended, canceledAt: subscription.canceledAt ?? canceledAt })
    const change = changeTo(next, { at, from: subscription.planId, reason: 'canceled' })
    return { next, events: ['subscription.canceled'], closed, opened: null, change }
  }
  if (subscription.scheduledChange?.kind === 'cancel') return { refused: 'illegal-transition' }
  const scheduledChange = { kind: 'cancel', planId: null, at: subscription.currentPeriod.end } as const
  return rescheduled(successor(subscription, now, { scheduledChange, canceledAt }))
}

/** Takes back what was to happen at the end of the period. */
export function keep(subscription: Subscription, now: number): Outcome {
  const refused = refusalOf(subscription, now, ['trialing', 'active', 'past_due', 'paused'])
  if (refused !== null) return refused
  if (subscription.scheduledChange === null) return { refused: 'illegal-transition' }
  return rescheduled(successor(subscription, now, { scheduledChange: null, canceledAt: null }))
}

/** The time a rule goes by. Two processes' clocks differ: no change lies before the one it follows. */
export function momentOf({ updatedAt }: Subscription, now: number): number {
  return Math.max(now, updatedAt)
}

/** Why a subscription in its present state can't be asked anything that is open to those of `statuses`. */
export function refusalOf(
  subscription: Subscription,
  now: number,
  statuses: readonly Subscription['status'][]
): Refused | null {
  if (isLive(subscription) && momentOf(subscription, now) >= subscription.currentPeriod.end)
    return { refused: 'renewal-due' }
  return statuses.includes(subscription.status) ? null : { refused: 'illegal-transition' }
}

export function successor(subscription: Subscription, now: number, changes: Partial<Subscription>): Subscription {
  const { version } = subscription
  return { ...subscription, ...changes, version: version + 1, updatedAt: momentOf(subscription, now) }
}

export function changeTo(
  next: Subscription,
  { at, from, reason }: { readonly at: number; readonly from: string; readonly reason: SubscriptionChange['reason'] }
): SubscriptionChange {
  return { at, fromPlanId: from, toPlanId: next.planId, toStatus: next.status, reason }
}

/** What is to happen has changed, and nothing has happened. */
export function rescheduled(next: Subscription): Transition {
  return { next, events: ['subscription.changed'], closed: null, opened: null, change: null }
}

function turn(subscription: Subscription, now: number, reason: 'paused' | 'resumed'): Transition {
  const at = snapToQuarter(momentOf(subscription, now))
  const changes =
    reason === 'paused'
      ? ({ status: 'paused', pausedAt: at } as const)
      : ({ status: 'active', pausedAt: null } as const)
  const next = successor(subscription, now, changes)
  const change = changeTo(next, { at, from: subscription.planId, reason })
  return { next, events: [`subscription.${reason}`], closed: null, opened: null, change }
}

function turnTo(
  subscription: Subscription,
  now: number,
  { status, reason }: { readonly status: 'active' | 'past_due'; readonly reason: 'past_due' | 'recovered' }
): Transition {
  const at = snapToQuarter(momentOf(subscription, now))
  const next = successor(subscription, now, { status })
  const change = changeTo(next, { at, from: subscription.planId, reason })
  return { next, events: ['subscription.changed'], closed: null, opened: null, change }
}
