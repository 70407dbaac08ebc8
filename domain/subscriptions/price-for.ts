/** Which price of a plan a usage has. */
import type { TokenPool } from '../tokens/token-pools.ts'
import type { Price } from './plan.ts'

/** What is to be priced. */
export interface PricedUsage {
  readonly pool: TokenPool
  /** Exact name, as the usage event has it. */
  readonly model: string
  /** When it was used, ms. */
  readonly at: number
}

/**
 * The price in force: of those whose time had come, the one that names the model; else the longest prefix of it; of equals the
 * latest. A longer pattern whose time comes later leaves the usage before it to a shorter one. Null: nothing prices it, which is
 * not the same as free: billing parks the subscription.
 */
export function priceFor(prices: readonly Price[], usage: PricedUsage): Price | null {
  let best: Price | null = null
  for (const price of prices) {
    if (isInForce(price, usage) && (best === null || isBefore(price, best))) best = price
  }
  return best
}

function isInForce(price: Price, { pool, model, at }: PricedUsage): boolean {
  return price.pool === pool && startOf(price) <= at && fits(price.model, model)
}

function fits(pattern: string, model: string): boolean {
  return pattern.endsWith('*') ? model.startsWith(pattern.slice(0, -1)) : pattern === model
}

/** Both fit one model: of two that do, an exact name is the longest there can be, and equal lengths are equal patterns. */
function isBefore(price: Price, other: Price): boolean {
  const [length, otherLength] = [lengthOf(price.model), lengthOf(other.model)]
  return length > otherLength || (length === otherLength && startOf(price) > startOf(other))
}

function lengthOf(pattern: string): number {
  return pattern.endsWith('*') ? pattern.length - 1 : Number.POSITIVE_INFINITY
}

function startOf({ effectiveFrom }: Price): number {
  return effectiveFrom ?? Number.NEGATIVE_INFINITY
}
