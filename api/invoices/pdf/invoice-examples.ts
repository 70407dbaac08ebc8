/** Invoices for tests, with totals reckoned by the product's own rules. */
import { invoiceTotals, type TaxRate } from '../../../domain/billing/invoice-totals.ts'
import type { Invoice, InvoiceLine, Issuer, UsageInvoiceLine } from '../../../domain/billing/invoices/invoice.ts'
import type { InvoicedPlans } from './describe-line.ts'

export const JUNE = { start: Date.parse('2026-06-01T00:00Z'), end: Date.parse('2026-07-01T00:00Z') }
export const JULY = { start: JUNE.end, end: Date.parse('2026-08-01T00:00Z') }
export const MID_JUNE = Date.parse('2026-06-16T08:15Z')
const ISSUED_AT = Date.parse('2026-07-01T02:10Z')
const HOUR_MS = 3_600_000

export const ISSUER: Issuer = {
  name: 'Sahel Compute SA',
  address: ['12 avenue Léopold Sédar Senghor', 'Dakar, Sénégal'],
  taxId: '005123456 2G3',
  paymentInstructions: 'Banque Atlantique, SN08 SN01 0015 2000 0485 0000 3035\nMobile money: +221 77 000 00 00'
}

export const PLANS: InvoicedPlans = new Map([
  ['plan-s', { code: 'essentiel', version: 3, title: 'Essentiel' }],
  ['plan-l', { code: 'croissance', version: 1, title: 'Croissance' }]
])

const SME = {
  kind: 'sme',
  legalName: 'Boulangerie Ndiaye & Frères SARL',
  country: 'SN',
  locale: 'fr',
  timeZone: 'Africa/Dakar',
  taxId: '007654321 2B2',
  registrationNumber: null,
  contractReference: null,
  purchaseOrderNumber: null
} as const satisfies Invoice['billTo']

const INSTITUTION = {
  kind: 'institution',
  legalName: 'First Continental Bank Plc',
  country: 'GH',
  locale: 'en',
  timeZone: 'Africa/Accra',
  taxId: null,
  registrationNumber: 'BG-2011-0042',
  contractReference: 'MSA-2026-17',
  purchaseOrderNumber: 'PO 88-1203'
} as const satisfies Invoice['billTo']

const NO_TAX = { 'base-fee': null, usage: null, minimum: null }

function taxedAt(percent: string, isInclusive: boolean): Readonly<Record<'base-fee' | 'usage' | 'minimum', TaxRate>> {
  const rate = { percent, isInclusive }
  return { 'base-fee': rate, usage: rate, minimum: rate }
}

interface Stated {
  readonly lines: readonly InvoiceLine[]
  readonly currency: string
  readonly taxRates?: Readonly<Record<'base-fee' | 'usage' | 'minimum', TaxRate | null>>
  readonly grantMinor?: bigint
}

/** Finalized with a number, and due in 30 days. */
function invoiceOf(stated: Stated, change: Partial<Invoice>): Invoice {
  const { lines, currency, taxRates = NO_TAX, grantMinor = 0n } = stated
  const grants = grantMinor === 0n ? [] : [moneyGrant(grantMinor, currency)]
  const totals = invoiceTotals({ lines, currency, taxRates, grants, at: JUNE.end })
  const creditAppliedMinor = change.creditAppliedMinor ?? 0n
  const owed = totals.totalMinor - creditAppliedMinor
  return {
    ...totals,
    id: '019f0c5e-0000-7000-8000-000000000001',
    customerId: '019f0c5e-0000-7000-8000-000000000002',
    subscriptionId: '019f0c5e-0000-7000-8000-000000000003',
    boundary: JUNE.end,
    period: JUNE,
    currency,
    billTo: SME,
    paymentTermsDays: 30,
    lines,
    issuer: null,
    status: 'finalized',
    number: 'INV-2026-000042',
    creditAppliedMinor,
    dueMinor: owed > 0n ? owed : 0n,
    paidMinor: 0n,
    creditedMinor: 0n,
    finalizedAt: ISSUED_AT,
    dueAt: ISSUED_AT + 720 * HOUR_MS,
    closedAt: null,
    version: 2,
    createdAt: ISSUED_AT,
    updatedAt: ISSUED_AT,
    ...change
  }
}

function moneyGrant(amountMinor: bigint, currency: string) {
  return {
    id: 'grant',
    customerId: 'customer',
    amount: { kind: 'money', amountMinor, currency },
    priority: 1,
    source: 'promotion',
    effectiveAt: JUNE.start,
    expiresAt: null,
    limitId: null,
    revokedAt: null,
    burnt: 0n,
    settledUntil: null,
    version: 1,
    createdAt: JUNE.start,
    updatedAt: JUNE.start
  } as const
}

