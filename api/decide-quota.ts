/**
 * From where a customer's limits stand to an answer: may this call go ahead? "Can't know" is never "exceeded".
 */
import type { LimitStanding, MeterUnknown, Standing } from '../domain/api-ports.ts'
import type { TokenPools } from '../domain/tokens/token-pools.ts'

export type UnknownReason = MeterUnknown | 'seeding' | 'windows-ran-out'

export type QuotaDecision =
  | { readonly kind: 'unknown-customer' }
  | { readonly kind: 'unknown'; readonly why: UnknownReason }
  | {
      readonly kind: 'answer'
      readonly allowed: boolean
      /** The first hard limit that refuses, or the tightest one that allows; null when no known hard limit applies. */
      readonly binding: string | null
      readonly limits: readonly LimitStanding[]
      /** Up to when usage is counted, ms; null when the meter can't know. */
      readonly countedUpTo: number | null
      /** `unknown-allowed`: at least one hard limit could not be known and says allow. */
      readonly source: 'meter' | 'unknown-allowed'
    }

/**
 * 1. A hard limit that is known to have no room refuses, whatever else is unknown.
 * 2. Else a hard limit that can't be known and says deny leaves the question open.
 * 3. Else the call may go ahead, flagged when a limit could not be known.
 * With the meter away and no limit told, there is no policy to go by: open as well.
 */
export function decideQuota(standing: Standing, tokens: TokenPools | null): QuotaDecision {
  if (standing.limits === null) return { kind: 'unknown-customer' }
  const { known, limits } = standing
  const hard = limits.filter(({ mode }) => mode === 'hard')
  const told = known ? hard.filter(({ unknown }) => unknown === null) : []
  const untold = known ? hard.filter(({ unknown }) => unknown !== null) : hard
  const countedUpTo = known ? standing.countedUpTo : null
  const refusing = told.find((limit) => !hasRoom(limit, tokens))
  if (refusing !== undefined) {
    return { kind: 'answer', allowed: false, binding: refusing.id, limits, countedUpTo, source: 'meter' }
  }
  const open = known ? null : standing.why
  const denying = untold.find(({ whenUnknown }) => whenUnknown === 'deny')
  if (denying !== undefined) return { kind: 'unknown', why: open ?? denying.unknown ?? 'unavailable' }
  if (open !== null && limits.length === 0) return { kind: 'unknown', why: open }
  const source = open === null && untold.length === 0 ? 'meter' : 'unknown-allowed'
  return { kind: 'answer', allowed: true, binding: tightest(told), limits, countedUpTo, source }
}

/** Without an estimate one token must fit. What asks nothing of a limit is not refused by it, as with a hold. */
function hasRoom(limit: LimitStanding, tokens: TokenPools | null): boolean {
  const asked = tokens === null ? 1 : limit.asked
  return asked === 0 || limit.used + limit.held + asked <= limit.max
}

/** Limits may count different things, so tightness is the share that is left. */
function tightest(limits: readonly LimitStanding[]): string | null {
  const share = ({ remaining, max }: LimitStanding): number => (max === 0 ? 0 : remaining / max)
  return (
    limits.reduce<LimitStanding | null>(
      (least, limit) => (least === null || share(limit) < share(least) ? limit : least),
      null
    )?.id ?? null
  )
}

/** How long to wait before asking again, in seconds: as long as what is missing usually takes to come back. */
export const RETRY_AFTER_UNKNOWN_SECONDS: Readonly<Record<UnknownReason, number>> = {
  unavailable: 2,
  stale: 2,
  seeding: 2,
  unrepaired: 5,
  'windows-ran-out': 60
}
