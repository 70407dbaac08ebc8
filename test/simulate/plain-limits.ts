/**
 * What a limit counts, told a second time in the plainest way: over single events, without counters, quarters of ledger rows or
 * compiled windows. It shares no code with the product, so that a mistake there isn't repeated here.
 */
import type { Limit, LimitMeasure } from '../../domain/tokens/limit.ts'
import type { TokenPools } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import type { Random } from './random.ts'

const HOUR_MS = 3_600_000
const QUARTER_MS = 900_000

/** Zones without daylight saving: their hours east of Greenwich. */
export const ZONES: Readonly<Record<string, number>> = { UTC: 0, 'Etc/GMT+5': -5 }

const PRICES = { '*': prices(3), large: prices(7) }

function prices(scale: number): TokenPools {
  return { input: scale, cacheRead: 1, cacheWrite: 2, output: scale * 5, reasoning: scale * 4 }
}

export type Caller = Pick<UsageEvent, 'userId' | 'model'>

/** Some limits of a customer; now and then with other billing periods that begin alike. */
export function randomLimits(random: Random, baseMs: number): Limit[] {
  const step = random.pick([4, 6]) * HOUR_MS
  const boundaries = [
    baseMs - 24 * HOUR_MS,
    baseMs - 12 * HOUR_MS,
    baseMs,
    ...[1, 2, 3, 4, 5, 6].map((i) => baseMs + i * step)
  ]
  const all: readonly Pick<Limit, 'scope' | 'measure' | 'window'>[] = [
    { scope: { kind: 'customer' }, measure: { kind: 'total' }, window: { kind: 'day' } },
    { scope: { kind: 'customer' }, measure: { kind: 'pool', pool: 'output' }, window: { kind: 'hour' } },
    {
      scope: { kind: 'customer' },
      measure: { kind: 'cost', unit: 'EUR/1000000', weights: PRICES },
      window: { kind: 'day' }
    },
    { scope: { kind: 'customer' }, measure: { kind: 'total' }, window: { kind: 'period', boundaries } },
    { scope: { kind: 'each-user' }, measure: { kind: 'total' }, window: { kind: 'hour' } },
    { scope: { kind: 'each-user' }, measure: { kind: 'total' }, window: { kind: 'rolling', hours: 2 } },
    { scope: { kind: 'user', userId: 'ann' }, measure: { kind: 'total' }, window: { kind: 'day' } },
    { scope: { kind: 'model', model: 'large' }, measure: { kind: 'total' }, window: { kind: 'rolling', hours: 1 } },
    { scope: { kind: 'each-model' }, measure: { kind: 'pool', pool: 'input' }, window: { kind: 'day' } },
    {
      scope: { kind: 'user-model', userId: 'bob', model: 'small' },
      measure: { kind: 'total' },
      window: { kind: 'period', boundaries }
    }
  ]
  const chosen = all.filter(() => random.happens(0.4))
  return chosen.map((limit) => ({
    ...limit,
    id: `limit-${all.indexOf(limit)}`,
    max: 500 + random.below(20_000),
    mode: random.happens(0.7) ? 'hard' : 'soft',
    whenUnknown: random.happens(0.7) ? 'deny' : 'allow'
  }))
}

/** Whether a call is one that the limit is about. */
export function concerns({ scope }: Limit, { userId, model }: Caller): boolean {
  if (scope.kind === 'each-user') return userId !== ''
  if (scope.kind === 'user') return userId === scope.userId
  if (scope.kind === 'model') return model === scope.model
  if (scope.kind === 'user-model') return userId === scope.userId && model === scope.model
  return true
}

/** Whether usage counts against the limit as the caller has it. */
function sharesWith({ scope }: Limit, caller: Caller, used: Caller): boolean {
  if (scope.kind === 'each-user' && used.userId !== caller.userId) return false
  if (scope.kind === 'each-model' && used.model !== caller.model) return false
  if ((scope.kind === 'user' || scope.kind === 'user-model') && used.userId !== scope.userId) return false
  return (scope.kind !== 'model' && scope.kind !== 'user-model') || used.model === scope.model
}

function amountIn(measure: LimitMeasure, tokens: TokenPools, model: string): number {
  if (measure.kind === 'pool') return tokens[measure.pool]
  const of: TokenPools =
    measure.kind === 'cost'
      ? (measure.weights[model] ?? prices(3))
      : { input: 1, cacheRead: 1, cacheWrite: 1, output: 1, reasoning: 1 }
  return (
    tokens.input * of.input +
    tokens.cacheRead * of.cacheRead +
    tokens.cacheWrite * of.cacheWrite +
    tokens.output * of.output +
    tokens.reasoning * of.reasoning
  )
}

/** What one use adds to the limit as the caller has it, whatever its time. */
export function amountFor(limit: Limit, caller: Caller, use: Caller & { readonly tokens: TokenPools }): number {
  return sharesWith(limit, caller, use) ? amountIn(limit.measure, use.tokens, use.model) : 0
}

/** The window [from, to) in which the limit counts at a time; null when no billing period holds it. */
export function windowAt({ window }: Limit, zone: string, nowMs: number): { from: number; to: number } | null {
  if (window.kind === 'rolling') {
    const quarter = nowMs - (nowMs % QUARTER_MS)
    return { from: quarter - window.hours * HOUR_MS + QUARTER_MS, to: quarter + 2 * QUARTER_MS }
  }
  if (window.kind === 'period') {
    const next = window.boundaries.findIndex((boundary) => boundary > nowMs)
    const [from, to] = [window.boundaries[next - 1], window.boundaries[next]]
    return from === undefined || to === undefined ? null : { from, to }
  }
  if (window.kind !== 'hour' && window.kind !== 'day') throw new RangeError(`no ${window.kind} in these histories`)
  const lengthMs = window.kind === 'hour' ? HOUR_MS : 24 * HOUR_MS
  const eastMs = (ZONES[zone] ?? 0) * HOUR_MS
  const from = nowMs - ((nowMs + eastMs) % lengthMs)
  return { from, to: from + lengthMs }
}
