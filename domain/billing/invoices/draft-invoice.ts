/** From the story of a boundary and its usage to what the invoice states, or why it can't be made. Pure: the same story, the same invoice. */
import { quarterOf, quarterStartMs } from '../../tokens/quarter-hour.ts'
import { TOKEN_POOLS, type TokenPool } from '../../tokens/token-pools.ts'
import { baseFeeLines } from '../boundary-fees.ts'
import { sumOf } from '../exact-amounts.ts'
import { invoiceTotals, type LineClass, type TaxRate } from '../invoice-totals.ts'
import { type MinimumLine, type Rating, rateUsage, type UsageLine } from '../rate-usage.ts'
import {
  type BilledPeriod,
  type BoundaryStory,
  holdingsOf,
  type InvoicedPeriod,
  isCharged,
  planOf,
  type StretchUsage
} from './boundary-story.ts'
import type {
  AdjustmentInvoiceLine,
  BaseFeeInvoiceLine,
  InvoiceContent,
  InvoiceLine,
  MinimumInvoiceLine,
  UsageDifference,
  UsageInvoiceLine
} from './invoice.ts'
import type { ParkReason } from './park-reason.ts'

export interface DraftAsk {
  readonly story: BoundaryStory
  /** Of each stretch of `stretchesOf(story)`. */
  readonly usage: readonly StretchUsage[]
  /** Of the customer's country. */
  readonly taxRates: Readonly<Record<LineClass, TaxRate | null>>
}

export type Drafted =
  | { readonly content: InvoiceContent }
  /** A trial, a pause of a whole period: there is nothing to say. */
  | { readonly content: null }
  | { readonly parked: ParkReason }

export function draftInvoice({ story, usage, taxRates }: DraftAsk): Drafted {
  const rated = story.ended === null ? NOTHING : rateEnded(story.ended, story, usage)
  if ('unrated' in rated) return parked(rated)
  const adjustments: AdjustmentInvoiceLine[] = []
  for (const earlier of story.earlier) {
    const again = rateEnded(earlier.period, story, usage)
    if ('unrated' in again) return parked(again)
    const line = adjustmentOf(earlier, again)
    if (line !== null) adjustments.push(line)
  }
  const lines: readonly InvoiceLine[] = [
    ...usageLinesOf(rated),
    ...(story.ended === null ? [] : minimumLinesOf(story.ended, rated)),
    ...adjustments,
    ...feeLinesOf(story)
  ]
  return { content: lines.length === 0 ? null : contentOf(story, lines, taxRates) }
}

function contentOf(
  story: BoundaryStory,
  lines: readonly InvoiceLine[],
  taxRates: DraftAsk['taxRates']
): InvoiceContent {
  const { boundary, customer, ended, grants } = story
  const currency = currencyOf(story)
  return {
    customerId: boundary.customerId,
    subscriptionId: boundary.subscriptionId,
    boundary: boundary.at,
    period: ended === null ? null : { start: ended.start, end: ended.end },
    currency,
    billTo: {
      kind: customer.kind,
      legalName: customer.legalName,
      country: customer.country,
      locale: customer.locale,
      timeZone: customer.timeZone,
      taxId: customer.taxId,
      registrationNumber: customer.registrationNumber,
      contractReference: customer.contractReference,
      purchaseOrderNumber: customer.purchaseOrderNumber
    },
    paymentTermsDays: customer.paymentTermsDays,
    lines,
    ...invoiceTotals({ lines, currency, taxRates, grants, at: grantsAt(story) })
  }
}

/** A subscription that began later on its first day uses grants of that day. */
function grantsAt(story: BoundaryStory): number {
  const { boundary, begins } = story
  return Math.max(boundary.at, begins === null ? boundary.at : (feesOf(begins, story)[0]?.from ?? boundary.at))
}

type Rated = Exclude<Rating, { readonly unrated: unknown }>

const NOTHING: Rated = { lines: [], minimums: [] }

function parked({ unrated }: Extract<Rating, { readonly unrated: unknown }>): Drafted {
  return { parked: { code: 'unrated-usage', usage: unrated } }
}

/** A trial is not rated, nor what was used in a pause. */
function rateEnded(period: BilledPeriod, story: BoundaryStory, usage: readonly StretchUsage[]): Rating {
  if (period.isTrial) return NOTHING
  const charged = holdingsOf(period, story.changes).filter(({ status }) => isCharged(status))
  return rateUsage({
    // Shares of allowances and minimums are of the whole period, though it was cut short.
    period: { start: period.start, end: period.fullEnd },
    timeZone: period.timeZone,
    currency: currencyOf(story),
    segments: charged.map(({ from: fromMs, to: toMs, planId }) => {
      const [from, to] = [quarterOf(fromMs), quarterOf(toMs)]
      const within = usage.filter((stretch) => stretch.from >= from && stretch.to <= to)
      return { prices: planOf(story.plans, planId).prices, from, to, usage: within.flatMap(({ rows }) => rows) }
    })
  })
}

/** All plans of a subscription are in one currency, its customer's. */
function currencyOf({ begins, ended, earlier, plans }: BoundaryStory): string {
  const period = begins ?? ended ?? earlier.at(-1)?.period
  if (period === undefined) throw new Error('a boundary at which no period begins or ended')
  return planOf(plans, period.planId).currency
}

function usageLinesOf({ lines }: Rated): readonly UsageInvoiceLine[] {
  return lines.map((line: UsageLine) => ({
    kind: 'usage',
    lineClass: 'usage',
    from: quarterStartMs(line.from),
    to: quarterStartMs(line.to),
    pool: line.price.pool,
    model: line.price.model,
    chargeModel: line.price.chargeModel,
    perTokens: line.price.perTokens,
    models: line.models,
    quantity: line.quantity,
    includedTokens: line.includedTokens,
    chargedTokens: line.chargedTokens,
    tiers: line.tiers,
    amountMinor: line.amountMinor
  }))
}

