/** Who moves money. An adapter calls one provider's API; what it could not do is a RetryableError, and is asked again under the same key. */

export interface ChargeAsk {
  /** The payment's id. Asked again with the same key, the provider answers for the charge that it made, and makes no second one. */
  readonly idempotencyKey: string
  readonly amountMinor: bigint
  /** ISO 4217. */
  readonly currency: string
  /** What the provider knows the customer by, and how it pays. */
  readonly account: PaymentAccount
  readonly invoiceId: string
  readonly invoiceNumber: string
}

/** How a customer pays through a provider: ids at the provider, never a card's number. */
export interface PaymentAccount {
  readonly customerId: string
  /** Stripe: `cus_…`. */
  readonly providerCustomer: string
  /** Stripe: `pm_…`. */
  readonly providerMethod: string
}

export type ChargeOutcome =
  | { readonly outcome: 'succeeded'; readonly reference: string }
  /** The provider tells later, by its webhook or when asked. */
  | { readonly outcome: 'pending'; readonly reference: string }
  /** Final for this charge; another attempt is another payment. */
  | { readonly outcome: 'failed'; readonly reference: string | null; readonly code: string; readonly message: string }

export type RefundOutcome =
  | { readonly outcome: 'succeeded'; readonly reference: string }
  | { readonly outcome: 'pending'; readonly reference: string }
  | { readonly outcome: 'failed'; readonly code: string; readonly message: string }

/** What a provider's webhook says, once its signature is checked. */
export interface ProviderEvent {
  /** The provider's; a repeat has the same. */
  readonly id: string
  /** Payment it is about, as our metadata on the charge says; null: none of ours. */
  readonly paymentId: string | null
  /** Null: about something else than how a charge ended. */
  readonly charge: ChargeOutcome | null
  /** Money that went, or may go, otherwise than the books say; null, as a rule. */
  readonly trouble: ProviderTrouble | null
}

export interface ProviderTrouble {
  /** `refund-failed`: after it was taken on, the money did not reach the customer. `disputed`: the customer asks its bank for it. */
  readonly kind: 'refund-failed' | 'disputed'
  /** Of the charge; null: the provider doesn't say. */
  readonly reference: string | null
}

export interface PaymentProvider {
  /** `stripe`, for instance. */
  readonly name: string
  /** Throws a RetryableError when it is not known what became of it: asking again with the same key is safe. */
  charge(ask: ChargeAsk): Promise<ChargeOutcome>
  /** How a charge stands that was pending. */
  chargeStatus(reference: string): Promise<ChargeOutcome>
  /** Gives back part or all of a charge, once per key. */
  refund(ask: {
    readonly idempotencyKey: string
    readonly reference: string
    readonly amountMinor: bigint
  }): Promise<RefundOutcome>
  /** Null: not signed by the provider, or too old. `body` is the bytes as they came. */
  readWebhook(body: Buffer, headers: Readonly<Record<string, string | undefined>>): ProviderEvent | null
}
