// What a failed request to Stripe means: a business outcome, something that may be asked again, or a mistake of ours.

import { Stripe } from 'stripe'
import type { ChargeOutcome } from '../domain/billing/payments/payment-provider.ts'
import { RetryableError } from '../domain/errors.ts'

export type FailedCharge = Extract<ChargeOutcome, { outcome: 'failed' }>

/** Stripe's error codes that are about this one amount, and not about how we are set up. */
const AMOUNT_REFUSED: ReadonlySet<string | undefined> = new Set(['amount_too_small', 'amount_too_large'])
/** Of a refund: what there was to give back is gone. */
const REFUND_REFUSED: ReadonlySet<string | undefined> = new Set(['charge_already_refunded', 'charge_disputed'])

/** The charge that an error says is over, or null: it says nothing of the kind. */
export function failedCharge(error: unknown): FailedCharge | null {
  if (error instanceof Stripe.errors.StripeCardError) {
    const { payment_intent: intent, decline_code: declineCode, code, message } = error
    // The client gives an empty text where Stripe gave no decline code.
    return { outcome: 'failed', reference: intent?.id ?? null, code: declineCode || code || 'card_declined', message }
  }
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return null
  const { code = '', param, message } = error
  // The customer took the method away. A customer that is missing altogether tells of another Stripe account: an operator's to mend.
  const methodIsGone = code === 'resource_missing' && param === 'payment_method'
  return methodIsGone || AMOUNT_REFUSED.has(code) ? { outcome: 'failed', reference: null, code, message } : null
}

/** The same of a refund. */
export function failedRefund(
  error: unknown
): { readonly outcome: 'failed'; readonly code: string; readonly message: string } | null {
  if (error instanceof Stripe.errors.StripeCardError) {
    return { outcome: 'failed', code: error.decline_code || error.code || 'declined', message: error.message }
  }
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return null
  const { code = '', message } = error
  return REFUND_REFUSED.has(code) ? { outcome: 'failed', code, message } : null
}

/** Stripe, or something in between, failed: it may have done what was asked and not have been able to say so. */
export function isIndeterminate(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeAPIError && !IN_FLIGHT.has(error.statusCode)
}

const IN_FLIGHT: ReadonlySet<number | undefined> = new Set([409])

/**
 * A RetryableError, or an Error that names what an operator or programmer has to mend; what the client did not throw passes as it
 * is. `what` continues "could not". The client's error is not handed on as the cause: it holds Stripe's whole answer, with the
 * secret by which a customer could confirm the payment, and causes are logged.
 */
export function translateStripeError(what: string, error: unknown): unknown {
  if (!(error instanceof Stripe.errors.StripeError)) return error
  const { message, requestId, detail } = error
  const request = requestId === undefined ? '' : ` (request ${requestId})`
  const options = detail instanceof Error ? { cause: detail } : {}
  const code = retryableCodeOf(error)
  if (code !== null) return new RetryableError(code, `Stripe could not ${what}: ${message}${request}`, options)
  const why = [error.statusCode, error.code ?? error.rawType].filter((part) => part !== undefined).join(' ')
  return new Error(`Stripe refuses to ${what}: ${why}: ${message}${request}. Asking again won't help`, options)
}

function retryableCodeOf(error: InstanceType<typeof Stripe.errors.StripeError>): string | null {
  // A cancellation came too late: how it stands now is known when it is asked again.
  if (error.code === 'payment_intent_unexpected_state') return 'stripe-conflict'
  if (error instanceof Stripe.errors.StripeRateLimitError) return 'stripe-busy'
  if (error instanceof Stripe.errors.StripeConnectionError) return 'stripe-unavailable'
  // Whatever else has no class of its own: 409, 5xx, an answer that isn't Stripe's JSON.
  if (!(error instanceof Stripe.errors.StripeAPIError)) return null
  return IN_FLIGHT.has(error.statusCode) ? 'stripe-in-flight' : 'stripe-unavailable'
}
