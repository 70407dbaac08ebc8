// Webhook endpoints, one a row. Their secrets are written here and read by delivery-queue.ts alone.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import { ENDPOINTS_MAX, type WebhookEndpoint } from '../../domain/webhooks/webhook-endpoint.ts'
import type { EndpointFilter, SecretChange, WebhookEndpointStore } from '../../domain/webhooks/webhook-store.ts'
import { refusable } from '../change/refusable.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { ENDPOINT_COLUMNS, ENDPOINT_ROW, toEndpoint } from './endpoint-row.ts'

const BEFORE_ALL_IDS = [''] as const

const WRITTEN = rowParser('webhook_endpoint', Type.Object({ id: Type.String() }))
const CUSTOMER = rowParser('customer', Type.Object({ id: Type.String() }))
const COUNTED = rowParser('webhook_endpoint', Type.Object({ endpoints: Type.Integer() }))
const NO_ROWS = rowParser('webhook_endpoint', Type.Never())

export class PostgresWebhookEndpointStore implements WebhookEndpointStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<WebhookEndpoint | null> {
    const row = await this.#database.transaction(reach, `find the webhook endpoint ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(ENDPOINT_ROW)`select ${ENDPOINT_COLUMNS} from webhook_endpoint where id = ${id}`)
    )
    return row === null ? null : toEndpoint(row)
  }

  async list(reach: Reach, { customerId, cursor, limit }: EndpointFilter): Promise<Page<WebhookEndpoint>> {
    const [afterId] = decodePageKey<readonly [string]>(cursor, BEFORE_ALL_IDS)
    const ofCustomer = customerId === null ? sql.fragment`true` : sql.fragment`customer_id = ${customerId}`
    const rows = await this.#database.transaction(reach, 'list webhook endpoints', (transaction) =>
      transaction.any(sql.type(ENDPOINT_ROW)`
        select ${ENDPOINT_COLUMNS} from webhook_endpoint
         where id > ${afterId} and ${ofCustomer}
         order by id
         limit ${limit + 1}`)
    )
    return pageById(rows, limit, toEndpoint)
  }

  async insert(
    { endpoint, secret }: { readonly endpoint: WebhookEndpoint; readonly secret: string },
    change: Change
  ): Promise<'inserted' | 'unknown-customer' | 'too-many'> {
    return refusable((refuse) =>
      this.#database.change(change, `insert the webhook endpoint ${endpoint.id}`, async (transaction) => {
        const { id, customerId, url, description, eventTypes, status, version, createdAt, updatedAt } = endpoint
        const before = await countUnderLock(transaction, customerId)
        if (before === null) throw refuse('unknown-customer')
        if (before >= ENDPOINTS_MAX) throw refuse('too-many')
        await transaction.query(sql.type(NO_ROWS)`
          insert into webhook_endpoint
            (id, customer_id, url, description, event_types, status, secret, version, created_at, updated_at)
          values (${id}, ${customerId}, ${url}, ${description}, ${sql.array([...eventTypes], 'text')}, ${status}, ${secret},
                  ${version}, ${instant(createdAt)}, ${instant(updatedAt)})`)
        return 'inserted' as const
      })
    )
  }

  async update(
    next: WebhookEndpoint,
    rotated: SecretChange | null,
    change: Change
  ): Promise<'updated' | 'other-version'> {
    const secrets =
      rotated === null
        ? sql.fragment``
        : sql.fragment`
            previous_secret = secret, previous_secret_ends_at = ${instant(rotated.previousEndsAt)}, secret = ${rotated.secret},`
    return refusable((refuse) =>
      this.#database.change(change, `update the webhook endpoint ${next.id}`, async (transaction) => {
        const updated = await transaction.maybeOne(sql.type(WRITTEN)`
          update webhook_endpoint
             set url = ${next.url}, description = ${next.description},
                 event_types = ${sql.array([...next.eventTypes], 'text')}, status = ${next.status}, ${secrets}
                 version = ${next.version}, updated_at = ${instant(next.updatedAt)}
           where id = ${next.id} and version = ${next.version - 1}
          returning id`)
        if (updated === null) throw refuse('other-version')
        return 'updated' as const
      })
    )
  }
}

/** Under the customer's lock, so that two who are the last to fit are counted one after the other. Null: no such customer. */
async function countUnderLock(transaction: DatabaseTransactionConnection, customerId: string): Promise<number | null> {
  const customer = await transaction.maybeOne(sql.type(CUSTOMER)`
    select id from customer where id = ${customerId} for no key update`)
  if (customer === null) return null
  const { endpoints } = await transaction.one(sql.type(COUNTED)`
    select count(*)::integer as endpoints from webhook_endpoint where customer_id = ${customerId}`)
  return endpoints
}
