/** One event on its way to one endpoint. */
export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** As the log of an endpoint tells it. */
export interface WebhookDelivery {
  readonly endpointId: string
  /** Of the event, and what the receiver sees as `webhook-id`. An endpoint is told of an event in one delivery. */
  readonly eventId: string
  readonly customerId: string
  readonly type: string
  readonly status: DeliveryStatus
  /** Attempts begun. */
  readonly attempts: number
  /** Null: it has ended. */
  readonly nextAttemptAt: number | null
  /** HTTP status of the last attempt that was answered. */
  readonly lastStatus: number | null
  /** Why the last attempt failed; null: it did not, or there was none. */
  readonly lastError: DeliveryFault | null
  readonly createdAt: number
  /** When it was delivered or given up. */
  readonly endedAt: number | null
}

/** Why an attempt failed. Words of ours: what a receiver answers, or its network says, is kept nowhere. */
export const DELIVERY_FAULTS = [
  'status-not-2xx',
  'gone',
  'timed-out',
  'address-refused',
  'host-unknown',
  'connection-failed',
  'certificate-refused',
  'endpoint-disabled'
] as const
export type DeliveryFault = (typeof DELIVERY_FAULTS)[number]

/** What came of an attempt. `status` is null when there was no answer. */
export type Attempt =
  | { readonly delivered: true; readonly status: number }
  | { readonly delivered: false; readonly status: number | null; readonly fault: DeliveryFault }

/** A delivery that is to be attempted now. */
export interface DueDelivery {
  readonly endpointId: string
  readonly eventId: string
  readonly url: string
  /** Those that sign now, the newest first. Empty: the endpoint is disabled. */
  readonly secrets: readonly string[]
  readonly payload: string
  /** This one included. */
  readonly attempts: number
  /** Those of this round, which begins anew when somebody asks for a delivery again. */
  readonly attemptsOfRound: number
}
