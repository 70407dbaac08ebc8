/**
 * Turns a customer's limits into what the meter holds: counters with their windows listed ahead, so that nothing has to happen
 * at midnight. Limits that sum the same thing over the same windows share a counter, whatever their max.
 */
import { createHash } from 'node:crypto'
import type {
  CompiledLimit,
  CompiledLimits,
  CostWeights,
  Counter,
  CustomerLimits,
  Limit,
  LimitMeasure,
  LimitScope,
  LimitWindow,
  WindowBounds
} from './limit.ts'
import { quarterOf, quarterStartMs } from './quarter-hour.ts'
import { TOKEN_POOLS } from './token-pools.ts'
import { calendarWindows } from './windows.ts'

/** Windows listed after the current one. Half of them is the time in which a renewal may fail and be tried again. */
export const NEXT_WINDOWS = { month: 4, week: 6, day: 14, hour: 48, period: 12 } as const

/** Windows are listed anew at least this often, so that changed rules of a time zone reach the meter. */
export const RENEWAL_INTERVAL_MAX_MS = 30 * 86_400_000

/**
 * `renewAt` (ms): when half of the next windows are left of the kind that runs out first. A billing period whose following
 * boundaries nobody has stored yet can't be renewed by compiling again, so it asks for nothing.
 */
export function compileLimits(
  customer: CustomerLimits,
  nowMs: number
): { readonly compiled: CompiledLimits; readonly renewAt: number } {
  const counters = new Map<string, Counter>()
  const limits: CompiledLimit[] = []
  let renewAt = nowMs + RENEWAL_INTERVAL_MAX_MS
  for (const limit of customer.limits) {
    const id = counterId(limit)
    const rollingHours = limit.window.kind === 'rolling' ? limit.window.hours : 0
    if (!counters.has(id)) {
      const windows = windowsOf(limit.window, customer.timeZone, nowMs)
      counters.set(id, { id, scope: limit.scope, weights: weightsOf(limit.measure), rollingHours, windows })
      renewAt = Math.min(renewAt, renewalOf(windows, nowMs))
    }
    const { max, mode, whenUnknown } = limit
    limits.push({ id: limit.id, counterId: id, max, mode, whenUnknown, rollingHours })
  }
  const { customerId, version } = customer
  return { compiled: { customerId, version, counters: [...counters.values()], limits }, renewAt }
}

/**
 * Tells scope, measure and kind of window apart, and nothing of the limit. Names from outside have their length in front, so
 * that no two counters spell alike. Rolling windows of different hours are different counters: a longer one needs quarters
 * that the shorter one has dropped.
 */
function counterId(limit: Limit): string {
  const window = limit.window.kind === 'rolling' ? `rolling${limit.window.hours}` : limit.window.kind
  return `${scopeId(limit.scope)}|${measureId(limit.measure)}|${window}`
}

function scopeId(scope: LimitScope): string {
  switch (scope.kind) {
    case 'user':
      return `user=${sized(scope.userId)}`
    case 'model':
      return `model=${sized(scope.model)}`
    case 'user-model':
      return `user-model=${sized(scope.userId)}${sized(scope.model)}`
    default:
      return scope.kind
  }
}

function sized(name: string): string {
  return `${name.length}:${name}`
}

function measureId(measure: LimitMeasure): string {
  if (measure.kind === 'pool') return measure.pool
  return measure.kind === 'total' ? 'total' : `cost=${weightsHash(measure.weights)}`
}

/** 64 bits of a digest of the weights in one order. The unit is left out: it names the sum, and does not change it. */
function weightsHash(weights: Readonly<Record<string, CostWeights>>): string {
  const models = Object.keys(weights).sort()
  const ordered = models.map((model) => [model, TOKEN_POOLS.map((pool) => weights[model]?.[pool] ?? 0)])
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex').slice(0, 16)
}

function weightsOf(measure: LimitMeasure): Counter['weights'] {
  if (measure.kind === 'total') return { '*': TOKEN_POOLS.map(() => 1) }
  if (measure.kind === 'pool') return { '*': TOKEN_POOLS.map((pool) => (pool === measure.pool ? 1 : 0)) }
  const byModel = Object.entries(measure.weights)
  return Object.fromEntries(byModel.map(([model, weights]) => [model, TOKEN_POOLS.map((pool) => weights[pool])]))
}

function windowsOf(window: LimitWindow, timeZone: string, nowMs: number): readonly WindowBounds[] {
  if (window.kind === 'rolling') return []
  if (window.kind === 'period') return periodWindows(window.boundaries, nowMs)
  return calendarWindows(window.kind, { timeZone, nowMs, next: NEXT_WINDOWS[window.kind] })
}

/** Of the stored periods: the one before now, the one that holds it, and the next ones, as far as they are there. */
function periodWindows(boundariesMs: readonly number[], nowMs: number): readonly WindowBounds[] {
  const windows: WindowBounds[] = []
  for (const [i, end] of boundariesMs.entries()) {
    const start = boundariesMs[i - 1]
    if (start !== undefined) windows.push([quarterOf(start), quarterOf(end)])
  }
  const open = windows.findIndex(([, end]) => end > quarterOf(nowMs))
  const current = open === -1 ? windows.length : open
  return windows.slice(Math.max(0, current - 1), current + 1 + NEXT_WINDOWS.period)
}

/** When as many of the next windows have begun as leave half of them; never when none is listed. */
function renewalOf(windows: readonly WindowBounds[], nowMs: number): number {
  const next = windows.filter(([start]) => start > quarterOf(nowMs))
  const begun = next[Math.ceil(next.length / 2) - 1]
  return begun === undefined ? Number.POSITIVE_INFINITY : quarterStartMs(begun[0])
}
