/**
 * What a provider posts about charges. No credential but its signature over the bytes of the body, which are therefore read as they
 * come. It is told again until it is answered 200, in any order: the payment's own state decides what is still to be done.
 */
import type { PaymentProvider, ProviderTrouble } from '../../domain/billing/payments/payment-provider.ts'
import type { CollectStore, PaymentStore } from '../../domain/billing/payments/payment-store.ts'
import type { Api } from '../api-dependencies.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'
import { EventTaken } from './payment-schemas.ts'
import { unknownProvider } from './refunds.ts'

interface PaymentEventDependencies {
  readonly collectStore: Pick<CollectStore, 'settle'>
  readonly paymentStore: Pick<PaymentStore, 'findCharged'>
  readonly paymentProvider: Pick<PaymentProvider, 'name' | 'readWebhook'> | null
  readonly now: () => number
}

const TROUBLES: Readonly<Record<ProviderTrouble['kind'], string>> = {
  'refund-failed': 'a refund did not reach the customer',
  disputed: 'a charge is disputed: its money may be taken back'
}

const EVENT_BYTES_MAX = 262_144
const EVENT_EXAMPLE = { id: 'evt_1PZ', object: 'event', type: 'payment_intent.succeeded' }

export function paymentEventRoutes(api: Api, dependencies: PaymentEventDependencies): void {
  void api.register(async (scope: Api) => {
    scope.removeContentTypeParser('application/json')
    scope.addContentTypeParser(
      'application/json',
      { parseAs: 'buffer', bodyLimit: EVENT_BYTES_MAX },
      async (_request: unknown, body: Buffer) => body
    )
    stripeRoute(scope, dependencies)
  })
}

function stripeRoute(api: Api, dependencies: PaymentEventDependencies): void {
  const { collectStore, paymentStore, paymentProvider, now } = dependencies
  api.post(
    '/v1/payment-events/stripe',
    {
      config: { access: 'public' },
      // Its bytes are what was signed; the provider's own reader judges them.
      validatorCompiler: () => () => true,
      schema: {
        operationId: 'takeStripeEvent',
        tags: ['payments'],
        summary: "Stripe's webhook",
        description: 'For Stripe alone, which signs what it posts in `stripe-signature`.',
        body: { type: 'object', additionalProperties: true, examples: [EVENT_EXAMPLE] },
        response: {
          200: schemas.answer(EventTaken, 'It is known, or about nothing of ours.', { received: true }),
          ...schemas.problems(
            'unsigned-event',
            'body-too-large',
            'unsupported-media-type',
            'unknown-provider',
            'service-unavailable'
          )
        }
      }
    },
    async (request) => {
      if (paymentProvider === null) throw unknownProvider('stripe')
      const { body } = request
      const event = Buffer.isBuffer(body) ? paymentProvider.readWebhook(body, headersOf(request.headers)) : null
      if (event === null) throw new ProblemError('unsigned-event', 'The signature is missing, wrong, or too old.')
      const { id: eventId, paymentId, charge, trouble } = event
      if (trouble !== null) {
        const { kind, reference } = trouble
        const payment = reference === null ? null : await paymentStore.findCharged(paymentProvider.name, reference)
        // Nothing is booked: who has the money in the end is known weeks later, and is for people to write down.
        request.log.error({ eventId, kind, reference, paymentId: payment?.id ?? null }, TROUBLES[kind])
      }
      if (charge === null) return { received: true } as const
      const outcome = paymentId === null ? 'unknown-payment' : await collectStore.settle(paymentId, charge, now())
      if (outcome === 'unknown-payment')
        request.log.warn({ eventId, paymentId }, 'an event about a payment that is not known')
      return { received: true } as const
    }
  )
}

/** A header that came more than once is none that a provider sends. */
function headersOf(
  headers: Readonly<Record<string, string | string[] | undefined>>
): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : undefined])
  )
}
