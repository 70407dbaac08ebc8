/**
 * What is taken back of an invoice that was finalized: it is never edited, a credit note stands beside it. All amounts are in the
 * minor unit of the invoice's currency, tax included.
 */
import type { JsonObject } from '../../json.ts'
import { roundedQuotient, smallerOf } from '../exact-amounts.ts'
import { changedAt, takesMoney } from '../payments/pay-invoice.ts'
import { type InvoiceHead, openMinor } from './invoice.ts'
import type { InvoiceStanding, Refused } from './invoice-life-cycle.ts'

/**
 * `invoice`: off what is open of it, and what is more than that to the customer's credit; `credit`: to the customer's credit, which the
 * next invoice uses; `refund`: paid back.
 */
export const CREDIT_NOTE_SETTLEMENTS = ['invoice', 'credit', 'refund'] as const
export type CreditNoteSettlement = (typeof CREDIT_NOTE_SETTLEMENTS)[number]

export interface CreditNote {
  /** UUID v7. */
  readonly id: string
  readonly customerId: string
  readonly invoiceId: string
  /** Gapless per issuer, a series of its own. */
  readonly number: string
  readonly currency: string
  /** Above zero. */
  readonly amountMinor: bigint
  /** The part of it that is tax. */
  readonly taxMinor: bigint
  /** The part of it that is no longer to be paid of the invoice. */
  readonly appliedMinor: bigint
  readonly settlement: CreditNoteSettlement
  /** Printed: what it is for. */
  readonly reason: string
  /** ms. */
  readonly issuedAt: number
}

export interface CreditNoteAsk {
  readonly id: string
  readonly number: string
  /** Null: all that is left. */
  readonly amountMinor: bigint | null
  readonly settlement: CreditNoteSettlement
  readonly reason: string
  readonly now: number
}

export interface Credited {
  readonly note: CreditNote
  /** Paid when nothing of it is open any more. */
  readonly invoice: InvoiceHead
}

/**
 * Up to the total less what was credited before; of a refund also up to what was paid less what was paid back. What is being paid back
 * counts as credited. A refund is written
 * when the money is back: whoever moves it asks this rule in the same transaction.
 */
export function creditInvoice(
  invoice: InvoiceHead,
  standing: InvoiceStanding,
  { amountMinor: asked, settlement, now, ...stated }: CreditNoteAsk
): Credited | Refused {
  const { id: invoiceId, customerId, currency, status, totalMinor, paidMinor } = invoice
  const leftMinor = totalMinor - standing.creditNotesMinor - standing.refundingMinor
  if (status === 'draft' || status === 'void' || totalMinor <= 0n) return { refused: 'not-creditable' }
  const amountMinor = asked ?? leftMinor
  if (amountMinor <= 0n || amountMinor > leftMinor) return { refused: 'more-than-left' }
  if (settlement === 'refund' && amountMinor > paidMinor - standing.refundsMinor - standing.refundingMinor)
    return { refused: 'more-than-paid' }
  const open = takesMoney(invoice) ? openMinor(invoice) : 0n
  const appliedMinor = settlement === 'invoice' ? smallerOf(amountMinor, open) : 0n
  const taxMinor = taxWithin(invoice, standing.creditNotesMinor + amountMinor) - standing.creditNotesTaxMinor
  const note = {
    ...stated,
    customerId,
    invoiceId,
    currency,
    amountMinor,
    taxMinor,
    appliedMinor,
    settlement,
    issuedAt: now
  }
  return { note, invoice: creditedInvoice(invoice, appliedMinor, now) }
}

/** Of what a credit note gives, the part that the customer keeps for later invoices. */
export function keptMinor({ settlement, amountMinor, appliedMinor }: CreditNote): bigint {
  return settlement === 'refund' ? 0n : amountMinor - appliedMinor
}

/**
 * The tax within the first so many minor units of the invoice, on top and included alike. A note's tax is the difference between two of
 * these: notes that take back all of an invoice take back its tax to the last unit, however they are cut.
 */
function taxWithin({ taxMinor, includedTaxMinor, totalMinor }: InvoiceHead, amountMinor: bigint): bigint {
  return roundedQuotient((taxMinor + includedTaxMinor) * amountMinor, totalMinor)
}

function creditedInvoice(invoice: InvoiceHead, appliedMinor: bigint, now: number): InvoiceHead {
  const next = { ...invoice, creditedMinor: invoice.creditedMinor + appliedMinor, ...changedAt(invoice, now) }
  const isClosed = takesMoney(invoice) && openMinor(next) === 0n
  return isClosed ? { ...next, status: 'paid', closedAt: now } : next
}

export function creditNoteToJson(note: CreditNote) {
  return {
    id: note.id,
    number: note.number,
    customerId: note.customerId,
    invoiceId: note.invoiceId,
    currency: note.currency,
    amountMinor: String(note.amountMinor),
    taxMinor: String(note.taxMinor),
    appliedMinor: String(note.appliedMinor),
    keptMinor: String(keptMinor(note)),
    settlement: note.settlement,
    reason: note.reason,
    issuedAt: new Date(note.issuedAt).toISOString()
  } satisfies JsonObject
}
