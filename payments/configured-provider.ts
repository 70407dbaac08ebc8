// The payment provider that the configuration names; in the API, which refunds and hears webhooks, the same as in billing's worker.

import type { PaymentProvider } from '../domain/billing/payments/payment-provider.ts'
import { StripeProvider } from './stripe-provider.ts'

/** Charges take a second or two at Stripe, and a bank that is slow ten: longer, and nobody knows more by waiting. */
const TIMEOUT_MS = 15_000

/** As monitoring/billing/config.ts describes them; key and secret come together. */
export interface PaymentVariables {
  readonly STRIPE_API_KEY?: string
  readonly STRIPE_WEBHOOK_SECRET?: string
  readonly STRIPE_API_HOST: string
  readonly STRIPE_API_PORT: number
  readonly STRIPE_API_PROTOCOL: 'https' | 'http'
}

/** Null: everybody pays by hand. */
export function paymentProviderOf(variables: PaymentVariables): PaymentProvider | null {
  const { STRIPE_API_KEY: apiKey, STRIPE_WEBHOOK_SECRET: webhookSecret } = variables
  if (apiKey === undefined || webhookSecret === undefined) return null
  return new StripeProvider({
    apiKey,
    webhookSecret,
    host: variables.STRIPE_API_HOST,
    port: variables.STRIPE_API_PORT,
    protocol: variables.STRIPE_API_PROTOCOL,
    timeoutMs: TIMEOUT_MS
  })
}
