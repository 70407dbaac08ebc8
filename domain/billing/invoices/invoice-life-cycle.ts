/**
 * What somebody may make of an invoice: finalize a draft, void it, give it up. Each rule takes the invoice as it is stored and answers
 * what is to be written, or why not. How one is paid stands in payments/pay-invoice.ts, how one is taken back in credit-note.ts.
 */
import type { Grant } from '../../tokens/grants/grant.ts'
import { invoiceTotals, type LineClass, type TaxRate } from '../invoice-totals.ts'
import { changedAt, giveUp } from '../payments/pay-invoice.ts'
import type { Invoice, InvoiceHead } from './invoice.ts'
import { type FinalizeAsk, finalizeInvoice } from './issue-invoice.ts'

export type InvoiceRefusal =
  | 'not-a-draft'
  /** Paid, or void before. */
  | 'not-voidable'
  /** Only what is finalized and not paid is given up. */
  | 'not-open'
  /** A credit note takes it back. */
  | 'something-paid'
  /** What is left of it is credited, not voided. */
  | 'has-credit-notes'
  /** A charge of which it is not known what became. */
  | 'payment-pending'
  /** Neither drafts nor what is void, and nothing that asks for no money. */
  | 'not-creditable'
  | 'more-than-left'
  | 'more-than-paid'

export interface Refused {
  readonly refused: InvoiceRefusal
}

/** What was done to an invoice, by credit notes and charges, besides what it says itself. */
export interface InvoiceStanding {
  /** Sums of its credit notes, whatever their settlement. */
  readonly creditNotesMinor: bigint
  readonly creditNotesTaxMinor: bigint
  /** Of those, what was paid back. */
  readonly refundsMinor: bigint
  /** What a provider is being asked to pay back, and a credit note will be written of. */
  readonly refundingMinor: bigint
  readonly isPaymentPending: boolean
}

export interface FinalizeDraftAsk extends FinalizeAsk {
  /** Money that is left of the customer's grants. */
  readonly grants: readonly Grant[]
  /** For a draft that is reckoned again. */
  readonly taxRates: Readonly<Record<LineClass, TaxRate | null>>
}

/**
 * A draft used nothing up: when other invoices took of its grants meanwhile, its totals are reckoned again with what is left. Its lines
 * stay as they are.
 */
export function finalizeDraft(draft: Invoice, ask: FinalizeDraftAsk): Invoice {
  const { grants, taxRates, now } = ask
  const totals = coversBurns(draft, grants)
    ? {}
    : invoiceTotals({ lines: draft.lines, currency: draft.currency, taxRates, grants, at: draft.boundary })
  return { ...finalizeInvoice({ ...draft, ...totals }, ask), ...changedAt(draft, now) }
}

function coversBurns({ burns }: Invoice, grants: readonly Grant[]): boolean {
  const left = new Map(
    grants.map(({ id, amount, burnt }) => [id, amount.kind === 'money' ? amount.amountMinor - burnt : 0n])
  )
  return burns.every(({ grantId, amountMinor }) => amountMinor <= (left.get(grantId) ?? 0n))
}

/** What it used of grants and credit is given back. Of what it asked for nothing is asked again. */
export function voidInvoice<I extends InvoiceHead>(
  invoice: I,
  { creditNotesMinor, isPaymentPending }: InvoiceStanding,
  now: number
): I | Refused {
  const { status, paidMinor } = invoice
  if (status !== 'draft' && status !== 'finalized' && status !== 'uncollectible') {
    return { refused: status === 'paid' && paidMinor > 0n ? 'something-paid' : 'not-voidable' }
  }
  if (paidMinor > 0n) return { refused: 'something-paid' }
  if (creditNotesMinor > 0n) return { refused: 'has-credit-notes' }
  if (isPaymentPending) return { refused: 'payment-pending' }
  return { ...invoice, status: 'void', closedAt: now, ...changedAt(invoice, now) }
}

export function markUncollectible(
  invoice: InvoiceHead,
  { isPaymentPending }: Pick<InvoiceStanding, 'isPaymentPending'>,
  now: number
): InvoiceHead | Refused {
  if (invoice.status !== 'finalized') return { refused: 'not-open' }
  return isPaymentPending ? { refused: 'payment-pending' } : giveUp(invoice, now)
}
