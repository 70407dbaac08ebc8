import { randomUUIDv7 } from 'node:crypto'
import Type from 'typebox'
import { changePlan, planChangeTerms } from '../../domain/subscriptions/plan-change.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import { cancel, createSubscription, keep, pause, resume } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { activate } from '../../domain/subscriptions/subscription-renewal.ts'
import { EVERY_ROLE } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { reachOf } from '../changes/change-of.ts'
import { refreshLimits } from '../changes/refresh-limits.ts'
import { type ProblemCode, ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import * as subscriptions from '../schemas/subscriptions.ts'
import { ETAG, etagOf, IfMatch, lostRace } from '../schemas/versions.ts'
import {
  changeBy,
  changeSubscription,
  findPlan,
  findSubscription,
  planChangeAsk,
  refusal,
  type SubscriptionDependencies,
  TRANSITION_FAULTS,
  unknownSubscription
} from '../subscriptions/change-subscription.ts'
import { renewalContext } from '../subscriptions/renew-subscriptions.ts'
import { unknownCustomer } from './quota.ts'

const READ = { scope: 'subscriptions:read', roles: EVERY_ROLE } as const
const CREATE = { scope: 'subscriptions:write', roles: ['owner'] } as const
const WRITE = { scope: 'subscriptions:write', roles: ['owner', 'admin', 'billing'] } as const

const SubscriptionPath = Type.Object(
  {
    subscriptionId: Type.String({
      description: 'Id of the subscription.',
      minLength: 1,
      maxLength: 128,
      pattern: schemas.VISIBLE,
      examples: [subscriptions.SUBSCRIPTION_EXAMPLE.id]
    })
  },
  schemas.strict
)
const DAY_MS = 86_400_000
const BODY_FAULTS = ['malformed-json', 'unsupported-media-type'] as const
const PLAN_FAULTS = ['unknown-plan', 'plan-not-available', 'customer-not-active'] as const

export function subscriptionRoutes(api: Api, dependencies: SubscriptionDependencies): void {
  createRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  previewRoute(api, dependencies)
  changePlanRoute(api, dependencies)
  cancelRoute(api, dependencies)
  activateRoute(api, dependencies)
  bareRoutes(api, dependencies)
}

function createRoute(api: Api, dependencies: SubscriptionDependencies): void {
  const { subscriptionStore, limitRefresh, now } = dependencies
  api.post(
    '/v1/subscriptions',
    {
      config: { access: CREATE },
      schema: {
        operationId: 'createSubscription',
        tags: ['subscriptions'],
        summary: 'Subscribe a customer to a plan',
        description:
          "Begins with the current day of the customer's zone: with the plan's trial, or at once with a period that is paid for. A customer has one subscription that is neither canceled nor ended, at most.",
        body: subscriptions.NewSubscriptionBody,
        response: {
          201: answerSubscription('The subscription.'),
          ...schemas.problems(
            ...BODY_FAULTS,
            ...PLAN_FAULTS,
            'validation-failed',
            'unknown-customer',
            'subscription-exists',
            'subscription-overlaps',
            'conflicting-change',
            'idempotency-in-flight',
            'idempotency-key-reused',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const { customerId, planId } = request.body
      const customer = await dependencies.customerStore.find(reachOf(request), customerId)
      if (customer === null) throw unknownCustomer(customerId)
      const plan = await findPlan(request, dependencies, planId)
      const outcome = createSubscription({ id: randomUUIDv7(), customer, plan, ...startOf(request.body, now()) })
      if ('refused' in outcome) throw refusal(outcome.refused)
      const { change, told, headers } = changeBy(request, outcome, null)
      const inserted = await subscriptionStore.insert(outcome, change)
      if (inserted === 'customer-changed') throw lostRace(undefined)
      if (inserted === 'overlaps')
        throw new ProblemError('subscription-overlaps', `${customerId} had another subscription after startsAt.`)
      if (inserted === 'another-is-live') {
        throw new ProblemError(
          'subscription-exists',
          `${customerId} has a subscription: change its plan, or cancel it.`
        )
      }
      await refreshLimits(request, limitRefresh, customerId)
      return reply.code(201).headers(headers).send(told)
    }
  )
}

function startOf({ startsAt }: { readonly startsAt?: string }, now: number): { now: number; startsAt: number } {
  const at = startsAt === undefined ? now : Date.parse(startsAt)
  if (at <= now && at >= now - subscriptions.STARTED_DAYS_MAX * DAY_MS) return { now, startsAt: at }
  const message = `must lie within the last ${subscriptions.STARTED_DAYS_MAX} days`
  throw new ProblemError('validation-failed', 'See `errors`.', { errors: [{ field: 'startsAt', message }] })
}

function listRoute(api: Api, { subscriptionStore }: SubscriptionDependencies): void {
  api.get(
    '/v1/subscriptions',
    {
      config: { access: READ },
      schema: {
        operationId: 'listSubscriptions',
        tags: ['subscriptions'],
        summary: 'Subscriptions',
        description: "Also those that are over. A customer's credential sees its own customer's.",
        querystring: Type.Object(
          {
            customerId: Type.Optional(schemas.CustomerId),
            status: Type.Optional(subscriptions.Status),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(subscriptions.SubscriptionTold, 'A page of subscriptions.', subscriptions.SUBSCRIPTION_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { customerId = null, status = null, ...page } = request.query
      const asked = { customerId, status, ...pageAsked(page) }
      return tellPage(await subscriptionStore.list(reachOf(request), asked), subscriptionToJson)
    }
  )
}

function getRoute(api: Api, { subscriptionStore }: SubscriptionDependencies): void {
  api.get(
    '/v1/subscriptions/:subscriptionId',
    {
      config: { access: READ },
      schema: {
        operationId: 'getSubscription',
        tags: ['subscriptions'],
        summary: 'A subscription',
        params: SubscriptionPath,
        response: {
          200: answerSubscription('The subscription.'),
          ...schemas.problems('validation-failed', 'unknown-subscription', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const { subscriptionId } = request.params
      const subscription = await subscriptionStore.find(reachOf(request), subscriptionId)
      if (subscription === null) throw unknownSubscription(subscriptionId)
      return reply.headers(etagOf(subscription)).send(subscriptionToJson(subscription))
    }
  )
}

function previewRoute(api: Api, dependencies: SubscriptionDependencies): void {
  api.post(
    '/v1/subscriptions/:subscriptionId/preview',
    {
      config: { access: WRITE, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'previewPlanChange',
        tags: ['subscriptions'],
        summary: 'What a change of plan would do',
        description:
          'The same as `change-plan` at this moment, and changes nothing. Base fees are shared out by local days; the day of the change is the new plan’s.',
        params: SubscriptionPath,
        headers: IfMatch,
        body: subscriptions.PlanChangeBody,
        response: {
          200: schemas.answer(subscriptions.PlanChangeTold, 'What it would do.', subscriptions.PLAN_CHANGE_EXAMPLE),
          ...transitionProblems(...BODY_FAULTS, ...PLAN_FAULTS)
        }
      }
    },
    async (request) => {
      const subscription = await findSubscription(request, dependencies)
      const ask = await planChangeAsk(request, dependencies, subscription)
      const terms = planChangeTerms(subscription, ask)
      if ('refused' in terms) throw refusal(terms.refused)
      return subscriptions.tellPlanChange(ask.wanted, terms)
    }
  )
}

function changePlanRoute(api: Api, dependencies: SubscriptionDependencies): void {
  api.post(
    '/v1/subscriptions/:subscriptionId/change-plan',
    {
      config: { access: WRITE },
      schema: {
        operationId: 'changePlan',
        tags: ['subscriptions'],
        summary: 'Change to another plan version',
        description:
          'At once, from the current quarter-hour on, or from the next period on; `preview` tells which, and what it costs: a line of the invoice that follows the period. Takes the place of a change that was scheduled before.',
        params: SubscriptionPath,
        headers: IfMatch,
        body: subscriptions.PlanChangeBody,
        response: {
          200: answerSubscription('The subscription as it stands now.'),
          ...transitionProblems(...BODY_FAULTS, ...PLAN_FAULTS)
        }
      }
    },
    async (request, reply) =>
      changeSubscription(request, reply, {
        dependencies,
        decide: async (subscription) =>
          changePlan(subscription, await planChangeAsk(request, dependencies, subscription))
      })
  )
}

function cancelRoute(api: Api, dependencies: SubscriptionDependencies): void {
  api.post(
    '/v1/subscriptions/:subscriptionId/cancel',
    {
      config: { access: WRITE },
      schema: {
        operationId: 'cancelSubscription',
        tags: ['subscriptions'],
        summary: 'Cancel a subscription',
        description: 'At the end of its period, which `keep` takes back until then, or now, for good.',
        params: SubscriptionPath,
        headers: IfMatch,
        body: subscriptions.CancellationBody,
        response: {
          200: answerSubscription('The subscription as it stands now.'),
          ...transitionProblems(...BODY_FAULTS)
        }
      }
    },
    async (request, reply) =>
      changeSubscription(request, reply, {
        dependencies,
        decide: (subscription) => cancel(subscription, { when: request.body.when, now: dependencies.now() })
      })
  )
}

function activateRoute(api: Api, dependencies: SubscriptionDependencies): void {
  api.post(
    '/v1/subscriptions/:subscriptionId/activate',
    {
      config: { access: WRITE },
      schema: {
        operationId: 'activateSubscription',
        tags: ['subscriptions'],
        summary: 'End a trial early',
        description:
          'The first period that is paid for begins with the current local day, which becomes the anchor. A trial that nobody ends is followed by it on its own.',
        params: SubscriptionPath,
        headers: IfMatch,
        response: { 200: answerSubscription('The subscription as it stands now.'), ...transitionProblems() }
      }
    },
    async (request, reply) =>
      changeSubscription(request, reply, {
        dependencies,
        decide: async (subscription) => activate(subscription, await renewalContext(subscription, dependencies))
      })
  )
}

const BARE = [
  {
    name: 'pause',
    act: pause,
    summary: 'Pause a subscription',
    description: 'Quota checks are denied and no base fee is due until it is resumed. Periods go on.'
  },
  { name: 'resume', act: resume, summary: 'Resume a paused subscription', description: 'From this quarter-hour on.' },
  {
    name: 'keep',
    act: keep,
    summary: 'Take a scheduled change back',
    description: 'A change of plan or a cancellation that was to happen at the end of the period does not.'
  }
] as const

/** Transitions that need to be told nothing but which subscription. */
function bareRoutes(api: Api, dependencies: SubscriptionDependencies): void {
  for (const { name, act, summary, description } of BARE) {
    api.post(
      `/v1/subscriptions/:subscriptionId/${name}`,
      {
        config: { access: WRITE },
        schema: {
          operationId: `${name}Subscription`,
          tags: ['subscriptions'],
          summary,
          description,
          params: SubscriptionPath,
          headers: IfMatch,
          response: { 200: answerSubscription('The subscription as it stands now.'), ...transitionProblems() }
        }
      },
      async (request, reply) =>
        changeSubscription(request, reply, {
          dependencies,
          decide: (subscription) => act(subscription, dependencies.now())
        })
    )
  }
}

function answerSubscription(description: string) {
  return {
    ...schemas.answer(subscriptions.SubscriptionTold, description, subscriptions.SUBSCRIPTION_EXAMPLE),
    headers: ETAG
  }
}

function transitionProblems(...codes: readonly ProblemCode[]) {
  return schemas.problems('validation-failed', ...TRANSITION_FAULTS, ...codes)
}
