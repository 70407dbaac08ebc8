import type { Change, Reach, RequestKey } from '../../change.ts'
import type { Page, PageAsked } from '../../page.ts'
import type { Subscription } from '../../subscriptions/subscription.ts'
import type { InvoiceHead } from '../invoices/invoice.ts'
import type { InvoiceRefusal } from '../invoices/invoice-life-cycle.ts'
import type { Attempts } from './collection-schedule.ts'
import type { Payment, PaymentStatus } from './payment.ts'
import type { ChargeOutcome, PaymentAccount } from './payment-provider.ts'

/** How a customer pays, and through which provider. */
export interface StoredAccount extends PaymentAccount {
  readonly provider: string
  /** ms. */
  readonly updatedAt: number
}

/** An invoice that is to be collected now. */
export interface Collectable {
  readonly invoice: InvoiceHead
  readonly attempts: Attempts
  /** Null: it is paid by hand. */
  readonly account: StoredAccount | null
  /** A charge of which it is not known what became. */
  readonly pending: Payment | null
}

/**
 * What collecting does to invoices and payments. Each method is one transaction, with its audit records and events, and may be
 * called again: what was done is not done twice.
 */
export interface CollectStore {
  /**
   * Invoices that are due to be looked at, longest ago first: open ones, and whatever is closed and being charged. Each is given out once per `leaseMs`, and comes up again after that
   * unless one of the methods below said otherwise.
   */
  take(ask: { readonly now: number; readonly leaseMs: number; readonly limit: number }): Promise<readonly Collectable[]>
  /**
   * Writes that all that is open of an invoice is about to be charged. Committed before the provider is asked: whoever finds the
   * payment after a crash asks again under its id. Null: nothing is open, another charge is pending, or the customer has another
   * account by now.
   */
  begin(ask: {
    readonly paymentId: string
    readonly invoiceId: string
    readonly account: StoredAccount
    readonly now: number
  }): Promise<Payment | null>
  /**
   * What a provider said of a charge, about payment and invoice. `unchanged`: it was known. `unknown-payment`: there is none of this
   * id, or it is about another charge than the outcome.
   */
  settle(paymentId: string, outcome: ChargeOutcome, now: number): Promise<'settled' | 'unchanged' | 'unknown-payment'>
  /** False: the reminder of this number was sent, or nothing is open. */
  remind(invoiceId: string, number: number, now: number): Promise<boolean>
  /** False: nothing is open, or a charge is pending. */
  giveUp(invoiceId: string, now: number): Promise<boolean>
}

/** Null: whatever it is. */
export interface PaymentFilter extends PageAsked {
  readonly customerId: string | null
  readonly invoiceId: string | null
  readonly status: PaymentStatus | null
}

/** Where payments are kept. Throws `RepeatedRequest` for an Idempotency-Key that was used before. */
export interface PaymentStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<Payment | null>
  /** By what its provider calls it. */
  findCharged(provider: string, reference: string): Promise<Payment | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: PaymentFilter): Promise<Page<Payment>>
  /**
   * Money that came by hand, whatever part of what is open. `more-than-open`: that, or a charge that is pending, leaves less;
   * `reference-taken`: a payment of the invoice with this reference was recorded before.
   */
  record(
    payment: Payment,
    change: Change
  ): Promise<'recorded' | 'unknown-invoice' | 'nothing-open' | 'more-than-open' | 'reference-taken'>
}

/** A refund needs a credit note, which has rules of its own; one refund of a payment is under way at a time. */
export type RefundRefusal =
  | InvoiceRefusal
  | 'refund-pending'
  /** The payment was more than was open, and the customer's later invoices used what became credit of it. */
  | 'credit-used'

/** What the credit note of a refund says. */
export interface RefundNote {
  /** UUID v7. */
  readonly id: string
  readonly numberPrefix: string
  readonly reason: string
}

export interface UnsettledRefund {
  readonly begun: Payment
  /** Under which the answer is kept; null: it was asked for without a key. */
  readonly request: RequestKey | null
}

/** Giving money back, in two steps, so that a refund that was asked for and not answered is known of. */
export interface RefundStore {
  /**
   * Writes that part of a payment is to be given back, before the provider is asked. Answers the payment with `refundingMinor`; the
   * same for a repeat of the amount while it is not known what became of it. Credit that is given back is taken here, before somebody
   * else uses it. Throws `RepeatedRequest` when a refund was answered under `request` since it came.
   */
  begin(ask: {
    readonly paymentId: string
    /** Null: all that is left. */
    readonly amountMinor: bigint | null
    /** Null: it has no Idempotency-Key. */
    readonly request: RequestKey | null
    readonly now: number
  }): Promise<Payment | { readonly refused: RefundRefusal }>
  /**
   * The payment as it stands after the refund that `begin` wrote, with the credit note of what is none of the customer's credit; `note`
   * is null when nothing was given back. False: it was settled meanwhile.
   */
  settle(
    ask: { readonly begun: Payment; readonly next: Payment; readonly note: RefundNote | null },
    change: Change
  ): Promise<boolean>
  /**
   * Refunds that were begun before `before`, ms, and not settled: whoever asked has died. At most `limit`, those that were taken
   * longest ago first: one that fails whenever it is taken waits behind all others.
   */
  takeUnsettled(ask: {
    readonly before: number
    readonly now: number
    readonly limit: number
  }): Promise<readonly UnsettledRefund[]>
}

export interface PaymentAccountStore {
  find(reach: Reach, customerId: string): Promise<StoredAccount | null>
  /** In the place of the one before. What is due is charged to it at once, as if nothing had been tried. `unchanged`: it is that one. */
  put(account: StoredAccount, change: Change): Promise<'stored' | 'unchanged' | 'unknown-customer'>
  /** What is due is asked for by hand from now on, as if nobody had been reminded. False: there is none. */
  remove(customerId: string, now: number, change: Change): Promise<boolean>
}

/** Subscriptions whose status says something else than their invoices do: derived anew each time, so that nothing is to be remembered. */
export interface OverdueSubscriptions {
  /** Active, though an invoice is overdue: a charge failed, or it is open a day after its due date, or it was given up. */
  listOverdue(now: number, limit: number): Promise<readonly Subscription[]>
  /** Past due, though none is overdue. */
  listRecovered(now: number, limit: number): Promise<readonly Subscription[]>
}
