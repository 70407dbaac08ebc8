import type { JsonObject } from '../json.ts'
import type { WebhookEndpoint } from './webhook-endpoint.ts'

/** As the API answers it and the audit trail keeps it. */
export function endpointJson(endpoint: WebhookEndpoint) {
  const { id, customerId, url, description, eventTypes, status, version, createdAt, updatedAt } = endpoint
  return {
    id,
    customerId,
    url,
    description,
    eventTypes: [...eventTypes],
    status,
    version,
    createdAt: new Date(createdAt).toISOString(),
    updatedAt: new Date(updatedAt).toISOString()
  } satisfies JsonObject
}
