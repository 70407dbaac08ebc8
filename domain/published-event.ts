/**
 * What the service tells other services. An event is written in the transaction of the change it tells (the outbox), and from
 * there published at least once under the same id, in order per customer. docs/events/ has a JSON Schema for each type.
 */
import type { JsonObject } from './json.ts'

export const PUBLISHED_EVENT_TYPES = [
  'customer.created',
  'customer.updated',
  'customer.suspended',
  'customer.reactivated',
  'customer.closed',
  'user.invited',
  'user.updated',
  'user.disabled',
  'subscription.created',
  'subscription.activated',
  'subscription.changed',
  'subscription.paused',
  'subscription.resumed',
  'subscription.canceled',
  'subscription.renewed',
  'invoice.finalized',
  'invoice.overdue',
  'invoice.paid',
  'invoice.voided',
  'invoice.uncollectible',
  'payment.failed',
  'quota.threshold_reached',
  'quota.exhausted'
] as const

export type PublishedEventType = (typeof PUBLISHED_EVENT_TYPES)[number]

export interface PublishedEvent {
  /** UUID v7; the same however often it is published, so that receivers know a repeat. */
  readonly id: string
  readonly type: PublishedEventType
  /** Whom it concerns, and the key of its Kafka record. */
  readonly customerId: string
  /** When it happened, ms. */
  readonly at: number
  /** The entity as it stands after the change. */
  readonly data: JsonObject
}

/** An event on its way out. While two versions of the service run, its type may be one that only the newer knows: it is handed on. */
export type LeavingEvent = Omit<PublishedEvent, 'type'> & { readonly type: string }

/** An event that waits in the outbox. Its position is its place among the events of its customer, never given twice. */
export type OutboxEvent = LeavingEvent & { readonly position: number }

/**
 * What waits to be published. An event is in it as soon as the change that it tells is committed, and until it is removed. An
 * event of one customer that was committed after another has the higher position, and is never seen without the other.
 */
export interface Outbox {
  /** The events with the lowest positions, ascending, at most so many. The same ones again until they are removed. */
  take(limit: number): Promise<readonly OutboxEvent[]>
  /** A position that is there no more changes nothing. */
  remove(positions: readonly number[]): Promise<void>
}

/** One relay works at a time, so that nothing is published twice without need; the others stand by. */
export interface RelayTurns {
  /**
   * Runs the work while no other relay has its turn, or answers null at once when another has. The turn ends with the connection
   * to the store: the outbox then throws a `RetryableError`.
   */
  withTurn<T>(work: (outbox: Outbox) => Promise<T>): Promise<T | null>
}

/** The topic on which other services hear of events. */
export interface EventLog {
  /**
   * Resolves when the broker has them all, those of one customer in the order given. At least once: after a `RetryableError`
   * some may be there, and sending all again repeats them under their ids.
   */
  append(events: readonly LeavingEvent[]): Promise<void>
}
