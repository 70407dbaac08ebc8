/** A subscription as JSON has it: in answers, events and audit records. Instants are RFC 3339. */
import type { JsonObject } from '../json.ts'
import type { Subscription } from './subscription.ts'

export function subscriptionToJson(subscription: Subscription) {
  const { id, customerId, planId, status, anchor, interval, timeZone, version } = subscription
  const { currentPeriod, scheduledChange } = subscription
  return {
    id,
    customerId,
    planId,
    status,
    anchor,
    interval,
    timeZone,
    currentPeriod: { start: instant(currentPeriod.start), end: instant(currentPeriod.end) },
    trialEnd: instantOrNull(subscription.trialEnd),
    scheduledChange: scheduledChange === null ? null : { ...scheduledChange, at: instant(scheduledChange.at) },
    pausedAt: instantOrNull(subscription.pausedAt),
    canceledAt: instantOrNull(subscription.canceledAt),
    version,
    createdAt: instant(subscription.createdAt),
    updatedAt: instant(subscription.updatedAt)
  } satisfies JsonObject
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}

function instantOrNull(ms: number | null): string | null {
  return ms === null ? null : instant(ms)
}
