/**
 * When a customer is told that it comes near the end of a limit: at each threshold once a window, and once more when nothing is
 * left. A window is told apart by its end; a rolling limit has none, and counts as new each time its own length has passed.
 */
import type { LimitStanding } from './api-ports.ts'
import { DENIALS } from './tokens/effective/compose-limits.ts'
import type { CustomerLimits, Limit } from './tokens/limit.ts'

const HOUR_MS = 3_600_000

export interface QuotaNotice {
  readonly type: 'quota.threshold_reached' | 'quota.exhausted'
  readonly customerId: string
  readonly limitId: string
  /** Of a limit for each user: whose share it is. */
  readonly userId: string | null
  /** Of a limit for each model: of which model. */
  readonly model: string | null
  /** The threshold; of `quota.exhausted`, 100. */
  readonly percent: number
  readonly used: number
  readonly max: number
  readonly mode: 'hard' | 'soft'
  /** Ms. */
  readonly windowEnd: number
  /** When it was noticed, ms. */
  readonly at: number
}

/** Which thresholds were told. */
export interface QuotaNotices {
  /** Puts what was not told before into the outbox, each once, whoever else notices it at the same time. All or none. */
  record(notices: readonly QuotaNotice[]): Promise<void>
  /** The limits of those of these customers that have any. */
  limitsOf(customerIds: readonly string[]): Promise<readonly CustomerLimits[]>
  /** The limits of customers in id order after one (empty: from the start); `next` null at the end. */
  limitsAfter(customerId: string): Promise<{ readonly limits: readonly CustomerLimits[]; readonly next: string | null }>
}

/** For whom a limit stands as it does. */
export interface StandingOf {
  readonly customerId: string
  readonly userId: string
  readonly model: string
  readonly limit: Limit
  readonly standing: LimitStanding
}

export function noticesOf(of: StandingOf, percents: readonly number[], now: number): readonly QuotaNotice[] {
  const { used, max, mode } = of.standing
  // Nobody used up a limit that only says that nothing may be used.
  if (used <= 0 || DENIALS.some((id) => id === of.limit.id)) return []
  const { limit } = of
  const notice = {
    customerId: of.customerId,
    limitId: limit.id,
    userId: limit.scope.kind === 'each-user' ? of.userId : null,
    model: limit.scope.kind === 'each-model' ? of.model : null,
    used,
    max,
    mode,
    windowEnd: windowEndOf(limit, of.standing, now),
    at: now
  }
  const reached = percents.filter((percent) => isReached(used, max, percent))
  const told = reached.map((percent): QuotaNotice => ({ ...notice, type: 'quota.threshold_reached', percent }))
  return used >= max ? [...told, { ...notice, type: 'quota.exhausted', percent: 100 }] : told
}

/** As long as fewer tokens are used than these, whichever, the limit has no further notice; Infinity when it has none at all. */
export function tokensToNextNotice({ limit, standing }: StandingOf, percents: readonly number[]): number {
  const { used, max } = standing
  const next = [...percents, 100].filter((percent) => !isReached(used, max, percent))
  const counts = next.map((percent) => Number((BigInt(max) * BigInt(percent) + 99n) / 100n - BigInt(used)))
  return Math.min(...counts) / heaviest(limit)
}

/** The most that a token can weigh in the measure of a limit. */
function heaviest({ measure }: Limit): number {
  if (measure.kind !== 'cost') return 1
  return Math.max(...Object.values(measure.weights).flatMap((weights) => Object.values(weights)))
}

/** In integers: a hundred times a count may pass 2^53. */
function isReached(used: number, max: number, percent: number): boolean {
  return BigInt(used) * 100n >= BigInt(max) * BigInt(percent)
}

function windowEndOf({ window }: Limit, { resetsAt }: LimitStanding, now: number): number {
  if (window.kind !== 'rolling') return resetsAt
  const lengthMs = window.hours * HOUR_MS
  return (Math.floor(now / lengthMs) + 1) * lengthMs
}

/** Tells a notice from every other one of any customer. */
export function noticeKey({ customerId, limitId, userId, model, windowEnd, type, percent }: QuotaNotice): string {
  return JSON.stringify([customerId, limitId, userId, model, windowEnd, type, percent])
}
