/** Payments as JSON has them: in answers, events and audit records. What a provider knows the customer by is told to nobody. */
import type { JsonObject } from '../../json.ts'
import type { Payment } from './payment.ts'

/**
 * Whoever may be a thief is not to be told why a card was refused, nor an honest customer that its bank suspects it: the bank's word
 * stands in the store and with the provider.
 */
const UNTOLD_CODES: ReadonlySet<string | null> = new Set([
  'fraudulent',
  'lost_card',
  'merchant_blacklist',
  'pickup_card',
  'stolen_card'
])

export function paymentToJson(payment: Payment) {
  return {
    id: payment.id,
    customerId: payment.customerId,
    invoiceId: payment.invoiceId,
    provider: payment.provider,
    method: payment.method,
    status: payment.status,
    amountMinor: String(payment.amountMinor),
    currency: payment.currency,
    reference: payment.reference,
    failureCode: UNTOLD_CODES.has(payment.failureCode) ? 'card_declined' : payment.failureCode,
    refundedMinor: String(payment.refundedMinor),
    receivedAt: payment.receivedAt === null ? null : new Date(payment.receivedAt).toISOString(),
    createdAt: new Date(payment.createdAt).toISOString(),
    updatedAt: new Date(payment.updatedAt).toISOString()
  } satisfies JsonObject
}
