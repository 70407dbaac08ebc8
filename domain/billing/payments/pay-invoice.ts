/**
 * What becomes of an invoice and of the attempts to pay it. Whatever a provider tells, in whatever order and however often, ends the
 * same: money that was taken is on the invoice once, or, where nothing is open any more, in the customer's credit.
 */
import { smallerOf } from '../exact-amounts.ts'
import { type InvoiceHead, openMinor } from '../invoices/invoice.ts'
import type { ChargedAccount, Payment } from './payment.ts'
import type { ChargeOutcome, RefundOutcome } from './payment-provider.ts'

/** Whether money is asked for: neither what is a draft or void, nor what is paid. One that was given up still takes some. */
export function takesMoney({ status }: Pick<InvoiceHead, 'status'>): boolean {
  return status === 'finalized' || status === 'uncollectible'
}

export interface Paid {
  readonly next: InvoiceHead
  /** What there was nothing left to pay of: the customer's. A credit note or a second payment came while the charge was under way. */
  readonly excessMinor: bigint
}

/** `amountMinor` above 0. Nothing is refused, since it was paid. */
export function payInvoice(invoice: InvoiceHead, amountMinor: bigint, now: number): Paid {
  const open = takesMoney(invoice) ? openMinor(invoice) : 0n
  const usedMinor = smallerOf(amountMinor, open)
  const excessMinor = amountMinor - usedMinor
  if (usedMinor === 0n) return { next: invoice, excessMinor }
  const isPaid = usedMinor === open
  const closing = isPaid ? ({ status: 'paid', closedAt: now } as const) : {}
  const next = { ...invoice, ...closing, paidMinor: invoice.paidMinor + usedMinor, ...changedAt(invoice, now) }
  return { next, excessMinor }
}

/** Nobody is asked any more; what is paid all the same is taken. */
export function giveUp(invoice: InvoiceHead, now: number): InvoiceHead {
  return { ...invoice, status: 'uncollectible', closedAt: now, ...changedAt(invoice, now) }
}

/** The next version, of another time. */
export function changedAt({ version }: Pick<InvoiceHead, 'version'>, now: number) {
  return { version: version + 1, updatedAt: now }
}

/**
 * A payment after what its provider said of it; null: it says nothing that isn't known. A success is believed whenever it comes, a
 * failure only of what was pending: of two answers that overtook each other the one with the money is right.
 */
export function settlePayment(payment: Payment, outcome: ChargeOutcome, now: number): Payment | null {
  const { status } = payment
  if (status === 'succeeded' || status === 'refunded') return null
  const reference = outcome.reference ?? payment.reference
  switch (outcome.outcome) {
    case 'succeeded':
      return { ...payment, status: 'succeeded', reference, failureCode: null, receivedAt: now, updatedAt: now }
    case 'pending':
      return status === 'failed' || reference === payment.reference ? null : { ...payment, reference, updatedAt: now }
    case 'failed':
      return status === 'failed'
        ? null
        : { ...payment, status: 'failed', reference, failureCode: outcome.code, updatedAt: now }
  }
}

/** A webhook names our payment; that it is about the same charge as the one we know of is told by the provider's own name for it. */
export function isAbout({ reference }: Payment, outcome: ChargeOutcome): boolean {
  return reference === null || outcome.reference === null || reference === outcome.reference
}

type Charged = ChargedAccount & Pick<Payment, 'provider'>

/** Whether the same is charged. */
export function isSameAccount(one: Charged, other: Charged): boolean {
  const isAtSame = one.provider === other.provider && one.providerCustomer === other.providerCustomer
  return isAtSame && one.providerMethod === other.providerMethod
}

/** A payment whose refund has ended. One that the provider has taken on and not finished counts as given back. */
export function settleRefund(begun: Payment, outcome: RefundOutcome, now: number): Payment {
  const { amountMinor, refundingMinor } = begun
  const next = { ...begun, refundingMinor: 0n, updatedAt: now }
  if (outcome.outcome === 'failed') return next
  const refundedMinor = begun.refundedMinor + refundingMinor
  return { ...next, refundedMinor, status: refundedMinor === amountMinor ? 'refunded' : begun.status }
}
