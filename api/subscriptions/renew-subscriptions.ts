/**
 * Lets one billing period follow another. Every API process runs one: the store gives each subscription that is due to one of them,
 * and to another when nothing came of it within the lease. A subscription that is several periods behind is brought up to date step
 * by step, each a transaction of its own: whoever dies in between, the next one goes on from the period that is stored. Two that
 * have the same one in hand never renew it twice: the version decides, and who comes second leaves it to the first.
 */
import { randomUUIDv7 } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { CustomerStore } from '../../domain/customers/customer-store.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { PlanStore } from '../../domain/subscriptions/plan-store.ts'
import type { Subscription } from '../../domain/subscriptions/subscription.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import type { Transition } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { isRenewalDue, type RenewalContext, renew } from '../../domain/subscriptions/subscription-renewal.ts'
import type { SubscriptionStore } from '../../domain/subscriptions/subscription-store.ts'
import { Rounds } from '../rounds.ts'

const INTERVAL_MS = 1_000
/** After this long a subscription whose renewal failed is due again. */
const LEASE_MS = 10_000
const ACTOR = { kind: 'service', id: 'subscription-renewal', address: null, requestId: null } as const

export interface RenewalDependencies {
  readonly subscriptionStore: SubscriptionStore
  readonly planStore: Pick<PlanStore, 'find'>
  readonly customerStore: Pick<CustomerStore, 'find'>
  readonly now: () => number
}

export function subscriptionRenewal(
  dependencies: RenewalDependencies & { readonly logger: FastifyBaseLogger }
): Rounds {
  const { logger } = dependencies
  const work = async (isStopped: () => boolean): Promise<void> => {
    const { renewed, failed } = await renewDueSubscriptions(dependencies, isStopped)
    if (renewed > 0) logger.info({ subscriptions: renewed }, 'renewed subscriptions')
    for (const { id, error } of failed) logger.error({ err: error, subscriptionId: id }, 'a renewal failed')
  }
  return new Rounds({ intervalMs: INTERVAL_MS, work, waiting: 'subscriptions wait for their renewal', logger })
}

export interface RenewalRound {
  readonly renewed: number
  /** The lease brings them back. */
  readonly failed: readonly { readonly id: string; readonly error: unknown }[]
}

/** One that can't be renewed does not keep the others waiting; a store that is away ends the round. */
export async function renewDueSubscriptions(
  dependencies: RenewalDependencies,
  isStopped: () => boolean
): Promise<RenewalRound> {
  const { subscriptionStore, now } = dependencies
  const due = await subscriptionStore.takeDue(now(), LEASE_MS)
  const failed: { id: string; error: unknown }[] = []
  let renewed = 0
  for (const subscription of due) {
    if (isStopped()) break
    try {
      if ((await catchUp(subscription, dependencies)) !== null) renewed += 1
    } catch (error) {
      if (error instanceof RetryableError) throw error
      failed.push({ id: subscription.id, error })
    }
  }
  return { renewed, failed }
}

/** Renews one until its period holds now. Answers how it then stands; null: another process does it. */
export async function catchUp(
  subscription: Subscription,
  dependencies: RenewalDependencies
): Promise<Subscription | null> {
  let current = subscription
  while (isRenewalDue(current, dependencies.now())) {
    const renewal = renew(current, await renewalContext(current, dependencies))
    if ('refused' in renewal) throw new Error(`subscription ${current.id} is due and refused: ${renewal.refused}`)
    const outcome = await dependencies.subscriptionStore.update(renewal, changeBy(renewal, current))
    if (outcome === 'other-version') return null
    current = renewal.next
  }
  return current
}

/** What a rule must know to let a period follow. */
export async function renewalContext(
  { id, customerId, scheduledChange }: Subscription,
  { customerStore, planStore, now }: RenewalDependencies
): Promise<RenewalContext> {
  const customer = await customerStore.find(PLATFORM, customerId)
  if (customer === null) throw new Error(`subscription ${id} is of customer ${customerId}, who is not there`)
  const planId = scheduledChange?.planId ?? null
  const scheduledPlan = planId === null ? null : await planStore.find(PLATFORM, planId)
  return { now: now(), timeZone: customer.timeZone, scheduledPlan }
}

/** The trail says when it was done; the events say of when it is: the end of the period before, however late it was. */
function changeBy({ next, events, closed }: Transition, before: Subscription): Change {
  const { customerId, id } = next
  const after = subscriptionToJson(next)
  const at = closed?.end ?? next.updatedAt
  return {
    reach: PLATFORM,
    audit: [
      {
        id: randomUUIDv7(),
        customerId,
        actor: ACTOR,
        action: events[0],
        entity: { kind: 'subscription', id },
        before: subscriptionToJson(before),
        after,
        at: next.updatedAt
      }
    ],
    events: events.map((type) => ({ id: randomUUIDv7(), type, customerId, at, data: after })),
    request: null
  }
}
