import type { Change, Reach } from '../../change.ts'
import type { Page, PageAsked } from '../../page.ts'
import type { Grant } from '../../tokens/grants/grant.ts'
import type { Credited, CreditNote } from './credit-note.ts'
import type { Invoice, InvoiceHead, InvoiceStatus } from './invoice.ts'
import type { InvoiceStanding, Refused } from './invoice-life-cycle.ts'

/** Null: whatever it is. */
export interface InvoiceFilter extends PageAsked {
  readonly customerId: string | null
  readonly subscriptionId: string | null
  readonly status: InvoiceStatus | null
}

export interface CreditNoteFilter extends PageAsked {
  readonly customerId: string | null
  readonly invoiceId: string | null
}

/** What is written, and what goes with it. */
export interface InvoiceDecision<Next> {
  readonly next: Next
  readonly change: Change
}

/** What finalizing goes by: it stays so until the decision is written. */
export interface FinalizeFacts {
  /** The next of its series. When nothing is written it is the next one's. */
  readonly number: string
  readonly creditMinor: bigint
  readonly grants: readonly Grant[]
}

export interface CreditFacts {
  readonly number: string
  readonly standing: InvoiceStanding
}

/** `other-version`: the invoice is no longer what was found; nothing was written. */
export type Decided<D> = D | Refused | 'other-version'

/**
 * Where invoices are kept. Changes are of the platform alone. What a change depends on is known only within its transaction, so each
 * is told the invoice that was found and decides there; a decision is written whole, with its audit records, events and answer, or
 * nothing is. Each throws `RepeatedRequest` for an Idempotency-Key that was used before.
 */
export interface InvoiceStore {
  /** With its lines. Null also for one that exists out of reach; what was never finalized is out of a customer's. */
  find(reach: Reach, id: string): Promise<Invoice | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: InvoiceFilter): Promise<Page<InvoiceHead>>
  /** Gives it the next number, and uses up its grants and credit. */
  finalize<D extends InvoiceDecision<Invoice>>(
    draft: Invoice,
    numberPrefix: string,
    decide: (facts: FinalizeFacts) => D
  ): Promise<Decided<D>>
  /** To `void`, which gives back what it used of grants and credit, or `uncollectible`. */
  close<D extends InvoiceDecision<InvoiceHead>>(
    invoice: Invoice,
    decide: (standing: InvoiceStanding) => D | Refused
  ): Promise<Decided<D>>
}

/** Where credit notes are kept; append-only. */
export interface CreditNoteStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<CreditNote | null>
  /** In the order of ids, which is the order of issue. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: CreditNoteFilter): Promise<Page<CreditNote>>
  /** As a change of `InvoiceStore`: gives it the next number, and writes what becomes of the invoice and of the customer's credit. */
  insert<D extends InvoiceDecision<Credited>>(
    invoice: InvoiceHead,
    numberPrefix: string,
    decide: (facts: CreditFacts) => D | Refused
  ): Promise<Decided<D>>
}
