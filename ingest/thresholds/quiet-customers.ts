/**
 * Customers who can't have come to a threshold since they were looked at: what they used since then is less than what they were
 * away from the next one. So a customer is asked for when it may have something to be told, and not with each of its events.
 */

/** Tokens of a user with a model since the last round. */
export interface Touched {
  readonly customerId: string
  readonly userId: string
  readonly model: string
  readonly tokens: number
}

export interface Look {
  /** No threshold is nearer than these. */
  readonly tokensToNext: number
  /** When its first window ends, ms. */
  readonly windowEnd: number
  /** The users and models that were asked for, when limits are for each of them; else null. */
  readonly names: ReadonlySet<string> | null
}

/** Looked at again after so long, whatever was used: a limit may have changed, or another process have counted the customer's usage. */
export const QUIET_MS = 60_000
/** Forgetting a customer costs a question. */
const QUIET_MAX = 100_000

export class QuietCustomers {
  readonly #quiet = new Map<string, { tokensLeft: number; readonly until: number; readonly names: Look['names'] }>()

  /** Takes the usage from what is left of the customer's distance; false when a threshold may be reached. */
  staysQuietAfter(customerId: string, usage: Iterable<Touched>, now: number): boolean {
    const quiet = this.#quiet.get(customerId)
    if (quiet === undefined) return false
    let areNamesKnown = true
    for (const one of usage) {
      quiet.tokensLeft -= one.tokens
      if (quiet.names !== null && !quiet.names.has(nameOf(one))) areNamesKnown = false
    }
    return areNamesKnown && quiet.tokensLeft > 0 && now < quiet.until
  }

  remember(customerId: string, { tokensToNext, windowEnd, names }: Look, now: number): void {
    if (this.#quiet.size >= QUIET_MAX) this.#quiet.clear()
    this.#quiet.set(customerId, { tokensLeft: tokensToNext, until: Math.min(windowEnd, now + QUIET_MS), names })
  }

  forget(customerId: string): void {
    this.#quiet.delete(customerId)
  }
}

/** Of a user with a model; neither has a zero character. */
export function nameOf({ userId, model }: Pick<Touched, 'userId' | 'model'>): string {
  return `${userId}\0${model}`
}
