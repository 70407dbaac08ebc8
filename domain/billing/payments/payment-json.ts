/** Payments as JSON has them: in answers, events and audit records. What a provider knows the customer by is told to nobody. */
import type { JsonObject } from '../../json.ts'
import type { Payment } from './payment.ts'

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
    failureCode: payment.failureCode,
    refundedMinor: String(payment.refundedMinor),
    receivedAt: payment.receivedAt === null ? null : new Date(payment.receivedAt).toISOString(),
    createdAt: new Date(payment.createdAt).toISOString(),
    updatedAt: new Date(payment.updatedAt).toISOString()
  } satisfies JsonObject
}
