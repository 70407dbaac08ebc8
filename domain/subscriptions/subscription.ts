/** A customer's use of a plan version, period by period. */
import type { AnchorDate, BillingInterval, Period } from './billing-period.ts'

export const SUBSCRIPTION_STATUSES = ['trialing', 'active', 'past_due', 'paused', 'canceled', 'ended'] as const
export type SubscriptionStatus = (typeof SUBSCRIPTION_STATUSES)[number]

export interface ScheduledChange {
  readonly kind: 'change-plan' | 'cancel'
  /** Of `change-plan`: the plan version that follows. */
  readonly planId: string | null
  /** A period's end, ms. */
  readonly at: number
}

export interface Subscription {
  /** UUID v7. */
  readonly id: string
  readonly customerId: string
  /** Id of the plan version. */
  readonly planId: string
  /** `canceled` was cut off within a period, `ended` ran to the end of its last one: neither comes back. */
  readonly status: SubscriptionStatus
  /** Of which every period start derives, however many were skipped or short. With a trial: the day after its last one. */
  readonly anchor: AnchorDate
  readonly interval: BillingInterval
  /** IANA name of the zone whose midnight ends the current period: the customer's, as it was when that period began. */
  readonly timeZone: string
  readonly currentPeriod: Period
  /** End of the trial, ms; null without one. */
  readonly trialEnd: number | null
  readonly scheduledChange: ScheduledChange | null
  /** Since when it is paused, ms. */
  readonly pausedAt: number | null
  /** When it was canceled, ms; it may run on to the end of its period. */
  readonly canceledAt: number | null
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** Whether periods follow. */
export function isLive({ status }: Pick<Subscription, 'status'>): boolean {
  return status !== 'canceled' && status !== 'ended'
}

/** A period as it is kept for billing. Plans that it changed to within are `SubscriptionChange`s. */
export interface SubscriptionPeriod extends Period {
  /** The plan version it begins with. */
  readonly planId: string
  /** IANA name of the zone whose midnight ends it. */
  readonly timeZone: string
  /** No base fee is due for it. */
  readonly isTrial: boolean
}

/**
 * The plan version and status that hold from a quarter-hour on, until the next change; of several in one quarter-hour the last
 * one holds. Billing splits a period by them: nothing before the first is the subscription's, though its period begins with the
 * day.
 */
export interface SubscriptionChange {
  /** A full quarter, ms. */
  readonly at: number
  readonly fromPlanId: string
  readonly toPlanId: string
  readonly toStatus: SubscriptionStatus
  readonly reason:
    | 'created'
    | 'activated'
    | 'changed'
    | 'paused'
    | 'resumed'
    | 'past_due'
    | 'recovered'
    | 'canceled'
    | 'ended'
}
