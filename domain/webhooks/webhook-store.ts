import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { DeliveryStatus, WebhookDelivery } from './webhook-delivery.ts'
import type { WebhookEndpoint } from './webhook-endpoint.ts'

export interface EndpointFilter extends PageAsked {
  /** Null: of every customer within reach. */
  readonly customerId: string | null
}

export interface DeliveryFilter extends PageAsked {
  readonly endpointId: string
  /** Null: whatever their status. */
  readonly status: DeliveryStatus | null
}

/** A secret that takes the place of another, which goes on signing until then, ms. */
export interface SecretChange {
  readonly secret: string
  readonly previousEndsAt: number
}

/**
 * Where endpoints are kept, each with its secret, which nothing here gives back. Each change is atomic with its audit records and
 * answer; each throws `RepeatedRequest` for an Idempotency-Key that was used before and then changes nothing.
 */
export interface WebhookEndpointStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<WebhookEndpoint | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: EndpointFilter): Promise<Page<WebhookEndpoint>>
  /** `too-many`: the customer has `ENDPOINTS_MAX` of them. */
  insert(
    made: { readonly endpoint: WebhookEndpoint; readonly secret: string },
    change: Change
  ): Promise<'inserted' | 'unknown-customer' | 'too-many'>
  /** Over the version before `next`'s, and no other one; with `rotated` when its secret changes. */
  update(next: WebhookEndpoint, rotated: SecretChange | null, change: Change): Promise<'updated' | 'other-version'>
}

/** What became of the events of an endpoint. */
export interface WebhookDeliveryLog {
  /** The newest first. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: DeliveryFilter): Promise<Page<WebhookDelivery>>
  find(reach: Reach, endpointId: string, eventId: string): Promise<WebhookDelivery | null>
  /** Makes it due at once, with a schedule that begins anew; false: there is none. Atomic with the change. */
  redeliver(delivery: WebhookDelivery, change: Change): Promise<boolean>
}
