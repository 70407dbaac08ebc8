/**
 * What a customer is asked to pay for a subscription at a boundary between two periods: usage of the period that ends there, base fee
 * of the one that begins. Once it is finalized nothing of it changes but what becomes of it; what comes late is a line of a later one.
 * All amounts are in the minor unit of its currency.
 *
 *   draft ──► finalized ──► paid            draft, finalized, uncollectible ──► void
 *                 └──► uncollectible ──► paid
 */
import type { Customer } from '../../customers/customer.ts'
import type { Period } from '../../subscriptions/billing-period.ts'
import type { Price } from '../../subscriptions/plan.ts'
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { TierCharge } from '../charge-tokens.ts'
import type { InvoiceTotals, LineClass } from '../invoice-totals.ts'

export const INVOICE_STATUSES = ['draft', 'finalized', 'paid', 'void', 'uncollectible'] as const
export type InvoiceStatus = (typeof INVOICE_STATUSES)[number]

/** What every line has. */
interface LineShape {
  readonly lineClass: LineClass
  /** Below zero for what is given back. */
  readonly amountMinor: bigint
  /** [from, to) in ms: the time that is paid for. */
  readonly from: number
  readonly to: number
}

export interface BaseFeeInvoiceLine extends LineShape {
  readonly kind: 'base-fee'
  /** `advance`: of the period that begins; `credit` and `charge`: of days of the period that ended, after a change. */
  readonly reason: 'advance' | 'credit' | 'charge'
  readonly planId: string
}

export interface UsageInvoiceLine extends LineShape {
  readonly kind: 'usage'
  readonly pool: TokenPool
  /** The price's pattern. */
  readonly model: string
  readonly chargeModel: Price['chargeModel']
  /** Tokens that the tiers' amounts are for. */
  readonly perTokens: number
  /** Exact names, ascending. */
  readonly models: readonly { readonly model: string; readonly tokens: bigint }[]
  readonly quantity: bigint
  readonly includedTokens: bigint
  readonly chargedTokens: bigint
  readonly tiers: readonly TierCharge[]
}

export interface MinimumInvoiceLine extends LineShape {
  readonly kind: 'minimum'
  readonly pool: TokenPool
  readonly model: string
  readonly minimumMinor: bigint
  /** What the usage lines come to that the minimum is for. */
  readonly chargedMinor: bigint
}

/** An earlier period rated again: usage that came late, or was voided. `from` and `to` are that period. */
export interface AdjustmentInvoiceLine extends LineShape {
  readonly kind: 'adjustment'
  /** Usage and minimums of that period as rated now. */
  readonly ratedMinor: bigint
  /** What was invoiced for them before. */
  readonly invoicedMinor: bigint
  /** Tokens of the period by model and pool that were not there, or were there too much, when it was invoiced last. */
  readonly differences: readonly UsageDifference[]
}

export interface UsageDifference {
  readonly model: string
  readonly pool: TokenPool
  /** Below zero for what was voided. */
  readonly tokens: bigint
}

export type InvoiceLine = BaseFeeInvoiceLine | UsageInvoiceLine | MinimumInvoiceLine | AdjustmentInvoiceLine

/** The customer as it was when the invoice was made. */
export type BillTo = Pick<
  Customer,
  | 'kind'
  | 'legalName'
  | 'country'
  | 'locale'
  | 'timeZone'
  | 'taxId'
  | 'registrationNumber'
  | 'contractReference'
  | 'purchaseOrderNumber'
>

/** What an invoice states. */
export interface InvoiceContent extends InvoiceTotals {
  readonly customerId: string
  readonly subscriptionId: string
  /** ms; unique with the subscription. */
  readonly boundary: number
  /** The period that ended; null on the first invoice, and on a settlement after the last one. */
  readonly period: Period | null
  /** ISO 4217. */
  readonly currency: string
  readonly billTo: BillTo
  /** Days after issuing until it is due; 0: on receipt. */
  readonly paymentTermsDays: number
  readonly lines: readonly InvoiceLine[]
}

export interface Invoice extends InvoiceContent {
  /** UUID v7. */
  readonly id: string
  readonly status: InvoiceStatus
  /** Gapless per issuer; null until finalized. */
  readonly number: string | null
  /** As it was when the invoice was finalized; null until then. */
  readonly issuer: Issuer | null
  /** Of the customer's credit, used when it was finalized. */
  readonly creditAppliedMinor: bigint
  /** Total less credit, never below zero: what is to be paid in all. */
  readonly dueMinor: bigint
  readonly paidMinor: bigint
  /** Taken off what is due by credit notes. */
  readonly creditedMinor: bigint
  /** ms; null until finalized. */
  readonly finalizedAt: number | null
  readonly dueAt: number | null
  /** When it was paid, voided or given up. */
  readonly closedAt: number | null
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** An invoice without its lines: what listing and collecting read. */
export type InvoiceHead = Omit<Invoice, 'lines'>

/** What is still to be paid. */
export function openMinor({
  dueMinor,
  paidMinor,
  creditedMinor
}: Pick<Invoice, 'dueMinor' | 'paidMinor' | 'creditedMinor'>): bigint {
  return dueMinor - paidMinor - creditedMinor
}

/** Who invoices: printed on them, and whose numbers they are. */
export interface Issuer {
  readonly name: string
  /** Lines of it, as printed. */
  readonly address: readonly string[]
  readonly taxId: string | null
  /** How to pay by hand, printed at the foot: a bank account, a mobile money number. */
  readonly paymentInstructions: string | null
}
