/**
 * Which limit each grant raises, in which windows, and what happens to what it has left when that changes. A grant goes from one
 * window of its limit to the next by itself. When the limit gets other windows (another plan, a trial that ends early, a
 * subscription that begins) what it burnt so far is settled at the quarter-hour of the change, under the limit as it was: usage
 * before that burns nothing of it under the new one, and nothing that was burnt comes back.
 */
import type { Grant } from '../grants/grant.ts'
import { type GrantOutcome, type GrantWindow, reckonGrants, type SettledGrant } from '../grants/reckon-grants.ts'
import type { CustomerLimits, Limit, LimitWindow } from '../limit.ts'
import { quarterStartMs, snapToQuarter } from '../quarter-hour.ts'
import { calendarWindows } from '../windows.ts'

export interface RaiseSources {
  readonly limits: readonly Limit[]
  readonly timeZone: string
  readonly grants: readonly Grant[]
  /** The limits as they were when grants were reckoned last, and in which zone; null: they were not. */
  readonly before: Pick<CustomerLimits, 'timeZone' | 'limits'> | null
  /** Boundaries of a limit's periods before those that it lists itself. */
  readonly earlier: (limit: Limit) => readonly number[]
  readonly usedBetween: (from: number, to: number) => number
}

export interface RaisedLimits {
  /** Of each limit that grants raise, by its id. */
  readonly raised: ReadonlyMap<string, GrantOutcome>
  readonly settled: readonly SettledGrant[]
  /** With what was settled because their limit has other windows. */
  readonly grants: readonly Grant[]
}

/** The limit that a grant raises: the one it names, else the customer's on all tokens over the longest window. None: it waits. */
export function raisedBy({ limitId }: Pick<Grant, 'limitId'>, limits: readonly Limit[]): Limit | null {
  const raisable = limits.filter(isRaisable)
  if (limitId !== null) return raisable.find(({ id }) => id === limitId) ?? null
  return (
    raisable.toSorted((a, b) => LENGTH_ORDER.indexOf(a.window.kind) - LENGTH_ORDER.indexOf(b.window.kind))[0] ?? null
  )
}

const LENGTH_ORDER: readonly LimitWindow['kind'][] = ['period', 'month', 'week', 'day', 'hour']

/** What the ledger's sums of a customer can reckon: all its tokens, in windows that end. */
function isRaisable({ scope, measure, window }: Limit): boolean {
  return scope.kind === 'customer' && measure.kind === 'total' && window.kind !== 'rolling'
}

export function raiseLimits(sources: RaiseSources, now: number): RaisedLimits {
  const { limits, timeZone, earlier, usedBetween } = sources
  const atChange = settleChanged(sources, now)
  const grants = sources.grants.map((grant) => settledBy(grant, atChange))
  const raised = new Map<string, GrantOutcome>()
  for (const [id, those] of Map.groupBy(grants, (grant) => raisedBy(grant, limits)?.id ?? '')) {
    const limit = limits.find((one) => one.id === id)
    if (limit === undefined) continue
    const windows = windowsSince(limit, unsettledSince(those), { timeZone, now, earlier: earlier(limit) })
    raised.set(id, reckonGrants({ allowance: limit.max, grants: those, windows, usedBetween, now }))
  }
  return { raised, grants, settled: [...atChange, ...[...raised.values()].flatMap(({ settled }) => settled)] }
}

/** The start of the first window in which a grant is not settled, ms; null: no grant raises anything. */
export function firstUnsettled(sources: Omit<RaiseSources, 'usedBetween'>, now: number): number | null {
  const { before, grants } = sources
  const settings = [sources, ...(before === null ? [] : [{ ...before, earlier: noneEarlier }])]
  const starts = settings.flatMap(({ limits, timeZone, earlier }) =>
    grants.flatMap((grant) => {
      const limit = raisedBy(grant, limits)
      if (limit === null) return []
      return windowsSince(limit, unsettledSince([grant]), { timeZone, now, earlier: earlier(limit) }).slice(0, 1)
    })
  )
  return starts.length === 0 ? null : Math.min(...starts.map(({ start }) => start))
}

