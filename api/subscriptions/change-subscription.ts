/** From a request to a subscription's next state: found, brought up to date, held against If-Match, changed, answered. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { PLATFORM } from '../../domain/change.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import type { PlanChangeAsk } from '../../domain/subscriptions/plan-change.ts'
import type { Subscription } from '../../domain/subscriptions/subscription.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import type { Outcome, RefusalCode, Transition } from '../../domain/subscriptions/subscription-life-cycle.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { refreshLimits } from '../changes/refresh-limits.ts'
import { type ProblemCode, ProblemError } from '../problem.ts'
import { checkMatch, etagOf, lostRace } from '../schemas/versions.ts'
import { catchUp, type RenewalDependencies } from './renew-subscriptions.ts'

export interface SubscriptionDependencies extends RenewalDependencies {
  readonly limitRefresh: LimitRefresh
}

export type SubscriptionRequest = FastifyRequest & {
  readonly params: { readonly subscriptionId: string }
  readonly headers: { readonly 'if-match'?: string | undefined }
}

/** Codes that `changeSubscription` may answer. */
export const TRANSITION_FAULTS = [
  'unknown-subscription',
  'illegal-transition',
  'conflicting-change',
  'version-mismatch',
  'idempotency-in-flight',
  'idempotency-key-reused',
  'service-unavailable'
] as const satisfies readonly ProblemCode[]

interface Changing {
  readonly dependencies: SubscriptionDependencies
  readonly decide: (subscription: Subscription) => Outcome | Promise<Outcome>
}

export async function changeSubscription(
  request: SubscriptionRequest,
  reply: FastifyReply,
  { dependencies, decide }: Changing
): Promise<ReturnType<typeof subscriptionToJson>> {
  const before = await findSubscription(request, dependencies)
  const outcome = await decide(before)
  if ('refused' in outcome) throw refusal(outcome.refused)
  const { change, told, headers } = changeBy(request, outcome, before)
  if ((await dependencies.subscriptionStore.update(outcome, change)) === 'other-version') {
    throw lostRace(request.headers['if-match'])
  }
  await refreshLimits(request, dependencies.limitRefresh, before.customerId)
  void reply.headers(headers)
  return told
}

/**
 * As it stands now: a renewal that is due comes first, or the request would be about a period that has ended. That raises the
 * version, so that an If-Match of before is refused.
 */
export async function findSubscription(
  request: SubscriptionRequest,
  dependencies: SubscriptionDependencies
): Promise<Subscription> {
  const { subscriptionId } = request.params
  const stored = await dependencies.subscriptionStore.find(reachOf(request), subscriptionId)
  if (stored === null) throw unknownSubscription(subscriptionId)
  const subscription = await catchUp(stored, dependencies)
  const ifMatch = request.headers['if-match']
  if (subscription === null) throw lostRace(ifMatch)
  checkMatch(ifMatch, subscription)
  return subscription
}

/** Within the caller's reach: a plan that is held back from its customer is none. */
export async function findPlan(
  request: FastifyRequest,
  { planStore }: SubscriptionDependencies,
  planId: string
): Promise<PlanVersion> {
  const plan = await planStore.find(reachOf(request), planId)
  if (plan === null) throw new ProblemError('unknown-plan', `The plan ${planId} is not known.`)
  return plan
}

export async function planChangeAsk(
  request: SubscriptionRequest & { readonly body: { readonly planId: string; readonly when?: PlanChangeAsk['when'] } },
  dependencies: SubscriptionDependencies,
  { id, customerId, planId }: Subscription
): Promise<PlanChangeAsk> {
  const { planId: wantedId, when = null } = request.body
  const wanted = await findPlan(request, dependencies, wantedId)
  const current = await dependencies.planStore.find(PLATFORM, planId)
  const customer = await dependencies.customerStore.find(PLATFORM, customerId)
  if (current === null || customer === null) throw new Error(`the plan or the customer of subscription ${id} is gone`)
  return { current, wanted, customer, when, now: dependencies.now() }
}

/** The change that brings a transition into the store, with what is answered: 201 for one that follows nothing. */
export function changeBy(request: FastifyRequest, { next, events }: Transition, before: Subscription | null) {
  const told = subscriptionToJson(next)
  const headers = etagOf(next)
  const change = changeOf(request, {
    customerId: next.customerId,
    action: events[0],
    entity: { kind: 'subscription', id: next.id },
    before: before === null ? null : subscriptionToJson(before),
    after: told,
    at: next.updatedAt,
    events,
    answer: { status: before === null ? 201 : 200, headers, body: JSON.stringify(told) }
  })
  return { change, told, headers }
}

const REFUSALS: Readonly<Record<RefusalCode, readonly [code: ProblemCode, detail: string]>> = {
  'illegal-transition': ['illegal-transition', 'The subscription is in no state in which this can be done.'],
  'renewal-due': ['conflicting-change', 'The period has just ended: read the subscription again.'],
  'not-due': ['illegal-transition', 'The period has not ended.'],
  'same-plan': ['illegal-transition', 'The subscription is to this plan version already.'],
  'interval-changes-at-period-end': [
    'illegal-transition',
    'Another interval begins with a period: leave out `when`, or say `period-end`.'
  ],
  'plan-not-published': ['plan-not-available', 'The plan version is not published, or no longer.'],
  'plan-not-for-customer': ['plan-not-available', 'The plan is held back for another kind of customer.'],
  'currency-mismatch': ['plan-not-available', "The plan is in another currency than the customer's invoices."],
  'customer-not-active': ['customer-not-active', 'The customer is suspended or closed.']
}

export function refusal(refused: RefusalCode): ProblemError {
  const [code, detail] = REFUSALS[refused]
  return new ProblemError(code, detail, { extensions: { reason: refused } })
}

export function unknownSubscription(id: string): ProblemError {
  return new ProblemError('unknown-subscription', `There is no subscription ${id}.`)
}
