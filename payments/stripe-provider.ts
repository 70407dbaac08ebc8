/**
 * Charges through Stripe: one payment intent for each payment, made and confirmed in one request while the customer is away.
 *
 * One charge per key, for ever. Within a day Stripe's Idempotency-Key sees to it: a request whose answer was lost is answered as
 * before. Stripe forgets keys after 24 hours and keeps a 500 under one, whatever became of the charge, so an older key and a failing
 * Stripe are answered by looking for the intent that has the payment's id in its metadata.
 *
 * Where it dies: before a request nothing was asked, after it the same key is asked again. Nothing is kept here.
 */
import { Stripe } from 'stripe'
import type {
  ChargeAsk,
  ChargeOutcome,
  PaymentProvider,
  ProviderEvent,
  RefundOutcome
} from '../domain/billing/payments/payment-provider.ts'
import { toStripeAmount } from './stripe-amount.ts'
import { connectStripe, type StripeConnection } from './stripe-client.ts'
import { failedCharge, failedRefund, isIndeterminate, translateStripeError } from './stripe-error.ts'
import { failedIntent, outcomeOfIntent, outcomeOfRefund, toProviderEvent } from './stripe-outcome.ts'

export interface StripeOptions extends StripeConnection {
  /** `whsec_…` of the endpoint that Stripe posts to: what it signs is believed. */
  readonly webhookSecret: string
}

type RefundAsk = Parameters<PaymentProvider['refund']>[0]

/** Stripe keeps a key for 24 hours at least; the rest is for clocks that differ and requests that take long. */
const KEY_TRUSTED_MS = 20 * 3_600_000
/** An intent is looked for among those made since the payment was; clocks differ. */
const CLOCKS_DIFFER_MS = 3_600_000
const WEBHOOK_AGE_MAX_SECONDS = 300
const PAGE_MAX = 100
/** The client throws an error of no class of its own at an empty signature, so the header's form is checked before. */
const SIGNATURE_HEADER = /^t=\d+(,\w+=\w+)+$/

/** Keeps the promises of `PaymentProvider`. Also throws an Error for what an operator has to mend: a key, a permission. */
export class StripeProvider implements PaymentProvider {
  readonly name = 'stripe'
  readonly #stripe: Stripe
  readonly #webhookSecret: string

  constructor({ webhookSecret, ...connection }: StripeOptions) {
    this.#stripe = connectStripe(connection)
    this.#webhookSecret = webhookSecret
  }

