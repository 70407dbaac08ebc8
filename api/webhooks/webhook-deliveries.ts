import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { WebhookDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import type { WebhookDeliveryLog, WebhookEndpointStore } from '../../domain/webhooks/webhook-store.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import {
  DELIVERY_EXAMPLE,
  DeliveryStatusAsked,
  EndpointId,
  EventId,
  tellWebhookDelivery,
  WebhookDeliveryTold
} from '../schemas/webhook-endpoints.ts'
import { EndpointPath, getEndpoint, WEBHOOK_ACCESS } from './webhook-endpoints.ts'

interface DeliveryDependencies {
  readonly webhookEndpointStore: Pick<WebhookEndpointStore, 'find'>
  readonly webhookDeliveryLog: WebhookDeliveryLog
  readonly now: () => number
}

const DeliveryPath = Type.Object({ webhookEndpointId: EndpointId, eventId: EventId }, schemas.strict)

export function webhookDeliveryRoutes(api: Api, dependencies: DeliveryDependencies): void {
  listRoute(api, dependencies)
  redeliverRoute(api, dependencies)
}

function listRoute(api: Api, { webhookEndpointStore, webhookDeliveryLog }: DeliveryDependencies): void {
  api.get(
    '/v1/webhook-endpoints/:webhookEndpointId/deliveries',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'listWebhookDeliveries',
        tags: ['webhooks'],
        summary: 'What became of the events of an endpoint',
        description: 'The newest first. A delivery is kept for 30 days after it ended.',
        params: EndpointPath,
        querystring: Type.Object({ status: Type.Optional(DeliveryStatusAsked), ...pageQuery }, schemas.strict),
        response: {
          200: pageOf(WebhookDeliveryTold, 'A page of deliveries.', DELIVERY_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-webhook-endpoint')
        }
      }
    },
    async (request) => {
      const { id: endpointId } = await getEndpoint(webhookEndpointStore, request)
      const { status = null, ...asked } = request.query
      const filter = { endpointId, status, ...pageAsked(asked) }
      return tellPage(await webhookDeliveryLog.list(reachOf(request), filter), tellWebhookDelivery)
    }
  )
}

function redeliverRoute(api: Api, dependencies: DeliveryDependencies): void {
  const { webhookEndpointStore, webhookDeliveryLog, now } = dependencies
  api.post(
    '/v1/webhook-endpoints/:webhookEndpointId/deliveries/:eventId/redeliver',
    {
      config: { access: WEBHOOK_ACCESS },
      schema: {
        operationId: 'redeliverWebhook',
        tags: ['webhooks'],
        summary: 'Post an event again',
        description:
          'At once, whatever became of it before, with the same `webhook-id` and body, to the URL that the endpoint has now.',
        params: DeliveryPath,
        response: {
          200: schemas.answer(WebhookDeliveryTold, 'The delivery as it stands now.', {
            ...DELIVERY_EXAMPLE,
            status: 'pending',
            nextAttemptAt: DELIVERY_EXAMPLE.endedAt,
            endedAt: null
          }),
          ...schemas.problems(
            'validation-failed',
            'idempotency-in-flight',
            'idempotency-key-reused',
            'unknown-webhook-endpoint',
            'unknown-webhook-delivery',
            'illegal-transition'
          )
        }
      }
    },
    async (request, reply) => {
      const endpoint = await getEndpoint(webhookEndpointStore, request)
      if (endpoint.status === 'disabled') {
        throw new ProblemError('illegal-transition', `The webhook endpoint ${endpoint.id} is disabled.`)
      }
      const before = await getDelivery(webhookDeliveryLog, request)
      const at = now()
      const after: WebhookDelivery = { ...before, status: 'pending', nextAttemptAt: at, endedAt: null }
      const body = tellWebhookDelivery(after)
      const change = changeOf(request, {
        customerId: before.customerId,
        action: 'webhook-delivery.redelivered',
        entity: { kind: 'webhook-delivery', id: `${before.endpointId}/${before.eventId}` },
        before: tellWebhookDelivery(before),
        after: body,
        at,
        answer: { status: 200, headers: {}, body: JSON.stringify(body) }
      })
      if (!(await webhookDeliveryLog.redeliver(before, change))) throw unknownDelivery(before.eventId)
      return reply.send(body)
    }
  )
}

type DeliveryRequest = FastifyRequest & {
  readonly params: { readonly webhookEndpointId: string; readonly eventId: string }
}

async function getDelivery(log: WebhookDeliveryLog, request: DeliveryRequest): Promise<WebhookDelivery> {
  const { webhookEndpointId, eventId } = request.params
  const delivery = await log.find(reachOf(request), webhookEndpointId, eventId)
  if (delivery === null) throw unknownDelivery(eventId)
  return delivery
}

function unknownDelivery(eventId: string): ProblemError {
  return new ProblemError('unknown-webhook-delivery', `The endpoint has no delivery of the event ${eventId}.`)
}
