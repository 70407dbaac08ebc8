// A row of webhook_endpoint as the API may have it: without its secrets.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { ENDPOINT_STATUSES, type EndpointStatus, type WebhookEndpoint } from '../../domain/webhooks/webhook-endpoint.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

export const ENDPOINT_ROW = rowParser(
  'webhook_endpoint',
  Type.Object({
    id: Type.String(),
    customer_id: Type.String(),
    url: Type.String(),
    description: Type.Union([Type.String(), Type.Null()]),
    event_types: Type.Array(Type.String()),
    status: Type.Unsafe<EndpointStatus>(Type.Enum([...ENDPOINT_STATUSES])),
    version: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)

export const ENDPOINT_COLUMNS = sql.fragment`
  id, customer_id, url, description, event_types, status, version, created_at, updated_at`

export function toEndpoint(row: Row<typeof ENDPOINT_ROW>): WebhookEndpoint {
  return {
    id: row.id,
    customerId: row.customer_id,
    url: row.url,
    description: row.description,
    eventTypes: row.event_types,
    status: row.status,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}
