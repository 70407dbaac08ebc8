/**
 * How grants raise a limit. A window's usage uses up the limit's own allowance first and then the grants that are effective, by
 * priority, expiry and age. A limit has one max, which leaves what grants have left to be used as of the last instant at which
 * one of them began or ended: allowance + what grants had burnt in this window by then + what nobody's grant had taken by then
 * + what those effective since then had left. So it changes at such instants and at the window's end alone, and in between
 * nothing needs to happen. What an ended grant had burnt stays in the max; its rest leaves it.
 *
 * At a window's end what each grant has burnt is settled, and the rest goes into the next window. The ledger lags by seconds, so
 * whatever is reckoned at an instant is reckoned again `SETTLE_AFTER_MS` later, and a window is settled only then.
 */
import { compareBurnOrder, endOf, type Grant } from './grant.ts'

/** Longer than usage takes from its arrival to the ledger while all is well. What arrives later burns nothing of a grant. */
export const SETTLE_AFTER_MS = 5_000

/** [start, end) in ms. */
export interface GrantWindow {
  readonly start: number
  readonly end: number
}

export interface GrantReckoning {
  /** The limit's own max, without any grant. */
  readonly allowance: number
  /** Those that raise this limit, all of tokens. */
  readonly grants: readonly Grant[]
  /** The limit's windows from the first that is not settled to the one that holds `now`, contiguous. */
  readonly windows: readonly GrantWindow[]
  /** Tokens that the ledger has in [from, to) of what the limit sums. */
  readonly usedBetween: (from: number, to: number) => number
  readonly now: number
}

export interface GrantStanding {
  readonly grantId: string
  /** All it has burnt by the last instant that was reckoned. */
  readonly burnt: number
  /** What it can still give, also before it begins; 0 once it has ended. */
  readonly remaining: number
}

/** To be stored: what a grant has burnt for good. */
export interface SettledGrant {
  readonly grantId: string
  readonly burnt: number
  /** On the grid of quarters, ms: usage before it burns no more. */
  readonly settledUntil: number
}

export interface GrantOutcome {
  readonly max: number
  readonly standings: readonly GrantStanding[]
  /** As of the end of the last window that is over for good; empty: none is. */
  readonly settled: readonly SettledGrant[]
  /** When the max changes next, or is to be reckoned again since the ledger knows more; null: never. */
  readonly nextAt: number | null
}

export function reckonGrants({ allowance, grants, windows, usedBetween, now }: GrantReckoning): GrantOutcome {
  const inOrder = grants.toSorted(compareBurnOrder)
  const burnt = new Map(inOrder.map((grant) => [grant.id, Number(grant.burnt)]))
  const burntOf = ({ id }: Grant) => burnt.get(id) ?? 0
  let settled: GrantOutcome['settled'] = []
  let max = allowance
  for (const window of windows) {
    const atStart = new Map(burnt)
    const overBy = (at: number) => Math.max(0, usedBetween(window.start, at) - allowance)
    const nobodys = burnWindow(inOrder, burnt, { window, overBy, now })
    const raise = sum(inOrder, (grant) => mostOf(grant, burntOf(grant), now) - (atStart.get(grant.id) ?? 0))
    // Without a grant to use there is nothing to leave room for.
    const passedOver = inOrder.some((grant) => isEffective(grant, now)) ? nobodys : 0
    max = Math.min(Number.MAX_SAFE_INTEGER, allowance + passedOver + raise)
    if (window.end + SETTLE_AFTER_MS > now) continue
    settled = inOrder
      .filter(({ settledUntil }) => settledUntil === null || settledUntil < window.end)
      .map((grant) => ({ grantId: grant.id, burnt: burntOf(grant), settledUntil: window.end }))
  }
  const standings = inOrder.map((grant) => standingOf(grant, { burnt: burntOf(grant), now }))
  return { max, standings, settled, nextAt: nextInstant(inOrder, windows, now) }
}

/** Where a grant stands that has burnt so much. */
export function standingOf(
  grant: Grant,
  { burnt, now }: { readonly burnt: number; readonly now: number }
): GrantStanding {
  return { grantId: grant.id, burnt, remaining: endOf(grant) <= now ? 0 : tokensOf(grant) - burnt }
}

/** Burns what the window used beyond the allowance. Answers how much of it found no grant by the last beginning or end of one. */
function burnWindow(
  inOrder: readonly Grant[],
  burnt: Map<string, number>,
  at: { readonly window: GrantWindow; readonly overBy: (at: number) => number; readonly now: number }
): number {
  const { window, overBy, now } = at
  const instants = breakpoints(inOrder, window, now)
  let nobodys = 0
  let lately = 0
  for (const [i, from] of instants.entries()) {
    nobodys += lately
    const to = instants[i + 1] ?? Math.min(now, window.end)
    lately = burn(inOrder, burnt, { at: from, tokens: overBy(to) - overBy(from) })
  }
  return nobodys
}

/** Takes tokens from the grants that burn from an instant on. Answers what none of them had left. */
function burn(
  inOrder: readonly Grant[],
  burnt: Map<string, number>,
  over: { readonly at: number; readonly tokens: number }
): number {
  let left = Math.max(0, over.tokens)
  for (const grant of inOrder) {
    if (left === 0) break
    if (burnsFrom(grant) > over.at || over.at >= endOf(grant)) continue
    const used = burnt.get(grant.id) ?? 0
    const taken = Math.min(left, tokensOf(grant) - used)
    burnt.set(grant.id, used + taken)
    left -= taken
  }
  return left
}

/** The window's start, and each instant within it, up to now, at which a grant begins to burn or ends. */
function breakpoints(grants: readonly Grant[], { start, end }: GrantWindow, now: number): readonly number[] {
  const within = grants
    .flatMap((grant) => [burnsFrom(grant), endOf(grant)])
    .filter((at) => at > start && at < end && at <= now)
  return [...new Set([start, ...within])].sort((a, b) => a - b)
}

function nextInstant(grants: readonly Grant[], windows: readonly GrantWindow[], now: number): number | null {
  if (grants.length === 0) return null
  const instants = [...windows.map(({ end }) => end), ...grants.flatMap((grant) => [grant.effectiveAt, endOf(grant)])]
  const next = Math.min(...instants.flatMap((at) => [at, at + SETTLE_AFTER_MS]).filter((at) => at > now))
  return Number.isFinite(next) ? next : null
}

/** All that usage can make of it: its tokens, or what it had burnt by its end. */
function mostOf(grant: Grant, burnt: number, now: number): number {
  return isEffective(grant, now) ? tokensOf(grant) : burnt
}

function isEffective(grant: Grant, at: number): boolean {
  return grant.effectiveAt <= at && at < endOf(grant)
}

/** What was used before it was settled is in `burnt`, or was not its to burn. */
function burnsFrom({ effectiveAt, settledUntil }: Grant): number {
  return Math.max(effectiveAt, settledUntil ?? effectiveAt)
}

function tokensOf({ id, amount }: Grant): number {
  if (amount.kind === 'tokens') return amount.tokens
  throw new Error(`grant ${id} is of money and raises no limit`)
}

function sum<T>(list: readonly T[], amountOf: (entry: T) => number): number {
  return list.reduce((total, entry) => total + amountOf(entry), 0)
}
