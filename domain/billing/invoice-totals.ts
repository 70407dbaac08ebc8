/**
 * From lines to what is to be paid: subtotal − grants + tax = total, in whole minor units throughout.
 *
 * Grants are taken off before tax: tax was paid when a grant was bought, and one that was given is a discount. Tax is rounded once
 * per rate, on the sum of its lines less their share of the grants.
 */
import { compareBurnOrder, type Grant } from '../tokens/grants/grant.ts'
import { allocate, DECIMAL_ONE, parseDecimal, roundedQuotient, smallerOf, sumOf } from './exact-amounts.ts'

export const LINE_CLASSES = ['base-fee', 'usage', 'minimum'] as const
/** What a line is, for tax. */
export type LineClass = (typeof LINE_CLASSES)[number]

export interface TotalledLine {
  readonly lineClass: LineClass
  /** Below zero for a credit. */
  readonly amountMinor: bigint
}

export interface TaxRate {
  /** Decimal text, `19.25` for instance. */
  readonly percent: string
  /** Whether the amounts of lines hold it already; otherwise it comes on top. */
  readonly isInclusive: boolean
}

export interface TotalsAsk {
  readonly lines: readonly TotalledLine[]
  /** ISO 4217, of the lines. */
  readonly currency: string
  /** Null: not taxed. */
  readonly taxRates: Readonly<Record<LineClass, TaxRate | null>>
  /** Of the customer, in any order, tokens and other currencies too: what can't be used is passed over. */
  readonly grants: readonly Grant[]
  /** The boundary that is invoiced, ms. Grants count that hold then, or until then: its usage lies before it. */
  readonly at: number
}

/** Lines of one rate; the first has null as its rate when there are lines without tax. */
export interface TaxTotal {
  readonly rate: TaxRate | null
  /** Lines less grants, without the tax. */
  readonly netMinor: bigint
  readonly taxMinor: bigint
}

export interface InvoiceTotals {
  /** Sum of the lines. */
  readonly subtotalMinor: bigint
  /** What each grant gives, in the order in which they burn, none of them zero. */
  readonly burns: readonly { readonly grantId: string; readonly amountMinor: bigint }[]
  readonly grantsMinor: bigint
  readonly taxes: readonly TaxTotal[]
  /** Tax that comes on top. */
  readonly taxMinor: bigint
  /** Tax that the lines hold; part of subtotal and total. */
  readonly includedTaxMinor: bigint
  /** Below zero when credits exceed the charges: that is owed to the customer. */
  readonly totalMinor: bigint
}

/** Throws a RangeError for a rate that is no decimal. */
export function invoiceTotals(ask: TotalsAsk): InvoiceTotals {
  const groups = groupByRate(ask)
  const subtotalMinor = sumOf(groups.map(({ sumMinor }) => sumMinor))
  const burns = burnGrants(subtotalMinor, ask)
  const grantsMinor = sumOf(burns.map(({ amountMinor }) => amountMinor))
  const shares = allocate(
    grantsMinor,
    groups.map(({ sumMinor }) => (sumMinor > 0n ? sumMinor : 0n))
  )
  const taxes = groups.map(({ rate, sumMinor }, i) => taxOf(rate, sumMinor - (shares[i] ?? 0n)))
  const taxWhere = (isInclusive: boolean) =>
    sumOf(taxes.map(({ rate, taxMinor }) => (rate?.isInclusive === isInclusive ? taxMinor : 0n)))
  const taxMinor = taxWhere(false)
  return {
    subtotalMinor,
    burns,
    grantsMinor,
    taxes,
    taxMinor,
    includedTaxMinor: taxWhere(true),
    totalMinor: subtotalMinor - grantsMinor + taxMinor
  }
}

interface RateGroup {
  readonly rate: TaxRate | null
  readonly sumMinor: bigint
}

/** `18` and `18.0` are one rate. Those without tax stand first, then as `LINE_CLASSES` brings them. */
function groupByRate({ lines, taxRates }: TotalsAsk): readonly RateGroup[] {
  const groups = new Map<string, RateGroup>()
  for (const lineClass of LINE_CLASSES) {
    const ofClass = lines.filter((line) => line.lineClass === lineClass)
    if (ofClass.length === 0) continue
    const rate = taxRates[lineClass]
    const key = rate === null ? '' : `${parseDecimal(rate.percent)} ${rate.isInclusive}`
    const before = groups.get(key) ?? { rate, sumMinor: 0n }
    const sumMinor = before.sumMinor + sumOf(ofClass.map(({ amountMinor }) => amountMinor))
    groups.set(key, { ...before, sumMinor })
  }
  return [...groups.values()].toSorted((a, b) => Number(b.rate === null) - Number(a.rate === null))
}

function burnGrants(subtotalMinor: bigint, { grants, currency, at }: TotalsAsk): InvoiceTotals['burns'] {
  const burns: { readonly grantId: string; readonly amountMinor: bigint }[] = []
  let due = subtotalMinor
  for (const grant of grants.toSorted(compareBurnOrder)) {
    const { amount, burnt } = grant
    if (amount.kind !== 'money' || amount.currency !== currency || !holdsAt(grant, at)) continue
    const amountMinor = smallerOf(amount.amountMinor - burnt, due)
    if (amountMinor <= 0n) continue
    burns.push({ grantId: grant.id, amountMinor })
    due -= amountMinor
  }
  return burns
}

/** One that expires with the period pays for it; one that was taken back by then doesn't. */
function holdsAt({ effectiveAt, expiresAt, revokedAt }: Grant, at: number): boolean {
  return effectiveAt <= at && (expiresAt === null || at <= expiresAt) && (revokedAt === null || at < revokedAt)
}

function taxOf(rate: TaxRate | null, amountMinor: bigint): TaxTotal {
  if (rate === null) return { rate, netMinor: amountMinor, taxMinor: 0n }
  const percent = parseDecimal(rate.percent)
  const hundred = 100n * DECIMAL_ONE
  const taxMinor = roundedQuotient(amountMinor * percent, rate.isInclusive ? hundred + percent : hundred)
  return { rate, netMinor: rate.isInclusive ? amountMinor - taxMinor : amountMinor, taxMinor }
}
