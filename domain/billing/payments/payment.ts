/** An attempt to pay an invoice: through a provider, or recorded by hand for what came by bank transfer or mobile money. */
import { smallerOf } from '../exact-amounts.ts'

export const PAYMENT_STATUSES = ['pending', 'succeeded', 'failed', 'refunded'] as const
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number]

/** How money comes that is recorded by hand. */
export const MANUAL_METHODS = ['bank_transfer', 'mobile_money', 'cash', 'other'] as const
export const PAYMENT_METHODS = ['card', ...MANUAL_METHODS] as const
export type PaymentMethod = (typeof PAYMENT_METHODS)[number]

/** Provider of what was recorded by hand. */
export const MANUAL = 'manual'

export interface Payment {
  /** UUID v7; also the idempotency key of its charge: asked again, the provider answers for the same charge. */
  readonly id: string
  readonly customerId: string
  readonly invoiceId: string
  /** `manual`, or the name of a provider. */
  readonly provider: string
  readonly method: PaymentMethod
  /** `refunded` when all of it was given back. One that failed may still succeed: what a provider says it took was taken. */
  readonly status: PaymentStatus
  readonly amountMinor: bigint
  readonly currency: string
  /** What the provider, or the bank, calls it; null until known. */
  readonly reference: string | null
  /** Why it failed, by the provider's code; null otherwise. */
  readonly failureCode: string | null
  readonly refundedMinor: bigint
  /** What the provider is being asked to give back; 0 once it is known what became of it. */
  readonly refundingMinor: bigint
  /** Refunds that were begun, whatever became of them: the last one's number, and part of its idempotency key. */
  readonly refunds: number
  /** What was more than was open when it came, and became the customer's credit: the first that a refund gives back. */
  readonly excessMinor: bigint
  /** What the provider is asked to charge, ids there, whatever account the customer has by now; null when it was recorded by hand. */
  readonly charged: ChargedAccount | null
  /** ms: when the money came, as whoever recorded it says; through a provider, when we heard of it. Null until then. */
  readonly receivedAt: number | null
  /** ms. */
  readonly createdAt: number
  readonly updatedAt: number
}

export interface ChargedAccount {
  readonly providerCustomer: string
  readonly providerMethod: string
}

/** Of the refund that was begun last. One that failed keeps its key: the next is another. */
export function refundKeyOf({ id, refunds }: Payment): string {
  return `${id}-refund-${refunds}`
}

/**
 * Of the refund that was begun, what the customer had as credit: that is taken back, and no credit note says that the invoice was too
 * high. The rest has a note.
 */
export function refundedExcessMinor({ excessMinor, refundedMinor, refundingMinor }: Payment): bigint {
  return excessMinor <= refundedMinor ? 0n : smallerOf(refundingMinor, excessMinor - refundedMinor)
}

/** What can still be given back. */
export function refundableMinor({ status, amountMinor, refundedMinor }: Payment): bigint {
  return status === 'succeeded' ? amountMinor - refundedMinor : 0n
}
