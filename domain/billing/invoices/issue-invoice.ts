/** How what was drafted becomes an invoice: its number, what the customer's credit pays of it, when it is due. */
import { smallerOf } from '../exact-amounts.ts'
import type { Invoice, InvoiceContent, Issuer } from './invoice.ts'

const DAY_MS = 86_400_000

export interface IssueAsk {
  /** UUID v7. */
  readonly id: string
  readonly content: InvoiceContent
  readonly now: number
}

/** Nobody is asked for a draft, and nothing is used up by it. */
export function draftOf({ id, content, now }: IssueAsk): Invoice {
  return {
    ...content,
    id,
    status: 'draft',
    number: null,
    issuer: null,
    creditAppliedMinor: 0n,
    dueMinor: content.totalMinor < 0n ? 0n : content.totalMinor,
    paidMinor: 0n,
    creditedMinor: 0n,
    finalizedAt: null,
    dueAt: null,
    closedAt: null,
    version: 1,
    createdAt: now,
    updatedAt: now
  }
}

export interface FinalizeAsk {
  readonly number: string
  readonly issuer: Issuer
  /** What the customer has in the invoice's currency. */
  readonly creditMinor: bigint
  readonly now: number
}

/**
 * Credit pays before anybody is asked. What is below zero becomes credit; where nothing is left to pay, it is paid.
 */
export function finalizeInvoice(draft: Invoice, { number, issuer, creditMinor, now }: FinalizeAsk): Invoice {
  if (draft.status !== 'draft') throw new Error(`invoice ${draft.id} is ${draft.status}, and was finalized before`)
  const { totalMinor } = draft
  const creditAppliedMinor = totalMinor > 0n && creditMinor > 0n ? smallerOf(creditMinor, totalMinor) : 0n
  const dueMinor = totalMinor > 0n ? totalMinor - creditAppliedMinor : 0n
  return {
    ...draft,
    status: dueMinor === 0n ? 'paid' : 'finalized',
    number,
    issuer,
    creditAppliedMinor,
    dueMinor,
    finalizedAt: now,
    dueAt: now + draft.paymentTermsDays * DAY_MS,
    closedAt: dueMinor === 0n ? now : null,
    updatedAt: now
  }
}

/** What the invoice adds to the customer's credit: above zero when it is below zero itself, below zero for what it used. */
export function creditChangeOf({ totalMinor, creditAppliedMinor }: Invoice): bigint {
  return totalMinor < 0n ? -totalMinor : -creditAppliedMinor
}

/** The number as it is printed, at least six digits. */
export function numberOf(prefix: string, place: bigint): string {
  return `${prefix}${String(place).padStart(6, '0')}`
}
