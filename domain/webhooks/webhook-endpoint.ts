/**
 * An address to which a customer's events are posted. The secret that signs them is no part of it: the entity goes into answers
 * and audit records, the secret into neither.
 */
import { randomBytes } from 'node:crypto'
import type { PublishedEventType } from '../published-event.ts'

export const ENDPOINT_STATUSES = ['active', 'disabled'] as const
export type EndpointStatus = (typeof ENDPOINT_STATUSES)[number]

/** Each event of the customer is a row and a request for each of them. */
export const ENDPOINTS_MAX = 16

export interface WebhookEndpoint {
  /** UUID v7. */
  readonly id: string
  readonly customerId: string
  readonly url: string
  readonly description: string | null
  /** Empty: all, those that are yet to come included. One that only a newer version of the service knows is kept. */
  readonly eventTypes: readonly string[]
  /** `disabled`: nothing is posted, and events that come meanwhile are not kept for it. */
  readonly status: EndpointStatus
  /** Raised by one with each change. */
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** What may be changed; absent leaves as it is. */
export interface EndpointChange {
  readonly url?: string
  readonly description?: string | null
  readonly eventTypes?: readonly PublishedEventType[]
  readonly status?: EndpointStatus
}

export function changeEndpoint(before: WebhookEndpoint, change: EndpointChange, at: number): WebhookEndpoint {
  return { ...before, ...change, version: before.version + 1, updatedAt: at }
}

/** How long both secrets of a rotation sign unless told, ms: a day, as keys have it. */
export const SECRET_OVERLAP_MS = 86_400_000

const SECRET_BYTES = 32

/** As Standard Webhooks writes secrets of HMAC: receivers hand it to their library as it is. */
export function makeWebhookSecret(): string {
  return `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`
}
