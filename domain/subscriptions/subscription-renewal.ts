/**
 * One period follows another. A renewal that comes late makes one step for each period that was missed, and gives the same periods as
 * one that came in time, but for a zone that the customer changed meanwhile: that holds from the first period made after it.
 */
import { snapToQuarter } from '../tokens/quarter-hour.ts'
import { anchorOf, type BillingInterval, nextPeriod } from './billing-period.ts'
import { dayStart, localDay } from './local-day.ts'
import { isLive, type Subscription } from './subscription.ts'
import {
  changeTo,
  momentOf,
  type Outcome,
  refusalOf,
  type SubscriptionEventType,
  successor,
  type Transition
} from './subscription-life-cycle.ts'

export interface RenewalContext {
  readonly now: number
  /** The customer's, IANA. */
  readonly timeZone: string
  /** The plan version that is scheduled; null when none is. */
  readonly scheduledPlan: { readonly id: string; readonly interval: BillingInterval } | null
}

export function isRenewalDue(subscription: Subscription, now: number): boolean {
  return isLive(subscription) && momentOf(subscription, now) >= subscription.currentPeriod.end
}

/** One step: the period that ended is closed, and the one after it opened, or none when that was the last. */
export function renew(subscription: Subscription, context: RenewalContext): Outcome {
  if (!isRenewalDue(subscription, context.now)) return { refused: 'not-due' }
  const { currentPeriod: closed, scheduledChange, planId } = subscription
  if (scheduledChange?.kind !== 'cancel')
    return { ...follow(subscription, { start: closed.end, changedAt: closed.end }, context), closed }
  const next = successor(subscription, context.now, { status: 'ended', scheduledChange: null, pausedAt: null })
  const change = changeTo(next, { at: closed.end, from: planId, reason: 'ended' })
  return { next, events: ['subscription.canceled'], closed, opened: null, change }
}

/**
 * Ends a trial early. The day on which it is asked for is paid for whole and is the new anchor; usage is of the trial until the
 * quarter-hour in which it was asked for. What was scheduled for the end of the trial holds now.
 */
export function activate(subscription: Subscription, context: RenewalContext): Outcome {
  const refused = refusalOf(subscription, context.now, ['trialing'])
  if (refused !== null) return refused
  if (subscription.scheduledChange?.kind === 'cancel') return { refused: 'illegal-transition' }
  const moment = momentOf(subscription, context.now)
  const today = localDay(moment, subscription.timeZone)
  const start = dayStart(today, subscription.timeZone)
  const changedAt = snapToQuarter(moment)
  const paid = { ...subscription, anchor: today.toString(), trialEnd: changedAt }
  const trial = { start: subscription.currentPeriod.start, end: start }
  return {
    ...follow(paid, { start, changedAt }, context),
    closed: trial.start < trial.end ? trial : null
  }
}

function follow(
  subscription: Subscription,
  { start, changedAt }: { readonly start: number; readonly changedAt: number },
  { now, timeZone, scheduledPlan }: RenewalContext
): Omit<Transition, 'closed'> {
  const plan = planOf(subscription, scheduledPlan)
  const anchor = plan.interval === subscription.interval ? subscription.anchor : anchorOf(start, subscription.timeZone)
  const schedule = { anchor, interval: plan.interval, timeZone }
  const currentPeriod = nextPeriod({ start: subscription.currentPeriod.start, end: start }, schedule)
  const isActivated = subscription.status === 'trialing'
  const isChanged = plan.id !== subscription.planId
  const next = successor(subscription, now, {
    ...schedule,
    planId: plan.id,
    status: isActivated ? 'active' : subscription.status,
    currentPeriod,
    scheduledChange: null
  })
  const event: SubscriptionEventType = isActivated ? 'subscription.activated' : 'subscription.renewed'
  const reason = isActivated ? 'activated' : 'changed'
  return {
    next,
    events: isChanged ? [event, 'subscription.changed'] : [event],
    opened: { ...currentPeriod, planId: plan.id, timeZone, isTrial: false },
    change: isActivated || isChanged ? changeTo(next, { at: changedAt, from: subscription.planId, reason }) : null
  }
}

function planOf(
  { id, planId, interval, scheduledChange }: Subscription,
  scheduledPlan: RenewalContext['scheduledPlan']
): { readonly id: string; readonly interval: BillingInterval } {
  const scheduledId = scheduledChange?.planId ?? null
  if (scheduledId !== (scheduledPlan?.id ?? null))
    throw new Error(`subscription ${id} follows plan ${scheduledId}, and is renewed with ${scheduledPlan?.id}`)
  return scheduledPlan ?? { id: planId, interval }
}
