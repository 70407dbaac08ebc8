/**
 * Subscriptions follow their invoices: past due while one is overdue, active again when none is. Outside of what collects, since it can
 * be derived at any time: what a run leaves undone, or loses to another change of the subscription, the next one finds again.
 */
import { randomUUIDv7 } from 'node:crypto'
import type { Actor } from '../../domain/audit/audit-record.ts'
import type { OverdueSubscriptions } from '../../domain/billing/payments/payment-store.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { Subscription } from '../../domain/subscriptions/subscription.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import {
  becomePastDue,
  type Outcome,
  recover,
  type Transition
} from '../../domain/subscriptions/subscription-life-cycle.ts'
import type { SubscriptionStore } from '../../domain/subscriptions/subscription-store.ts'

/** Subscriptions a run, each way: a customer base that falls due at once is followed within minutes. */
const SUBSCRIPTIONS_MAX = 500
const ACTOR: Actor = { kind: 'service', id: 'billing', address: null, requestId: null }

export interface PastDueDependencies {
  readonly overdueSubscriptions: OverdueSubscriptions
  readonly subscriptionStore: Pick<SubscriptionStore, 'update'>
  readonly now: () => number
}

export interface PastDueCounts {
  readonly pastDue: number
  readonly recovered: number
}

export async function markPastDue(
  { overdueSubscriptions, subscriptionStore, now }: PastDueDependencies,
  isStopped: () => boolean
): Promise<PastDueCounts> {
  const turn = async (
    subscriptions: readonly Subscription[],
    rule: (subscription: Subscription, now: number) => Outcome
  ): Promise<number> => {
    let turned = 0
    for (const subscription of subscriptions) {
      if (isStopped()) break
      const outcome = rule(subscription, now())
      // Its period has just ended: once it is renewed, its turn comes.
      if ('refused' in outcome) continue
      const updated = await subscriptionStore.update(outcome, changeBy(outcome, subscription))
      if (updated === 'updated') turned += 1
    }
    return turned
  }
  const pastDue = await turn(await overdueSubscriptions.listOverdue(now(), SUBSCRIPTIONS_MAX), becomePastDue)
  const recovered = await turn(await overdueSubscriptions.listRecovered(now(), SUBSCRIPTIONS_MAX), recover)
  return { pastDue, recovered }
}

function changeBy({ next, events, change }: Transition, before: Subscription): Change {
  const { id, customerId, updatedAt: at } = next
  const after = subscriptionToJson(next)
  const record = {
    id: randomUUIDv7(),
    customerId,
    actor: ACTOR,
    action: `subscription.${change?.reason ?? 'changed'}`,
    entity: { kind: 'subscription', id },
    before: subscriptionToJson(before),
    after,
    at
  }
  return {
    reach: PLATFORM,
    audit: [record],
    events: events.map((type) => ({ id: randomUUIDv7(), type, customerId, at, data: after })),
    request: null
  }
}
