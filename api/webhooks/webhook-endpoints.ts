import { randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { StoredAnswer } from '../../domain/change.ts'
import {
  changeEndpoint,
  ENDPOINTS_MAX,
  makeWebhookSecret,
  SECRET_OVERLAP_MS,
  type WebhookEndpoint
} from '../../domain/webhooks/webhook-endpoint.ts'
import type { WebhookEndpointStore } from '../../domain/webhooks/webhook-store.ts'
import type { AccessRule } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, principalOf, reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace, requireMatch } from '../schemas/versions.ts'
import {
  ENDPOINT_EXAMPLE,
  EndpointId,
  NewWebhookEndpointBody,
  SecretRotationBody,
  tellWebhookEndpoint,
  WEBHOOK_SECRET_EXAMPLE,
  WebhookEndpointMade,
  WebhookEndpointPatchBody,
  WebhookEndpointTold
} from '../schemas/webhook-endpoints.ts'
import { checkUrl, type WebhookUrls } from './check-url.ts'

interface EndpointDependencies {
  readonly webhookEndpointStore: WebhookEndpointStore
  readonly webhookUrls: WebhookUrls
  readonly now: () => number
}

/** Whoever reads deliveries reads the customer's events: whom a role lets see webhooks it lets change them. */
export const WEBHOOK_ACCESS: AccessRule = { scope: 'webhooks:write', roles: ['owner', 'admin', 'developer'] }

export const EndpointPath = Type.Object({ webhookEndpointId: EndpointId }, schemas.strict)
const FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type'] as const
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const

export function webhookEndpointRoutes(api: Api, dependencies: EndpointDependencies): void {
  createRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  changeRoute(api, dependencies)
  rotateRoute(api, dependencies)
}

function told(description: string, example: object = ENDPOINT_EXAMPLE) {
  return { ...schemas.answer(WebhookEndpointTold, description, example), headers: ETAG }
}

function made(description: string, version: number) {
  const example = { ...ENDPOINT_EXAMPLE, version, secret: WEBHOOK_SECRET_EXAMPLE }
  return { ...schemas.answer(WebhookEndpointMade, description, example), headers: ETAG }
}

function createRoute(api: Api, { webhookEndpointStore, webhookUrls, now }: EndpointDependencies): void {
  api.post(
    '/v1/webhook-endpoints',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'createWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Have events posted to an address',
        description: `The secret is told in this answer and never again. Events from now on are posted, signed as Standard Webhooks says, at least once and in no promised order; ${ENDPOINTS_MAX} endpoints a customer at most.`,
        body: NewWebhookEndpointBody,
        response: {
          201: made('The endpoint.', 1),
          ...schemas.problems(...FAULTS, ...REPEATS, 'unknown-customer', 'too-many-webhook-endpoints')
        }
      }
    },
    async (request, reply) => {
      const { customerId: named, url, description = null, eventTypes = [] } = request.body
      const at = now()
      const endpoint: WebhookEndpoint = {
        id: randomUUIDv7(),
        customerId: customerOf(request, named),
        url: await checkUrl(url, webhookUrls),
        description,
        eventTypes,
        status: 'active',
        version: 1,
        createdAt: at,
        updatedAt: at
      }
      const secret = makeWebhookSecret()
      const location = { location: `/v1/webhook-endpoints/${endpoint.id}` }
      const answer = answerOf(endpoint, { status: 201, headers: location })
      const change = changeOf(request, { ...changed('webhook-endpoint.created', null, endpoint), answer })
      const outcome = await webhookEndpointStore.insert({ endpoint, secret }, change)
      if (outcome === 'unknown-customer') {
        throw new ProblemError(outcome, `The customer ${endpoint.customerId} is not known.`)
      }
      if (outcome === 'too-many') {
        throw new ProblemError('too-many-webhook-endpoints', `The customer has ${ENDPOINTS_MAX}: change one of them.`)
      }
      return reply
        .code(201)
        .headers(answer.headers)
        .send({ ...tellWebhookEndpoint(endpoint), secret })
    }
  )
}

function listRoute(api: Api, { webhookEndpointStore }: EndpointDependencies): void {
  api.get(
    '/v1/webhook-endpoints',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'listWebhookEndpoints',
        tags: ['webhooks'],
        summary: 'Webhook endpoints, without their secrets',
        querystring: Type.Object({ customerId: Type.Optional(schemas.CustomerId), ...pageQuery }, schemas.strict),
        response: {
          200: pageOf(WebhookEndpointTold, 'A page of endpoints.', ENDPOINT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer')
        }
      }
    },
    async (request) => {
      const { customerId = null, ...asked } = request.query
      const page = await webhookEndpointStore.list(reachOf(request), { customerId, ...pageAsked(asked) })
      return tellPage(page, tellWebhookEndpoint)
    }
  )
}

