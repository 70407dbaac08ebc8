// What a failed request to Stripe means: a business outcome, something that may be asked again, or a mistake of ours.

import { Stripe } from 'stripe'
import type { ChargeOutcome } from '../domain/billing/payments/payment-provider.ts'
import { RetryableError } from '../domain/errors.ts'

export type FailedCharge = Extract<ChargeOutcome, { outcome: 'failed' }>
type Failed = Omit<FailedCharge, 'reference'>

const UNEXPECTED_STATE = 'payment_intent_unexpected_state'

/**
 * The charge that an error of making an intent says is over, or null: it says nothing of the kind. What Stripe refuses for good was
 * never made, whatever it is about: an amount, a method that the customer took away, a customer that is gone. Were it not over, its
 * invoice could never be paid, given up or voided.
 */
export function failedCharge(error: unknown): FailedCharge | null {
  if (error instanceof Stripe.errors.StripeCardError) {
    const { payment_intent: intent, decline_code: declineCode, code, message } = error
    // The client gives an empty text where Stripe gave no decline code.
    return { outcome: 'failed', reference: intent?.id ?? null, code: declineCode || code || 'card_declined', message }
  }
  const refused = refusedRequest(error)
  if (refused === null || refused.code === UNEXPECTED_STATE) return null
  return { ...refused, reference: null }
}

/** The same of a refund that was looked for and is not there. */
export function failedRefund(error: unknown): Failed | null {
  if (error instanceof Stripe.errors.StripeCardError) {
    return { outcome: 'failed', code: error.decline_code || error.code || 'declined', message: error.message }
  }
  return refusedRequest(error)
}

/** 400 and 404. A key that came with another request has a class of its own: that is ours to mend. */
function refusedRequest(error: unknown): Failed | null {
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return null
  return { outcome: 'failed', code: error.code || 'invalid_request', message: error.message }
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
  if (error.code === UNEXPECTED_STATE) return 'stripe-conflict'
  if (error instanceof Stripe.errors.StripeRateLimitError) return 'stripe-busy'
  if (error instanceof Stripe.errors.StripeConnectionError) return 'stripe-unavailable'
  // Whatever else has no class of its own: 409, 5xx, an answer that isn't Stripe's JSON.
  if (!(error instanceof Stripe.errors.StripeAPIError)) return null
  return IN_FLIGHT.has(error.statusCode) ? 'stripe-in-flight' : 'stripe-unavailable'
}