export function usageLine(change: Partial<UsageInvoiceLine> = {}): UsageInvoiceLine {
  return {
    kind: 'usage',
    lineClass: 'usage',
    amountMinor: 15_000n,
    from: JUNE.start,
    to: JUNE.end,
    pool: 'input',
    model: 'gpt-4*',
    chargeModel: 'graduated',
    perTokens: 1_000_000,
    models: [
      { model: 'gpt-4o', tokens: 60_000_000n },
      { model: 'gpt-4o-mini', tokens: 1_000_000n }
    ],
    quantity: 61_000_000n,
    includedTokens: 1_000_000n,
    chargedTokens: 60_000_000n,
    tiers: [
      { upTo: 10_000_000, tokens: 10_000_000n, packages: null, amount: '3', amountMinor: 3_000n },
      { upTo: 50_000_000, tokens: 40_000_000n, packages: null, amount: '2.50', amountMinor: 10_000n },
      { upTo: null, tokens: 10_000_000n, packages: null, amount: '2', amountMinor: 2_000n }
    ],
    ...change
  }
}

/** One tier at `amount` for a million tokens. */
export function flatUsageLine(amount: string, amountMinor: bigint, tokens: bigint): UsageInvoiceLine {
  return usageLine({
    chargeModel: 'per_unit',
    model: 'mistral-large',
    models: [{ model: 'mistral-large', tokens }],
    pool: 'output',
    amountMinor,
    quantity: tokens,
    includedTokens: 0n,
    chargedTokens: tokens,
    tiers: [{ upTo: null, tokens, packages: null, amount, amountMinor }]
  })
}

/** French, in XOF, with included tax, a grant and credit. */
export function smeInvoice(change: Partial<Invoice> = {}): Invoice {
  const lines: readonly InvoiceLine[] = [
    flatUsageLine('1850.5', 4_570n, 2_469_600n),
    usageLine({
      chargeModel: 'package',
      model: '*',
      amountMinor: 13_000n,
      tiers: [{ upTo: null, tokens: 60_000_000n, packages: 60n, amount: '216.67', amountMinor: 13_000n }]
    }),
    {
      kind: 'minimum',
      lineClass: 'minimum',
      pool: 'output',
      model: 'mistral-large',
      minimumMinor: 10_000n,
      chargedMinor: 4_570n,
      amountMinor: 5_430n,
      from: JUNE.start,
      to: JUNE.end
    },
    {
      kind: 'base-fee',
      lineClass: 'base-fee',
      reason: 'advance',
      planId: 'plan-s',
      amountMinor: 1_250_000n,
      from: JULY.start,
      to: JULY.end
    }
  ]
  const stated = { lines, currency: 'XOF', taxRates: taxedAt('18', true), grantMinor: 20_000n }
  return invoiceOf(stated, { creditAppliedMinor: 15_000n, ...change })
}

/** English, in EUR, with tax on top; usage before and after a change of plan, and as many lines as are asked for. */
export function institutionInvoice(usageLines: number, change: Partial<Invoice> = {}): Invoice {
  const all = { upTo: null, tokens: 60_000_000n, packages: null, amount: '2.50', amountMinor: 15_000n }
  const usage = Array.from({ length: usageLines }, (_, i) =>
    i % 2 === 0
      ? usageLine({ to: MID_JUNE, model: `gpt-${i}*` })
      : usageLine({ from: MID_JUNE, model: `claude-${i}-*`, chargeModel: 'volume', tiers: [all] })
  )
  const fee = { kind: 'base-fee', lineClass: 'base-fee' } as const
  const rest = { from: MID_JUNE, to: JUNE.end }
  const lines: readonly InvoiceLine[] = [
    ...usage,
    { ...fee, reason: 'credit', planId: 'plan-s', amountMinor: -1_500n, ...rest },
    { ...fee, reason: 'charge', planId: 'plan-l', amountMinor: 4_500n, ...rest },
    { ...fee, reason: 'advance', planId: 'plan-l', amountMinor: 9_000n, from: JULY.start, to: JULY.end }
  ]
  const taxRates = { ...taxedAt('19.25', false), 'base-fee': null }
  return invoiceOf({ lines, currency: 'EUR', taxRates }, { billTo: INSTITUTION, ...change })
}

/** French, in TND, an hour before UTC: usage of May that was taken back comes to more than what June costs. */
export function creditInvoice(change: Partial<Invoice> = {}): Invoice {
  const period = { start: JUNE.start - HOUR_MS, end: JUNE.end - HOUR_MS }
  const lines: readonly InvoiceLine[] = [
    { ...flatUsageLine('5', 12_345n, 2_469_000n), from: period.start, to: period.end },
    {
      kind: 'adjustment',
      lineClass: 'usage',
      ratedMinor: 1_000_250n,
      invoicedMinor: 1_234_567n,
      amountMinor: -234_317n,
      from: Date.parse('2026-04-30T23:00Z'),
      to: period.start,
      differences: [
        { model: 'mistral-large', pool: 'output', tokens: -46_863_400n },
        { model: 'mistral-large', pool: 'reasoning', tokens: 1_200n }
      ]
    }
  ]
  const billTo = { ...SME, country: 'TN', timeZone: 'Africa/Tunis' }
  return invoiceOf({ lines, currency: 'TND', taxRates: taxedAt('19', false) }, { billTo, period, ...change })
}
