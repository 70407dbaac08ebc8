// Deliveries as people look at them. They come into being by the trigger on the outbox (migration 0009), and move on by the queue.

import { sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import {
  DELIVERY_FAULTS,
  DELIVERY_STATUSES,
  type DeliveryFault,
  type DeliveryStatus,
  type WebhookDelivery
} from '../../domain/webhooks/webhook-delivery.ts'
import type { DeliveryFilter, WebhookDeliveryLog } from '../../domain/webhooks/webhook-store.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { decodePageKey, encodePageKey } from '../encoding/page-key.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NEWEST = [''] as const

const DELIVERY_ROW = rowParser(
  'webhook_delivery',
  Type.Object({
    endpoint_id: Type.String(),
    event_id: Type.String(),
    customer_id: Type.String(),
    type: Type.String(),
    status: Type.Unsafe<DeliveryStatus>(Type.Enum([...DELIVERY_STATUSES])),
    attempts: Type.Integer({ minimum: 0 }),
    next_attempt_at: Type.Number(),
    last_status: Type.Union([Type.Integer(), Type.Null()]),
    last_error: Type.Unsafe<DeliveryFault | null>(Type.Union([Type.Enum([...DELIVERY_FAULTS]), Type.Null()])),
    created_at: Type.Number(),
    ended_at: Type.Union([Type.Number(), Type.Null()])
  })
)
const WRITTEN = rowParser('webhook_delivery', Type.Object({ event_id: Type.String() }))

const COLUMNS = sql.fragment`
  endpoint_id, event_id, customer_id, type, status, attempts, next_attempt_at, last_status, last_error, created_at, ended_at`

export class PostgresWebhookDeliveryLog implements WebhookDeliveryLog {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async list(reach: Reach, { endpointId, status, cursor, limit }: DeliveryFilter): Promise<Page<WebhookDelivery>> {
    const [beforeId] = decodePageKey<readonly [string]>(cursor, NEWEST)
    const ofPage = beforeId === '' ? sql.fragment`true` : sql.fragment`event_id < ${beforeId}`
    const ofStatus = status === null ? sql.fragment`true` : sql.fragment`status = ${status}`
    const rows = await this.#database.transaction(reach, `list deliveries to ${endpointId}`, (transaction) =>
      transaction.any(sql.type(DELIVERY_ROW)`
        select ${COLUMNS} from webhook_delivery
         where endpoint_id = ${endpointId} and ${ofPage} and ${ofStatus}
         order by event_id desc
         limit ${limit + 1}`)
    )
    const page = rows.slice(0, limit)
    const last = rows.length > limit ? page.at(-1) : undefined
    return { rows: page.map(toDelivery), next: last === undefined ? null : encodePageKey([last.event_id]) }
  }

  async find(reach: Reach, endpointId: string, eventId: string): Promise<WebhookDelivery | null> {
    const row = await this.#database.transaction(reach, `find a delivery to ${endpointId}`, (transaction) =>
      transaction.maybeOne(sql.type(DELIVERY_ROW)`
        select ${COLUMNS} from webhook_delivery where endpoint_id = ${endpointId} and event_id = ${eventId}`)
    )
    return row === null ? null : toDelivery(row)
  }

  /** One that is in hand is taken again all the same: whoever has it may say no more how it went. */
  async redeliver({ endpointId, eventId }: WebhookDelivery, change: Change): Promise<boolean> {
    return this.#database.change(change, `redeliver ${eventId} to ${endpointId}`, async (transaction) => {
      const written = await transaction.maybeOne(sql.type(WRITTEN)`
        update webhook_delivery
           set status = 'pending', attempts_before = attempts, next_attempt_at = now(), ended_at = null
         where endpoint_id = ${endpointId} and event_id = ${eventId}
        returning event_id`)
      return written !== null
    })
  }
}

function toDelivery(row: Row<typeof DELIVERY_ROW>): WebhookDelivery {
  return {
    endpointId: row.endpoint_id,
    eventId: row.event_id,
    customerId: row.customer_id,
    type: row.type,
    status: row.status,
    attempts: row.attempts,
    nextAttemptAt: row.status === 'pending' ? row.next_attempt_at : null,
    lastStatus: row.last_status,
    lastError: row.last_error,
    createdAt: row.created_at,
    endedAt: row.ended_at
  }
}