function getRoute(api: Api, { webhookEndpointStore }: EndpointDependencies): void {
  api.get(
    '/v1/webhook-endpoints/:webhookEndpointId',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'getWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'A webhook endpoint, without its secret',
        params: EndpointPath,
        response: {
          200: told('The endpoint.'),
          ...schemas.problems('validation-failed', 'unknown-webhook-endpoint')
        }
      }
    },
    async (request, reply) => {
      const endpoint = await getEndpoint(webhookEndpointStore, request)
      return reply.headers(etagOf(endpoint)).send(tellWebhookEndpoint(endpoint))
    }
  )
}

function changeRoute(api: Api, { webhookEndpointStore, webhookUrls, now }: EndpointDependencies): void {
  api.patch(
    '/v1/webhook-endpoints/:webhookEndpointId',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'changeWebhookEndpoint',
        tags: ['webhooks'],
        summary: 'Change a webhook endpoint',
        description:
          'Needs If-Match. What waits goes to the new URL. Disabling gives up what waits; each can be asked for again.',
        params: EndpointPath,
        headers: IfMatch,
        body: WebhookEndpointPatchBody,
        response: {
          200: told('The endpoint as it stands now.', { ...ENDPOINT_EXAMPLE, status: 'disabled', version: 2 }),
          ...schemas.problems(...FAULTS, 'unknown-webhook-endpoint', 'version-mismatch', 'precondition-required')
        }
      }
    },
    async (request, reply) => {
      const before = await getEndpoint(webhookEndpointStore, request)
      const ifMatch = request.headers['if-match']
      requireMatch(ifMatch, before)
      const { url, ...others } = request.body
      const change = url === undefined ? others : { ...others, url: await checkUrl(url, webhookUrls) }
      const next = changeEndpoint(before, change, now())
      const told = changeOf(request, changed('webhook-endpoint.updated', before, next))
      if ((await webhookEndpointStore.update(next, null, told)) === 'other-version') throw lostRace(ifMatch)
      return reply.headers(etagOf(next)).send(tellWebhookEndpoint(next))
    }
  )
}

function rotateRoute(api: Api, { webhookEndpointStore, now }: EndpointDependencies): void {
  api.post(
    '/v1/webhook-endpoints/:webhookEndpointId/rotate-secret',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'rotateWebhookSecret',
        tags: ['webhooks'],
        summary: "Replace an endpoint's secret",
        description:
          'For `overlapSeconds` each delivery has two signatures, so that the receiver can change over. A second rotation within that time ends the oldest of the three.',
        params: EndpointPath,
        headers: IfMatch,
        body: SecretRotationBody,
        response: {
          200: made('The endpoint with its new secret.', 2),
          ...schemas.problems(
            ...FAULTS,
            ...REPEATS,
            'unknown-webhook-endpoint',
            'conflicting-change',
            'version-mismatch'
          )
        }
      }
    },
    async (request, reply) => {
      const before = await getEndpoint(webhookEndpointStore, request)
      const ifMatch = request.headers['if-match']
      checkMatch(ifMatch, before)
      const at = now()
      const { overlapSeconds = SECRET_OVERLAP_MS / 1_000 } = request.body
      const next = changeEndpoint(before, {}, at)
      const secret = makeWebhookSecret()
      const answer = answerOf(next, { status: 200, headers: {} })
      const change = changeOf(request, { ...changed('webhook-endpoint.secret-rotated', before, next), answer })
      const rotated = { secret, previousEndsAt: at + overlapSeconds * 1_000 }
      if ((await webhookEndpointStore.update(next, rotated, change)) === 'other-version') throw lostRace(ifMatch)
      return reply.headers(answer.headers).send({ ...tellWebhookEndpoint(next), secret })
    }
  )
}

export type EndpointRequest = Pick<FastifyRequest, 'principal'> & {
  readonly params: { readonly webhookEndpointId: string }
}

export async function getEndpoint(
  store: Pick<WebhookEndpointStore, 'find'>,
  request: EndpointRequest
): Promise<WebhookEndpoint> {
  const { webhookEndpointId } = request.params
  const endpoint = await store.find(reachOf(request), webhookEndpointId)
  if (endpoint !== null) return endpoint
  throw new ProblemError('unknown-webhook-endpoint', `The webhook endpoint ${webhookEndpointId} is not known.`)
}

function customerOf(request: FastifyRequest, named: string | undefined): string {
  const customerId = principalOf(request).customerId ?? named
  if (customerId !== undefined) return customerId
  const errors = [{ field: 'customerId', message: 'is missing: a credential of the platform names the customer' }]
  throw new ProblemError('validation-failed', 'See `errors`.', { errors })
}

/** Without the secret: whoever reads the stored answer, in the database or by a repeat, can sign nothing. */
function answerOf(endpoint: WebhookEndpoint, { status, headers }: Pick<StoredAnswer, 'status' | 'headers'>) {
  const body = JSON.stringify({ ...tellWebhookEndpoint(endpoint), secret: null })
  return { status, headers: { ...etagOf(endpoint), ...headers }, body }
}

function changed(action: string, before: WebhookEndpoint | null, after: WebhookEndpoint) {
  return {
    customerId: after.customerId,
    action,
    entity: { kind: 'webhook-endpoint', id: after.id },
    before: before === null ? null : tellWebhookEndpoint(before),
    after: tellWebhookEndpoint(after),
    at: after.updatedAt
  }
}
