/**
 * From one plan version to another. A higher base fee holds at once, its share of the days that are left against what was paid for
 * them; a lower or equal one holds from the next period on, unless asked otherwise. Nothing was paid for a trial, so within one every
 * plan holds at once. Another interval begins with a period, whatever was asked.
 */
import type { Customer } from '../customers/customer.ts'
import { snapToQuarter } from '../tokens/quarter-hour.ts'
import type { PlanVersion } from './plan.ts'
import { type ChangePreview, changePreview } from './proration.ts'
import type { Subscription } from './subscription.ts'
import {
  changeTo,
  momentOf,
  type Outcome,
  planRefusal,
  type Refused,
  refusalOf,
  rescheduled,
  successor
} from './subscription-life-cycle.ts'

export type ChangeTime = 'now' | 'period-end'

export interface PlanChangeAsk {
  /** The version that the subscription names. */
  readonly current: PlanVersion
  readonly wanted: PlanVersion
  readonly customer: Customer
  /** Null: by whether it is an upgrade. */
  readonly when: ChangeTime | null
  readonly now: number
}

/** What a change of plan would do; its amounts are of base fees, in the minor unit of their currency. */
export interface PlanChangeTerms extends ChangePreview {
  readonly when: ChangeTime
  /** From then on, ms. */
  readonly at: number
}

const NO_FEES: ChangePreview = { creditMinor: 0n, chargeMinor: 0n, netMinor: 0n }

export function planChangeTerms(subscription: Subscription, ask: PlanChangeAsk): PlanChangeTerms | Refused {
  const { current, wanted, customer, when, now } = ask
  const refused = refusalOf(subscription, now, ['trialing', 'active', 'past_due']) ?? planRefusal(wanted, customer)
  if (refused !== null) return refused
  if (subscription.scheduledChange?.kind === 'cancel') return { refused: 'illegal-transition' }
  if (wanted.id === subscription.planId) return { refused: 'same-plan' }
  const { currentPeriod: period, timeZone, status } = subscription
  const atEnd = { ...NO_FEES, when: 'period-end', at: period.end } as const
  if (wanted.interval !== subscription.interval)
    return when === 'now' ? { refused: 'interval-changes-at-period-end' } : atEnd
  const isUpgrade = status === 'trialing' || wanted.baseFeeMinor > current.baseFeeMinor
  if ((when ?? (isUpgrade ? 'now' : 'period-end')) === 'period-end') return atEnd
  const at = snapToQuarter(momentOf(subscription, now))
  if (status === 'trialing') return { ...NO_FEES, when: 'now', at }
  const { baseFeeMinor: oldFeeMinor } = current
  const fees = changePreview({ oldFeeMinor, newFeeMinor: wanted.baseFeeMinor, period, at, timeZone })
  return { ...fees, when: 'now', at }
}

/** Takes the place of a change that was scheduled before. */
export function changePlan(subscription: Subscription, ask: PlanChangeAsk): Outcome {
  const terms = planChangeTerms(subscription, ask)
  if ('refused' in terms) return terms
  const { wanted, now } = ask
  const { when, at } = terms
  if (when === 'period-end') {
    const scheduledChange = { kind: 'change-plan', planId: wanted.id, at } as const
    return rescheduled(successor(subscription, now, { scheduledChange }))
  }
  const next = successor(subscription, now, { planId: wanted.id, scheduledChange: null })
  const change = changeTo(next, { at, from: subscription.planId, reason: 'changed' })
  return { next, events: ['subscription.changed'], closed: null, opened: null, change }
}
