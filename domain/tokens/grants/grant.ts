/** Tokens or money given to a customer beside its plan. Tokens raise a limit while they are effective; money lowers invoices. */
import { snapToQuarter } from '../quarter-hour.ts'

export const GRANT_SOURCES = ['purchase', 'promotion', 'adjustment'] as const
export type GrantSource = (typeof GRANT_SOURCES)[number]

export type GrantAmount =
  | { readonly kind: 'tokens'; readonly tokens: number }
  /** In the minor unit of an ISO 4217 currency. */
  | { readonly kind: 'money'; readonly amountMinor: bigint; readonly currency: string }

export interface Grant {
  /** UUID v7. */
  readonly id: string
  readonly customerId: string
  readonly amount: GrantAmount
  /** The lowest burns first; of equals the one that expires first, then the oldest. */
  readonly priority: number
  readonly source: GrantSource
  /** [effectiveAt, expiresAt) in ms, on the grid of quarters; null: never expires. */
  readonly effectiveAt: number
  readonly expiresAt: number | null
  /** The limit that the tokens raise; null: the customer's limit on all its tokens over the longest window. */
  readonly limitId: string | null
  /** Since when it is taken back, ms on the grid of quarters; what it had burnt stays burnt. */
  readonly revokedAt: number | null
  /** What usage before `settledUntil` has used of it. */
  readonly burnt: bigint
  /** A full quarter, ms: a window's end, or when the limit that it raises changed its windows; null: nothing is settled yet. */
  readonly settledUntil: number | null
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** Takes it back from the current quarter on. Null: it has ended already. */
export function revokeGrant(grant: Grant, now: number): Grant | null {
  if (endOf(grant) <= now) return null
  return { ...grant, revokedAt: snapToQuarter(now), version: grant.version + 1, updatedAt: now }
}

/** When it stops to give, ms; infinite when never. */
export function endOf({ expiresAt, revokedAt }: Pick<Grant, 'expiresAt' | 'revokedAt'>): number {
  return Math.min(expiresAt ?? Number.POSITIVE_INFINITY, revokedAt ?? Number.POSITIVE_INFINITY)
}

/** The order in which grants burn. One that is taken back keeps its place, and what it had burnt. */
export function compareBurnOrder(a: Grant, b: Grant): number {
  return (
    a.priority - b.priority ||
    compareNumbers(a.expiresAt ?? Number.POSITIVE_INFINITY, b.expiresAt ?? Number.POSITIVE_INFINITY) ||
    a.createdAt - b.createdAt ||
    (a.id < b.id ? -1 : Number(a.id > b.id))
  )
}

function compareNumbers(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}
