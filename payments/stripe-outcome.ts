// How a payment intent or a refund of Stripe stands, in the words of domain/billing/payments/payment-provider.ts.

import type { Stripe } from 'stripe'
import type {
  ChargeOutcome,
  ProviderEvent,
  ProviderTrouble,
  RefundOutcome
} from '../domain/billing/payments/payment-provider.ts'
import type { FailedCharge } from './stripe-error.ts'

/** Null: it waits for somebody, and nobody is there. */
export function outcomeOfIntent(intent: Stripe.PaymentIntent): ChargeOutcome | null {
  switch (intent.status) {
    case 'succeeded':
      return { outcome: 'succeeded', reference: intent.id }
    case 'processing':
      return { outcome: 'pending', reference: intent.id }
    case 'canceled':
      return failedIntent(intent)
    // Where a declined intent ends. Without an error it is one that Stripe made and did not come to confirm.
    case 'requires_payment_method':
      return intent.last_payment_error === null ? null : failedIntent(intent)
    case 'requires_action':
    case 'requires_confirmation':
    case 'requires_capture':
      return null
    default:
      throw new Error(`${intent.id} has the status ${intent.status}, which this version doesn't know`)
  }
}

/** By the bank's code where it gave one, as in the answer to a declined charge. */
export function failedIntent({ id, status, ...intent }: Stripe.PaymentIntent): FailedCharge {
  const { last_payment_error: error, cancellation_reason: reason } = intent
  const code = error?.decline_code ?? error?.code ?? reason ?? status
  const message = error?.message ?? `${status}${reason === null ? '' : `, ${reason}`}`
  return { outcome: 'failed', reference: id, code, message }
}

export function outcomeOfRefund({ id, status, failure_reason: reason }: Stripe.Refund): RefundOutcome {
  switch (status) {
    case 'succeeded':
      return { outcome: 'succeeded', reference: id }
    // Of the customer, who has to say where the money goes to.
    case 'requires_action':
    case 'pending':
      return { outcome: 'pending', reference: id }
    case 'failed':
    case 'canceled':
      return { outcome: 'failed', code: reason ?? status, message: `refund ${id} is ${status}` }
    default:
      throw new Error(`refund ${id} has the status ${status}, which this version doesn't know`)
  }
}

/** The type of the event decides, not the status beside it: events come in any order, and each says what happened at its time. */
export function toProviderEvent(event: Stripe.Event): ProviderEvent {
  switch (event.type) {
    case 'payment_intent.succeeded':
      return about(event.id, event.data.object, { outcome: 'succeeded', reference: event.data.object.id })
    case 'payment_intent.processing':
      return about(event.id, event.data.object, { outcome: 'pending', reference: event.data.object.id })
    case 'payment_intent.payment_failed':
    case 'payment_intent.canceled':
      return about(event.id, event.data.object, failedIntent(event.data.object))
    case 'refund.failed':
      return troubled(event.id, 'refund-failed', event.data.object.payment_intent)
    case 'charge.dispute.created':
      return troubled(event.id, 'disputed', event.data.object.payment_intent)
    default:
      return { id: event.id, paymentId: null, charge: null, trouble: null }
  }
}

function troubled(
  id: string,
  kind: ProviderTrouble['kind'],
  intent: Stripe.PaymentIntent | string | null
): ProviderEvent {
  const reference = typeof intent === 'string' ? intent : (intent?.id ?? null)
  return { id, paymentId: null, charge: null, trouble: { kind, reference } }
}

function about(id: string, intent: Stripe.PaymentIntent, charge: ChargeOutcome): ProviderEvent {
  return { id, paymentId: intent.metadata.paymentId ?? null, charge, trouble: null }
}
