/** What a customer used on one UTC day of event time, exactly: the grain at which the stores are compared. */
import type { TokenPool } from './token-pools.ts'
import { TOKEN_POOLS } from './token-pools.ts'
import type { UsageEvent } from './usage-event.ts'

export interface UsageDay {
  readonly customerId: string
  /** Whole UTC days since 1970-01-01. */
  readonly day: number
  readonly tokens: Readonly<Record<TokenPool, bigint>>
  /** Counted events, corrections among them. */
  readonly events: bigint
}

const DAY_MS = 86_400_000

export function dayOf(instantMs: number): number {
  return Math.floor(instantMs / DAY_MS)
}

/** `2026-03-31` */
export function dayName(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10)
}

/** Sums events by customer and day. */
export class UsageDays {
  readonly #days = new Map<
    string,
    { customerId: string; day: number; tokens: Record<TokenPool, bigint>; events: bigint }
  >()

  add(event: UsageEvent): void {
    const day = dayOf(event.occurredAt)
    const key = `${day}|${event.customerId}`
    let sum = this.#days.get(key)
    if (sum === undefined) {
      sum = {
        customerId: event.customerId,
        day,
        tokens: { input: 0n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n },
        events: 0n
      }
      this.#days.set(key, sum)
    }
    for (const pool of TOKEN_POOLS) sum.tokens[pool] += BigInt(event.tokens[pool])
    sum.events++
  }

  all(): readonly UsageDay[] {
    return [...this.#days.values()]
  }
}

export function totalOf(day: UsageDay): bigint {
  return TOKEN_POOLS.reduce((sum, pool) => sum + day.tokens[pool], 0n)
}