function minimumLinesOf({ start, end }: BilledPeriod, { minimums }: Rated): readonly MinimumInvoiceLine[] {
  return minimums.map((minimum: MinimumLine) => ({
    kind: 'minimum',
    lineClass: 'minimum',
    from: start,
    to: end,
    pool: minimum.price.pool,
    model: minimum.price.model,
    minimumMinor: minimum.minimumMinor,
    chargedMinor: minimum.chargedMinor,
    amountMinor: minimum.amountMinor
  }))
}

/** Null when the period comes to what was invoiced for it. */
function adjustmentOf({ period, lines, isVoid }: InvoicedPeriod, rated: Rated): AdjustmentInvoiceLine | null {
  const ratedMinor = sumOf([...rated.lines, ...rated.minimums].map(({ amountMinor }) => amountMinor))
  const invoicedMinor = sumOf(lines.map(({ amountMinor }) => amountMinor))
  const differences = differencesOf(rated, lines)
  if (ratedMinor === invoicedMinor && differences.length === 0) return null
  if (isVoid && ratedMinor <= invoicedMinor) return null
  return {
    kind: 'adjustment',
    lineClass: 'usage',
    from: period.start,
    to: period.end,
    ratedMinor,
    invoicedMinor,
    differences,
    amountMinor: ratedMinor - invoicedMinor
  }
}

/** Ascending by model, then as pools are listed. */
function differencesOf(rated: Rated, invoiced: readonly InvoiceLine[]): readonly UsageDifference[] {
  const sums = new Map<string, Record<TokenPool, bigint>>()
  const add = (model: string, pool: TokenPool, tokens: bigint) => {
    const pools = sums.get(model) ?? { input: 0n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n }
    pools[pool] += tokens
    sums.set(model, pools)
  }
  for (const { price, models } of rated.lines) for (const { model, tokens } of models) add(model, price.pool, tokens)
  for (const line of invoiced) {
    if (line.kind === 'usage') for (const { model, tokens } of line.models) add(model, line.pool, -tokens)
    if (line.kind === 'adjustment') for (const { model, pool, tokens } of line.differences) add(model, pool, -tokens)
  }
  return [...sums]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([model, pools]) => TOKEN_POOLS.map((pool) => ({ model, pool, tokens: pools[pool] })))
    .filter(({ tokens }) => tokens !== 0n)
}

function feeLinesOf(story: BoundaryStory): readonly BaseFeeInvoiceLine[] {
  const { begins, ended } = story
  const fees = ended === null ? [] : paidFees(ended, story)
  const changes = fees.slice(1).map((fee, i) => ({ at: fee.from, before: fees[i] ?? fee, after: fee }))
  const advance = begins === null ? undefined : feesOf(begins, story)[0]
  const lines = baseFeeLines({
    begins: begins === null ? null : { period: begins, feeMinor: advance?.feeMinor ?? 0n },
    ends:
      ended === null
        ? null
        : {
            period: { start: ended.start, end: ended.fullEnd },
            timeZone: ended.timeZone,
            changes: changes.map(({ at, before, after }) => ({
              at,
              oldFeeMinor: before.feeMinor,
              newFeeMinor: after.feeMinor
            }))
          }
  })
  return lines.map((line) => {
    const change = changes.find(({ at }) => at === line.from)
    const fee = line.reason === 'advance' ? advance : line.reason === 'credit' ? change?.before : change?.after
    if (fee === undefined) throw new Error(`a fee from ${line.from} on is of no plan`)
    return { kind: 'base-fee', lineClass: 'base-fee', ...line, planId: fee.planId }
  })
}

/**
 * The fees of an ended period, the first as it was paid. It is another than the plan's when a change in the first quarter-hour came
 * after it was invoiced: then it changes where the period begins.
 */
function paidFees(ended: BilledPeriod, story: BoundaryStory): readonly Fee[] {
  const [first, ...later] = feesOf(ended, story)
  if (first === undefined || story.advance === null) return first === undefined ? [] : [first, ...later]
  const { amountMinor, isVoid } = story.advance
  if (isVoid) return [{ ...first, feeMinor: 0n }, ...later]
  if (amountMinor === first.feeMinor) return [first, ...later]
  return [{ ...first, feeMinor: amountMinor }, { ...first, from: ended.start }, ...later]
}

interface Fee {
  /** ms. */
  readonly from: number
  readonly planId: string
  readonly feeMinor: bigint
}

/**
 * What the base fee is through a period. It begins with what was paid in advance, and the first day is paid for whole: also by a
 * subscription that began, or was activated, later on that day. The end of one that was cut off is its last change.
 */
function feesOf(period: BilledPeriod, { changes, plans }: BoundaryStory): readonly Fee[] {
  if (period.isTrial) return [{ from: period.start, planId: period.planId, feeMinor: 0n }]
  const holdings = [...holdingsOf(period, changes)]
  while (holdings[0]?.status === 'trialing') holdings.shift()
  const fees = holdings.map(({ from, planId, status }) => ({
    from,
    planId,
    feeMinor: isCharged(status) ? planOf(plans, planId).baseFeeMinor : 0n
  }))
  const end = period.end < period.fullEnd ? changes.findLast(({ at }) => at <= period.end) : undefined
  if (end !== undefined && !isCharged(end.toStatus)) fees.push({ from: period.end, planId: end.toPlanId, feeMinor: 0n })
  return fees.filter((fee, i) => i === 0 || fee.feeMinor !== fees[i - 1]?.feeMinor)
}