  /** What Stripe can't charge exactly fails as `amount_not_chargeable`, without being asked. */
  async charge(ask: ChargeAsk): Promise<ChargeOutcome> {
    const exact = toStripeAmount(ask.amountMinor, ask.currency)
    if ('refused' in exact) {
      return { outcome: 'failed', reference: null, code: 'amount_not_chargeable', message: exact.refused }
    }
    const known = isTrusted(ask.idempotencyKey, Date.now()) ? null : await this.#findIntent(ask, exact.amount)
    const made = known ?? (await this.#makeIntent(ask, exact.amount))
    if ('outcome' in made) return made
    // A repeated answer tells how the charge stood when it was made; an unfinished one is asked how it stands now.
    return outcomeOfIntent(made) ?? this.chargeStatus(made.id)
  }

  /**
   * An intent that waits for somebody (to prove who they are, to confirm) is canceled and has failed: nobody is there, and it must
   * not succeed by itself after another payment was made in its place.
   */
  async chargeStatus(reference: string): Promise<ChargeOutcome> {
    const { paymentIntents } = this.#stripe
    const intent = await answerOf(`read ${reference}`, () => paymentIntents.retrieve(reference))
    const outcome = outcomeOfIntent(intent)
    if (outcome !== null) return outcome
    const canceled = await answerOf(`cancel ${reference}`, () =>
      paymentIntents.cancel(reference, { cancellation_reason: 'abandoned' })
    )
    return failedIntent(canceled)
  }

  async refund(ask: RefundAsk): Promise<RefundOutcome> {
    const { idempotencyKey, reference, amountMinor } = ask
    const { paymentIntents, refunds } = this.#stripe
    const { currency } = await answerOf(`read ${reference}`, () => paymentIntents.retrieve(reference))
    const exact = toStripeAmount(amountMinor, currency.toUpperCase())
    if ('refused' in exact) return { outcome: 'failed', code: 'amount_not_refundable', message: exact.refused }
    // Refunds are rare: each is looked for first, so that a key may be as old as it likes.
    const known = await this.#findRefund(ask, exact.amount)
    if (known !== null) return outcomeOfRefund(known)
    const metadata = { refundKey: idempotencyKey }
    try {
      const request = { payment_intent: reference, amount: exact.amount, metadata }
      return outcomeOfRefund(await refunds.create(request, { idempotencyKey }))
    } catch (error) {
      const failed = failedRefund(error)
      if (failed !== null) return failed
      throw translateStripeError(`refund ${reference}`, error)
    }
  }

  /** The name of a header is in lower case, as Node gives it. What Stripe signed and is none of our business comes without a charge. */
  readWebhook(body: Buffer, headers: Readonly<Record<string, string | undefined>>): ProviderEvent | null {
    const signature = headers['stripe-signature']
    if (signature === undefined || !SIGNATURE_HEADER.test(signature)) return null
    const { webhooks } = this.#stripe
    try {
      return toProviderEvent(webhooks.constructEvent(body, signature, this.#webhookSecret, WEBHOOK_AGE_MAX_SECONDS))
    } catch (error) {
      if (error instanceof Stripe.errors.StripeSignatureVerificationError) return null
      throw error
    }
  }

  async #makeIntent(ask: ChargeAsk, amount: number): Promise<Stripe.PaymentIntent | ChargeOutcome> {
    const { idempotencyKey, invoiceId, invoiceNumber, account } = ask
    try {
      return await this.#stripe.paymentIntents.create(
        {
          amount,
          currency: ask.currency.toLowerCase(),
          customer: account.providerCustomer,
          payment_method: account.providerMethod,
          confirm: true,
          off_session: true,
          // Otherwise Stripe demands an address to send the customer back to.
          automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
          metadata: { paymentId: idempotencyKey, invoiceId, invoiceNumber }
        },
        { idempotencyKey }
      )
    } catch (error) {
      const failed = failedCharge(error)
      if (failed !== null) return failed
      const known = isIndeterminate(error) ? await this.#findIntent(ask, amount) : null
      if (known !== null) return known
      throw translateStripeError(`charge payment ${idempotencyKey}`, error)
    }
  }

  /** The newest first; Stripe's list is up to date, which its search is not. */
  async #findIntent(ask: ChargeAsk, amount: number): Promise<Stripe.PaymentIntent | null> {
    const { idempotencyKey, account, currency } = ask
    const madeAt = timeOfKey(idempotencyKey)
    const since = madeAt === null ? {} : { created: { gte: Math.floor((madeAt - CLOCKS_DIFFER_MS) / 1_000) } }
    return answerOf(`look for payment ${idempotencyKey}`, async () => {
      const list = this.#stripe.paymentIntents.list({ customer: account.providerCustomer, limit: PAGE_MAX, ...since })
      for await (const intent of list) {
        if (intent.metadata.paymentId !== idempotencyKey) continue
        if (intent.amount === amount && intent.currency === currency.toLowerCase()) return intent
        const other = `${intent.id} of ${intent.amount} ${intent.currency}`
        throw new Error(`payment ${idempotencyKey} was charged as ${other}, and is now asked for ${amount} ${currency}`)
      }
      return null
    })
  }

  async #findRefund({ idempotencyKey, reference }: RefundAsk, amount: number): Promise<Stripe.Refund | null> {
    return answerOf(`look for refund ${idempotencyKey}`, async () => {
      for await (const refund of this.#stripe.refunds.list({ payment_intent: reference, limit: PAGE_MAX })) {
        if (refund.metadata?.refundKey !== idempotencyKey) continue
        if (refund.amount === amount) return refund
        throw new Error(`refund ${idempotencyKey} gave back ${refund.amount}, and is now asked for ${amount}`)
      }
      return null
    })
  }
}

async function answerOf<T>(what: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (error) {
    throw translateStripeError(what, error)
  }
}

/** Whether Stripe still knows what it answered under this key, if it was ever asked. */
function isTrusted(key: string, now: number): boolean {
  const madeAt = timeOfKey(key)
  return madeAt !== null && now - madeAt < KEY_TRUSTED_MS
}

/** ms, from a UUID v7; null for a key of another form, whose age nobody knows. */
function timeOfKey(key: string): number | null {
  const [, high, low] = /^([\da-f]{8})-([\da-f]{4})-7/i.exec(key) ?? []
  return high === undefined || low === undefined ? null : Number.parseInt(high + low, 16)
}
