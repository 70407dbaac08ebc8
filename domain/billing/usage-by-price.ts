/** Which tokens of a segment each of its prices is for, by event time. */
import type { LedgerRow } from '../ports.ts'
import type { Price } from '../subscriptions/plan.ts'
import { priceFor } from '../subscriptions/price-for.ts'
import { quarterOf, quarterStartMs } from '../tokens/quarter-hour.ts'
import { TOKEN_POOLS, type TokenPool } from '../tokens/token-pools.ts'

/** Rows of one customer, whoever of its users used the tokens. */
export type RatedRow = Pick<LedgerRow, 'model' | 'quarter' | 'tokens'>

/** A part of the period in which one plan version holds. */
export interface RatingSegment {
  readonly prices: readonly Price[]
  /** Quarters, [from, to). */
  readonly from: number
  readonly to: number
  /** In any order, none outside of the segment. */
  readonly usage: readonly RatedRow[]
}

/** The time in which a price is in force, whether it is used or not. */
export interface Stretch {
  readonly price: Price
  /** Quarters, [from, to). */
  readonly from: number
  readonly to: number
  /** By exact name of the model, above zero. */
  readonly tokens: ReadonlyMap<string, bigint>
}

export interface UnratedUsage {
  readonly pool: TokenPool
  readonly model: string
  readonly tokens: bigint
  /** `negative`: more was taken back than the ledger has, which no sum of usage and its corrections can be. */
  readonly reason: 'unpriced' | 'negative'
}

/** Stretches in order of time, of equal ones as the plan lists its prices. */
export function usageByPrice(segment: RatingSegment): {
  readonly stretches: readonly Stretch[]
  readonly unrated: readonly UnratedUsage[]
} {
  const tokensOf = new Map<Price, Map<string, bigint>>(segment.prices.map((price) => [price, new Map()]))
  const unrated: UnratedUsage[] = []
  for (const { pool, model, quarter, tokens } of sumUsage(segment)) {
    const price = priceFor(segment.prices, { pool, model, at: quarterStartMs(quarter) })
    const sums = price === null ? undefined : tokensOf.get(price)
    if (tokens < 0n) unrated.push({ pool, model, tokens, reason: 'negative' })
    else if (sums === undefined && tokens > 0n) unrated.push({ pool, model, tokens, reason: 'unpriced' })
    else if (tokens > 0n) sums?.set(model, tokens + (sums.get(model) ?? 0n))
  }
  const stretches = [...tokensOf].flatMap(([price, tokens]) => {
    const span = timeOf(price, segment)
    return span.from < span.to ? [{ price, ...span, tokens }] : []
  })
  return { stretches: stretches.toSorted((a, b) => a.from - b.from), unrated }
}

interface UsageSum {
  readonly pool: TokenPool
  readonly model: string
  /** The first in which this usage can lie: all of it has the price of this one. */
  readonly quarter: number
  tokens: bigint
}

/** By pool, model and era. A plan has up to 500 prices, so a price is looked for once a sum, not once a row. */
function sumUsage({ prices, from, usage }: RatingSegment): Iterable<UsageSum> {
  const eras = [...new Set([from, ...prices.map((price) => Math.max(from, startOf(price)))])].toSorted((a, b) => b - a)
  const sums = new Map<string, UsageSum>()
  for (const row of usage) {
    const quarter = eras.find((era) => era <= row.quarter) ?? from
    for (const pool of TOKEN_POOLS) {
      if (row.tokens[pool] === 0) continue
      const key = `${pool} ${quarter} ${row.model}`
      const sum = sums.get(key) ?? { pool, model: row.model, quarter, tokens: 0n }
      sum.tokens += BigInt(row.tokens[pool])
      sums.set(key, sum)
    }
  }
  return sums.values()
}

/** Until the next price of the same pool and pattern takes its place, of whatever charge model. */
function timeOf(price: Price, { prices, from, to }: RatingSegment): { readonly from: number; readonly to: number } {
  const start = startOf(price)
  let end = to
  for (const other of prices) {
    if (other.pool !== price.pool || other.model !== price.model) continue
    const otherStart = startOf(other)
    if (otherStart > start && otherStart < end) end = otherStart
  }
  return { from: Math.max(from, start), to: end }
}

/** Publishing lets a price begin with a full quarter only. */
function startOf({ effectiveFrom }: Price): number {
  return effectiveFrom === null ? Number.NEGATIVE_INFINITY : quarterOf(effectiveFrom)
}
