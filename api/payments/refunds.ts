import { randomUUIDv7 } from 'node:crypto'
import { settleRefund } from '../../domain/billing/payments/pay-invoice.ts'
import { MANUAL, type Payment, refundKeyOf } from '../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../domain/billing/payments/payment-json.ts'
import type { PaymentProvider, RefundOutcome } from '../../domain/billing/payments/payment-provider.ts'
import type { PaymentStore, RefundRefusal, RefundStore } from '../../domain/billing/payments/payment-store.ts'
import type { Api, InvoicingTerms } from '../api-dependencies.ts'
import { changeOf, requestKeyOf } from '../changes/change-of.ts'
import { refusal } from '../invoices/change-invoice.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'
import { lostRace } from '../schemas/versions.ts'
import { PAYMENT_EXAMPLE, PaymentTold, RefundBody } from './payment-schemas.ts'
import { getPayment, PaymentPath, subjectOf, WRITE_PAYMENTS } from './payments.ts'

interface RefundDependencies {
  readonly paymentStore: Pick<PaymentStore, 'find'>
  readonly refundStore: Pick<RefundStore, 'begin' | 'settle'>
  /** Null: none is configured. */
  readonly paymentProvider: PaymentProvider | null
  readonly invoicing: Pick<InvoicingTerms, 'creditNoteNumberPrefix'>
  readonly now: () => number
}

const REFUSALS = {
  'refund-pending': 'Another refund of the payment is under way: repeat that one.',
  'credit-used': 'More was paid than was open: the rest became credit of the customer, and later invoices used it.'
} as const

/** A refund is up to three requests to the provider. */
const ASKING_TIMEOUT_MS = 60_000

/**
 * Whoever dies between asking the provider and writing its answer leaves the refund begun: the same request again, or the next collect
 * run, asks under the same key and writes it.
 */
export function refundRoutes(api: Api, dependencies: RefundDependencies): void {
  const { refundStore, invoicing, now } = dependencies
  api.post(
    '/v1/payments/:paymentId/refund',
    {
      config: { access: WRITE_PAYMENTS, answerWithinMs: ASKING_TIMEOUT_MS },
      schema: {
        operationId: 'refundPayment',
        tags: ['payments'],
        summary: 'Give a payment back',
        description:
          'All of it or a part, the way it came, with a credit note of the invoice. What was more than was open, and became credit of the customer, is the first that is given back: the credit is taken instead. Of what was recorded by hand it says that the money was given back.',
        params: PaymentPath,
        body: RefundBody,
        response: {
          200: schemas.answer(PaymentTold, 'The payment as it stands now.', {
            ...PAYMENT_EXAMPLE,
            refundedMinor: '1200'
          }),
          ...schemas.problems(
            'malformed-json',
            'unsupported-media-type',
            'validation-failed',
            'unknown-payment',
            'illegal-transition',
            'conflicting-change',
            'refund-refused',
            'unknown-provider',
            'idempotency-in-flight',
            'idempotency-key-reused',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const { amountMinor, reason } = request.body
      const found = await getPayment(request, dependencies)
      const ask = askOf(found, dependencies.paymentProvider)
      const asked = amountMinor === undefined ? null : BigInt(amountMinor)
      const begun = await refundStore.begin({
        paymentId: found.id,
        amountMinor: asked,
        request: requestKeyOf(request),
        now: now()
      })
      if ('refused' in begun) throw refundRefusal(begun.refused)
      const outcome = await ask(begun)
      const next = settleRefund(begun, outcome, now())
      const told = paymentToJson(next)
      const subject = { ...subjectOf(next), before: paymentToJson(begun), after: told }
      if (outcome.outcome === 'failed') {
        await refundStore.settle(
          { begun, next, note: null },
          changeOf(request, { ...subject, action: 'payment.refund_failed' })
        )
        throw new ProblemError('refund-refused', outcome.message, { extensions: { reason: outcome.code } })
      }
      const answer = { status: 200, headers: {}, body: JSON.stringify(told) }
      const note = { id: randomUUIDv7(), numberPrefix: invoicing.creditNoteNumberPrefix, reason }
      const change = changeOf(request, { ...subject, action: 'payment.refunded', answer })
      if (!(await refundStore.settle({ begun, next, note }, change))) throw lostRace(undefined)
      return reply.send(told)
    }
  )
}

/** How a refund is asked for; throws when nobody can be asked, before anything is written. */
function askOf(payment: Payment, provider: PaymentProvider | null): (begun: Payment) => Promise<RefundOutcome> {
  const { reference } = payment
  if (payment.provider === MANUAL) return async () => ({ outcome: 'succeeded', reference: reference ?? '' })
  if (provider?.name !== payment.provider) throw unknownProvider(payment.provider)
  return (begun) => {
    if (reference === null) throw new Error(`payment ${payment.id} succeeded, and its provider has no name for it`)
    return provider.refund({ idempotencyKey: refundKeyOf(begun), reference, amountMinor: begun.refundingMinor })
  }
}

export function unknownProvider(name: string): ProblemError {
  return new ProblemError('unknown-provider', `${name} is not configured.`)
}

function refundRefusal(refused: RefundRefusal): ProblemError {
  if (refused !== 'refund-pending' && refused !== 'credit-used') return refusal(refused)
  return new ProblemError('illegal-transition', REFUSALS[refused], { extensions: { reason: refused } })
}
