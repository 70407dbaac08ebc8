/**
 * What usage adds to a customer's counters. The meter's scripts do the same one event at a time; here it is done for ledger
 * rows, when counters are rebuilt from the ledger or brought up to what lies before a cut.
 */
import type { CounterAmount, LedgerRow } from '../ports.ts'
import type { Counter, LimitScope, WindowBounds } from './limit.ts'
import { TOKEN_POOLS, type TokenPools } from './token-pools.ts'

/** Where sums stop: 2^53 - 1, the largest that the meter's numbers hold exactly. A cost that high is above every max. */
export const AMOUNT_MAX = Number.MAX_SAFE_INTEGER

/** Whether usage of a user (empty: not told) and a model belongs to a scope. */
export function matches(scope: LimitScope, userId: string, model: string): boolean {
  switch (scope.kind) {
    case 'customer':
    case 'each-model':
      return true
    case 'each-user':
      return userId !== ''
    case 'user':
      return userId !== '' && scope.userId === userId
    case 'model':
      return scope.model === model
    case 'user-model':
      return userId !== '' && scope.userId === userId && scope.model === model
  }
}

/** Weight per pool, in the order of TOKEN_POOLS, of one model: its own, or those of every model not named. */
export function weightsFor(counter: Counter, model: string): readonly number[] {
  // hasOwn: a model may be called like something every JavaScript object has.
  const weights = Object.hasOwn(counter.weights, model) ? counter.weights[model] : counter.weights['*']
  if (weights === undefined) throw new TypeError(`counter ${counter.id} has no weights for every model ("*")`)
  return weights
}

/** Whose sum of the counter the usage goes to: the user or model of an each-user or each-model counter, else empty. */
export function subjectOf(scope: LimitScope, userId: string, model: string): string {
  if (scope.kind === 'each-user') return userId
  return scope.kind === 'each-model' ? model : ''
}

/** Σ tokens × weight, exact up to ±AMOUNT_MAX, where it stops. */
export function weighted(tokens: TokenPools, weights: readonly number[]): number {
  let sum = 0
  for (const [i, pool] of TOKEN_POOLS.entries()) {
    const part = tokens[pool] * (weights[i] ?? 0)
    sum += part
    if (!Number.isSafeInteger(part) || !Number.isSafeInteger(sum)) return weightedExactly(tokens, weights)
  }
  return sum
}

/** Parts of different signs may cancel, so a part beyond 2^53 does not yet say that the sum is. */
function weightedExactly(tokens: TokenPools, weights: readonly number[]): number {
  let sum = 0n
  for (const [i, pool] of TOKEN_POOLS.entries()) sum += BigInt(tokens[pool]) * BigInt(weights[i] ?? 0)
  return saturated(Number(sum))
}

function saturated(sum: number): number {
  return Math.max(-AMOUNT_MAX, Math.min(AMOUNT_MAX, sum))
}

/**
 * What ledger rows add to each counter's listed windows, summed per counter, window and subject; zeros are left out. Rows of a
 * rolling counter go to their own quarter, from `rollingSince` on and within its windows if it lists any (a cut does). Rows outside of every listed window add nothing. A sum that
 * passes 2^53 - 1 on the way stays there, as in the meter.
 */
export function amountsOf(
  counters: readonly Counter[],
  rows: Iterable<LedgerRow>,
  rollingSince: number
): CounterAmount[] {
  const sums = new Map<string, CounterAmount>()
  for (const row of rows) {
    for (const counter of counters) {
      if (!matches(counter.scope, row.userId, row.model)) continue
      const startQuarter = startOf(counter, row.quarter, rollingSince)
      if (startQuarter === null) continue
      const subject = subjectOf(counter.scope, row.userId, row.model)
      const key = `${startQuarter}|${subject.length}:${subject}${counter.id}`
      const before = sums.get(key)?.amount ?? 0
      const amount = saturated(before + weighted(row.tokens, weightsFor(counter, row.model)))
      sums.set(key, { counterId: counter.id, startQuarter, subject, amount })
    }
  }
  return [...sums.values()].filter((sum) => sum.amount !== 0)
}

/** First quarter of the counter's window that holds a quarter; null when none does. */
function startOf(counter: Counter, quarter: number, rollingSince: number): number | null {
  const window = windowAt(counter.windows, quarter)
  if (counter.rollingHours === 0) return window?.[0] ?? null
  return quarter >= rollingSince && (counter.windows.length === 0 || window !== undefined) ? quarter : null
}

/** Windows are few (at most 50) and usage is mostly recent, but the list begins with the oldest: search from the end. */
function windowAt(windows: readonly WindowBounds[], quarter: number): WindowBounds | undefined {
  return windows.findLast(([start, end]) => start <= quarter && quarter < end)
}
