import Type from 'typebox'
import { PUBLISHED_EVENT_TYPES } from '../../domain/published-event.ts'
import { endpointJson } from '../../domain/webhooks/endpoint-json.ts'
import { URL_LENGTH_MAX } from '../../domain/webhooks/endpoint-url.ts'
import { DELIVERY_FAULTS, DELIVERY_STATUSES, type WebhookDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import { ENDPOINT_STATUSES, SECRET_OVERLAP_MS } from '../../domain/webhooks/webhook-endpoint.ts'
import * as schemas from './shared.ts'

const OVERLAP_SECONDS_DEFAULT = SECRET_OVERLAP_MS / 1_000
const OVERLAP_SECONDS_MAX = 30 * 86_400

const Url = Type.String({
  description: 'Where events are posted to: https, a public address, no credentials in it. Redirects are not followed.',
  minLength: 1,
  maxLength: URL_LENGTH_MAX
})
const DESCRIPTION = 'For people: what listens there.'
const Description = Type.String({ description: DESCRIPTION, minLength: 1, maxLength: 256 })
const EventTypes = Type.Array(schemas.oneOf(PUBLISHED_EVENT_TYPES, 'Type of an event.'), {
  description: 'What is posted; empty: every event, those of later versions included.',
  maxItems: PUBLISHED_EVENT_TYPES.length,
  uniqueItems: true
})
const Status = schemas.oneOf(
  ENDPOINT_STATUSES,
  '`disabled`: nothing is posted, and what happens meanwhile is not posted later. An endpoint that answers 410 is disabled.'
)

export const EndpointId = Type.String({
  description: 'Id of the endpoint.',
  minLength: 1,
  maxLength: 128,
  examples: ['0198c0de-0000-7000-8000-000000000061']
})
export const EventId = Type.String({
  description: 'Id of the event, which the receiver sees as `webhook-id`.',
  minLength: 1,
  maxLength: 128,
  examples: ['0198c0de-4a10-7000-8000-0000000000e1']
})

export const NewWebhookEndpointBody = Type.Object(
  {
    customerId: Type.Optional(
      Type.String({
        ...schemas.CustomerId,
        description: "Whose events are posted. Left out: the caller's own customer's; the platform names one."
      })
    ),
    url: Url,
    description: Type.Optional(Description),
    eventTypes: Type.Optional(EventTypes)
  },
  {
    ...schemas.strict,
    title: 'NewWebhookEndpoint',
    examples: [
      {
        customerId: 'clinic-42',
        url: 'https://hooks.clinic.example/tokenmeter',
        eventTypes: ['quota.threshold_reached', 'quota.exhausted']
      }
    ]
  }
)

export const WebhookEndpointPatchBody = Type.Object(
  {
    url: Type.Optional(Url),
    description: Type.Optional(
      Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: `${DESCRIPTION} Null takes it away.`,
        minLength: 1,
        maxLength: 256
      })
    ),
    eventTypes: Type.Optional(EventTypes),
    status: Type.Optional(Status)
  },
  { ...schemas.strict, title: 'WebhookEndpointPatch', minProperties: 1, examples: [{ status: 'disabled' }] }
)

export const SecretRotationBody = Type.Object(
  {
    overlapSeconds: Type.Optional(
      Type.Integer({
        description: 'How long the old secret signs beside the new one.',
        minimum: 0,
        maximum: OVERLAP_SECONDS_MAX,
        default: OVERLAP_SECONDS_DEFAULT
      })
    )
  },
  { ...schemas.strict, title: 'WebhookSecretRotation', examples: [{ overlapSeconds: OVERLAP_SECONDS_DEFAULT }] }
)

const told = {
  id: EndpointId,
  customerId: Type.String({ description: 'Whose events are posted.' }),
  url: Url,
  description: schemas.NullableString(DESCRIPTION),
  eventTypes: Type.Array(Type.String(), { description: 'What is posted; empty: every event.' }),
  status: Status,
  version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
  createdAt: schemas.Instant,
  updatedAt: schemas.Instant
}
export const WebhookEndpointTold = Type.Object(told, {
  ...schemas.strict,
  title: 'WebhookEndpoint',
  description: 'Where events of a customer are posted to, without the secret.'
})
export const WebhookEndpointMade = Type.Object(
  {
    ...told,
    secret: schemas.NullableString(
      'What deliveries are signed with (Standard Webhooks), told this once. Null in the answer to a repeat of the request (`idempotent-replayed`): who lost the first answer rotates the secret.'
    )
  },
  { ...schemas.strict, title: 'WebhookEndpointMade', description: 'An endpoint with its new secret.' }
)
export const ENDPOINT_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000061',
  customerId: 'clinic-42',
  url: 'https://hooks.clinic.example/tokenmeter',
  description: null,
  eventTypes: ['quota.threshold_reached', 'quota.exhausted'],
  status: 'active',
  version: 1,
  createdAt: '2026-03-12T09:30:00.000Z',
  updatedAt: '2026-03-12T09:30:00.000Z'
} as const
/** No secret: the base64 of zeros. */
export const WEBHOOK_SECRET_EXAMPLE = `whsec_${'A'.repeat(43)}=`

export const tellWebhookEndpoint = endpointJson

export const DeliveryStatusAsked = schemas.oneOf(DELIVERY_STATUSES, 'Only deliveries of this status.')
export const WebhookDeliveryTold = Type.Object(
  {
    eventId: EventId,
    type: Type.String({ description: 'Type of the event.' }),
    status: schemas.oneOf(
      DELIVERY_STATUSES,
      '`pending`: it is tried, now or later. `delivered`: answered by a 2xx. `failed`: given up.'
    ),
    attempts: Type.Integer({ description: 'Attempts so far, one that is running included.' }),
    nextAttemptAt: schemas.NullableInstant('When it is tried at the earliest; null when it has ended.'),
    lastStatus: Type.Unsafe<number | null>({
      type: ['integer', 'null'],
      description: 'HTTP status of the last attempt; null: none was answered.'
    }),
    lastError: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      enum: [...DELIVERY_FAULTS, null],
      description: 'Why the last attempt failed; null when it did not.'
    }),
    createdAt: schemas.Instant,
    endedAt: schemas.NullableInstant('When it was delivered or given up.')
  },
  { ...schemas.strict, title: 'WebhookDelivery', description: 'One event on its way to one endpoint.' }
)
export const DELIVERY_EXAMPLE = {
  eventId: '0198c0de-4a10-7000-8000-0000000000e1',
  type: 'quota.exhausted',
  status: 'failed',
  attempts: 10,
  nextAttemptAt: null,
  lastStatus: 503,
  lastError: 'status-not-2xx',
  createdAt: '2026-03-09T06:10:00.000Z',
  endedAt: '2026-03-12T09:30:00.000Z'
} as const

export function tellWebhookDelivery(delivery: WebhookDelivery) {
  const { eventId, type, status, attempts, nextAttemptAt, lastStatus, lastError, createdAt, endedAt } = delivery
  return {
    eventId,
    type,
    status,
    attempts,
    nextAttemptAt: instantOrNull(nextAttemptAt),
    lastStatus,
    lastError,
    createdAt: new Date(createdAt).toISOString(),
    endedAt: instantOrNull(endedAt)
  }
}

function instantOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
