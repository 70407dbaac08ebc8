import type { Attempt, DueDelivery } from './webhook-delivery.ts'

export interface TakeAsked {
  readonly limit: number
  /** Endpoints that have deliveries in hand: one that answers slowly does not keep the others waiting. */
  readonly busy: readonly string[]
}

/** What follows from an attempt. */
export interface Settlement {
  readonly attempt: Attempt
  /** When to try again, in so many ms; null: never. */
  readonly retryInMs: number | null
}

/**
 * Deliveries that are due, for several workers at once. Who takes one has it for a lease; if nothing is heard within it, another
 * takes it, so that a worker that dies delays and loses nothing. At least once: a worker that dies between answer and settlement
 * has it posted again, under the same id.
 */
export interface DeliveryQueue {
  /** Those due for longest of each endpoint, some at most of one. Each has begun an attempt. */
  take(asked: TakeAsked): Promise<readonly DueDelivery[]>
  /** Says how an attempt went; nothing when another one has begun since. */
  settle(delivery: DueDelivery, settlement: Settlement): Promise<void>
  /** Removes deliveries that ended a month ago, some thousands at a time; says how many. */
  forget(): Promise<number>
}

/** Posts a delivery. Whatever the receiver or the network does is an outcome; a rejection is a defect. */
export type PostWebhook = (delivery: DueDelivery) => Promise<Attempt>

/** The addresses that a host has now; rejects with an error that has a code when it has none or nobody can tell. */
export type ResolveHost = (host: string) => Promise<readonly string[]>
