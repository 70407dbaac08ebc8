// Ledger rows between their two forms: decimal digits in Postgres, where a sum has no bound, and numbers in the domain,
// which are exact below 2^53 only. A greater sum comes as several rows of one key, whose sum it is.

import type { LedgerRow } from '../../domain/ports.ts'
import { TOKEN_POOLS, type TokenPool, type TokenPools } from '../../domain/tokens/token-pools.ts'

const PART_MAX = BigInt(Number.MAX_SAFE_INTEGER)

/** A sum per pool as the drivers give it: numeric and bigint are text. */
export interface PoolSums {
  readonly input: string
  readonly cache_read: string
  readonly cache_write: string
  readonly output: string
  readonly reasoning: string
  readonly events: string
}

/** A row of usage_ledger, or of a sum over its partitions. */
export interface LedgerColumns extends PoolSums {
  readonly customer_id: string
  readonly user_id: string
  readonly model: string
  readonly quarter: number
}

/** Exact sums, whatever their size. */
export type TokenSums = Readonly<Record<TokenPool, bigint>>

export function toTokenSums(sums: PoolSums): TokenSums {
  return {
    input: BigInt(sums.input),
    cacheRead: BigInt(sums.cache_read),
    cacheWrite: BigInt(sums.cache_write),
    output: BigInt(sums.output),
    reasoning: BigInt(sums.reasoning)
  }
}

export function toLedgerRows(columns: readonly LedgerColumns[]): readonly LedgerRow[] {
  return columns.flatMap((row) => {
    const key = { customerId: row.customer_id, userId: row.user_id, model: row.model, quarter: row.quarter }
    const tokens = {
      input: Number(row.input),
      cacheRead: Number(row.cache_read),
      cacheWrite: Number(row.cache_write),
      output: Number(row.output),
      reasoning: Number(row.reasoning)
    }
    if (TOKEN_POOLS.every((pool) => Number.isSafeInteger(tokens[pool]))) {
      return [{ ...key, tokens, events: Number(row.events) }]
    }
    return splitSums(toTokenSums(row)).map((part, i) => ({
      ...key,
      tokens: part,
      events: i === 0 ? Number(row.events) : 0
    }))
  })
}

function splitSums(sums: TokenSums): readonly TokenPools[] {
  const parts: TokenPools[] = []
  let rest = sums
  while (TOKEN_POOLS.some((pool) => rest[pool] !== 0n)) {
    const part = mapPools((pool) => clamp(rest[pool]))
    const before = rest
    rest = mapPools((pool) => before[pool] - part[pool])
    parts.push(mapPools((pool) => Number(part[pool])))
  }
  return parts
}

function clamp(sum: bigint): bigint {
  if (sum > PART_MAX) return PART_MAX
  return sum < -PART_MAX ? -PART_MAX : sum
}

function mapPools<T>(amountOf: (pool: TokenPool) => T): Readonly<Record<TokenPool, T>> {
  return {
    input: amountOf('input'),
    cacheRead: amountOf('cacheRead'),
    cacheWrite: amountOf('cacheWrite'),
    output: amountOf('output'),
    reasoning: amountOf('reasoning')
  }
}