/** What was composed last lists every window that was not settled by then. */
function noneEarlier(): readonly number[] {
  return []
}

/** What the grants had burnt whose limit has other windows now than it had, or which raised none. */
function settleChanged(sources: RaiseSources, now: number): readonly SettledGrant[] {
  const { limits, timeZone, before, usedBetween } = sources
  if (before === null) return []
  const at = snapToQuarter(now)
  const settled: SettledGrant[] = []
  for (const [id, grants] of Map.groupBy(sources.grants, (grant) => raisedBy(grant, before.limits)?.id ?? '')) {
    const limit = before.limits.find((one) => one.id === id) ?? null
    const moved = grants.filter((grant) => {
      const raises = raisedBy(grant, limits)
      return !isSameWindow(currentWindow(limit, before.timeZone, now), currentWindow(raises, timeZone, now))
    })
    if (moved.length === 0) continue
    const asOf = { timeZone: before.timeZone, now: at, earlier: noneEarlier() }
    const windows = limit === null ? [] : windowsSince(limit, unsettledSince(grants), asOf)
    const { standings } = reckonGrants({ allowance: limit?.max ?? 0, grants, windows, usedBetween, now: at })
    for (const { id: grantId, settledUntil, effectiveAt } of moved) {
      const burnt = standings.find((standing) => standing.grantId === grantId)?.burnt
      if (burnt === undefined) throw new Error(`grant ${grantId} was not reckoned`)
      if ((settledUntil ?? effectiveAt) < at) settled.push({ grantId, burnt, settledUntil: at })
    }
  }
  return settled
}

function settledBy(grant: Grant, settled: readonly SettledGrant[]): Grant {
  const own = settled.find(({ grantId }) => grantId === grant.id)
  return own === undefined ? grant : { ...grant, burnt: BigInt(own.burnt), settledUntil: own.settledUntil }
}

function currentWindow(limit: Limit | null, timeZone: string, now: number): GrantWindow | null {
  return limit === null ? null : (windowsSince(limit, now, { timeZone, now, earlier: [] }).at(-1) ?? null)
}

function isSameWindow(a: GrantWindow | null, b: GrantWindow | null): boolean {
  return a?.start === b?.start && a?.end === b?.end
}

function unsettledSince(grants: readonly Grant[]): number {
  return Math.min(...grants.map(({ settledUntil, effectiveAt }) => settledUntil ?? effectiveAt))
}

/** A year of hours would be a long list; whoever was away for longer than this many windows settles the last of them. */
const WINDOWS_MAX = 100
const LENGTH_MAX_MS = {
  month: 32 * 86_400_000,
  week: 8 * 86_400_000,
  day: 50 * 3_600_000,
  hour: 2 * 3_600_000
} as const

/** The windows from the one that holds `since` to the one that holds `now`. */
function windowsSince(
  { id, window }: Limit,
  since: number,
  at: { readonly timeZone: string; readonly now: number; readonly earlier: readonly number[] }
): readonly GrantWindow[] {
  const { timeZone, now, earlier } = at
  if (window.kind === 'rolling') throw new Error(`limit ${id} is a rolling one: it has no windows to reckon grants in`)
  const windows: GrantWindow[] = []
  if (window.kind === 'period') {
    const boundaries = [...earlier, ...window.boundaries]
    for (const [i, end] of boundaries.entries()) {
      const start = boundaries[i - 1]
      if (start !== undefined && end > since && start <= now) windows.push({ start, end })
    }
    return windows
  }
  for (let from = Math.max(Math.min(since, now), now - WINDOWS_MAX * LENGTH_MAX_MS[window.kind]); from <= now; ) {
    const [, current] = calendarWindows(window.kind, { timeZone, nowMs: from, next: 0 })
    if (current === undefined) throw new Error(`no ${window.kind} holds ${from} in ${timeZone}`)
    const [start, end] = [quarterStartMs(current[0]), quarterStartMs(current[1])]
    windows.push({ start, end })
    from = end
  }
  return windows.slice(-WINDOWS_MAX)
}
