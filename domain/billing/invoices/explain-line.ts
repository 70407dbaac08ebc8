/**
 * What stands behind a line of an invoice: the ledger's rows, and the events behind those. A line names its time, its models and the
 * pattern of its price; which of the usage in that time had this price is told by the plans as they were held.
 */
import type { Page, PageAsked } from '../../page.ts'
import type { Price } from '../../subscriptions/plan.ts'
import { priceFor } from '../../subscriptions/price-for.ts'
import { quarterOf, quarterStartMs } from '../../tokens/quarter-hour.ts'
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { UsageEvent } from '../../tokens/usage-event.ts'
import { type BoundaryStory, holdingsOf, isCharged, planOf } from './boundary-story.ts'
import type { AdjustmentInvoiceLine, InvoiceLine, UsageInvoiceLine } from './invoice.ts'

/** Tokens of a pool and an exact model in a stretch of time. */
export interface LineSource {
  readonly pool: TokenPool
  readonly model: string
  /** Quarters, [from, to). */
  readonly from: number
  readonly to: number
}

export interface LineUsageAsk extends PageAsked {
  readonly customerId: string
  readonly sources: readonly LineSource[]
}

export interface LineUsage {
  readonly pool: TokenPool
  readonly model: string
  readonly quarter: number
  readonly tokens: bigint
}

/** The ledger as it is now: what came after the invoice is in it as well. */
export interface LineLedger {
  /** By quarter, model and pool, over all users; none without tokens. Throws `ForeignCursorError`. */
  lineUsage(ask: LineUsageAsk): Promise<Page<LineUsage>>
}

export interface LineEvents {
  /** By their own time. Throws `ForeignCursorError`. */
  lineEvents(ask: LineUsageAsk): Promise<Page<UsageEvent>>
}

/**
 * Of a usage line what it charges, its tokens included. Of an adjustment all usage of that period in the pools and models that differ:
 * what was invoiced before and what came since. Of others nothing.
 */
export function sourcesOf(
  line: InvoiceLine,
  { changes, plans }: Pick<BoundaryStory, 'changes' | 'plans'>
): readonly LineSource[] {
  if (line.kind !== 'usage' && line.kind !== 'adjustment') return []
  const charged = holdingsOf({ start: line.from, end: line.to }, changes).filter(({ status }) => isCharged(status))
  return charged.flatMap(({ from, to, planId }) => {
    const stretch = { from: quarterOf(from), to: quarterOf(to) }
    return line.kind === 'usage' ? pricedAs(line, stretch, planOf(plans, planId).prices) : differing(line, stretch)
  })
}

type Stretch = Pick<LineSource, 'from' | 'to'>

function differing({ differences }: AdjustmentInvoiceLine, stretch: Stretch): readonly LineSource[] {
  return differences.map(({ model, pool }) => ({ pool, model, ...stretch }))
}

/** A longer pattern whose time comes within the line's takes a model out of it. */
function pricedAs(line: UsageInvoiceLine, { from, to }: Stretch, prices: readonly Price[]): readonly LineSource[] {
  const { pool, model: pattern, chargeModel, models } = line
  const starts = prices.flatMap(({ effectiveFrom }) => (effectiveFrom === null ? [] : [quarterOf(effectiveFrom)]))
  const cuts = [...new Set([from, ...starts.filter((start) => start > from && start < to)])].toSorted((a, b) => a - b)
  return models.flatMap(({ model }) =>
    cuts.flatMap((start, i) => {
      const price = priceFor(prices, { pool, model, at: quarterStartMs(start) })
      const isOfLine = price?.model === pattern && price.chargeModel === chargeModel
      return isOfLine ? [{ pool, model, from: start, to: cuts[i + 1] ?? to }] : []
    })
  )
}
