/** What a partition has counted in Redis and not yet written to the ledger: sums by ledger key, and the offsets left out. */
import type { LedgerRow, Uncounted } from '../../domain/ports.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPool, type TokenPools } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'

interface Sum {
  readonly customerId: string
  readonly userId: string
  readonly model: string
  readonly quarter: number
  readonly tokens: Record<TokenPool, number>
  events: number
}

/** Tokens of one kind of event, whatever their sign. */
export type TokensByKind = Readonly<Record<UsageEvent['kind'], TokenPools>>

export class PendingUsage {
  readonly #sums = new Map<string, Sum>()
  /** Sums that a further event would have taken past 2^53: complete, beside a new one of the same key. */
  #full: Sum[] = []
  #uncounted: Uncounted[] = []
  readonly #tokens = { used: { ...NO_TOKENS }, voided: { ...NO_TOKENS } }
  #records = 0

  /** A correction takes its tokens back; it is an event too. */
  add(event: UsageEvent): void {
    const quarter = quarterOf(event.occurredAt)
    const key = `${event.customerId}\u0000${event.userId}\u0000${event.model}\u0000${quarter}`
    const { customerId, userId, model } = event
    let sum = this.#sums.get(key)
    if (sum !== undefined && !hasRoom(sum, event)) {
      this.#full.push(sum)
      sum = undefined
    }
    if (sum === undefined) {
      sum = {
        customerId,
        userId,
        model,
        quarter,
        tokens: { input: 0, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 },
        events: 0
      }
      this.#sums.set(key, sum)
    }
    addPools(sum.tokens, event.tokens)
    addPools(this.#tokens[event.kind], event.tokens)
    sum.events++
    this.#records++
  }

  leaveOut(uncounted: Uncounted): void {
    this.#uncounted.push(uncounted)
    this.#records++
  }

  /** Records whose effect waits here. */
  get records(): number {
    return this.#records
  }

  rows(): LedgerRow[] {
    return [...this.#full, ...this.#sums.values()]
  }

  /** For whoever watches; a sum that passes 2^53 between two flushes is no longer exact. */
  tokens(): TokensByKind {
    return this.#tokens
  }

  uncounted(): readonly Uncounted[] {
    return this.#uncounted
  }

  /** Takes in what another one holds, which is of no use afterwards. */
  absorb(other: PendingUsage): void {
    for (const [key, sum] of other.#sums) {
      const mine = this.#sums.get(key)
      if (mine !== undefined && hasRoom(mine, sum)) {
        addPools(mine.tokens, sum.tokens)
        mine.events += sum.events
        continue
      }
      if (mine !== undefined) this.#full.push(mine)
      this.#sums.set(key, sum)
    }
    this.#full = this.#full.concat(other.#full)
    this.#uncounted = this.#uncounted.concat(other.#uncounted)
    addPools(this.#tokens.used, other.#tokens.used)
    addPools(this.#tokens.voided, other.#tokens.voided)
    this.#records += other.#records
  }
}

/** Pool by pool in so many words: a loop over their names takes five times as long, for each event. */
function addPools(sum: Record<TokenPool, number>, tokens: TokenPools): void {
  sum.input += tokens.input
  sum.cacheRead += tokens.cacheRead
  sum.cacheWrite += tokens.cacheWrite
  sum.output += tokens.output
  sum.reasoning += tokens.reasoning
}

function hasRoom({ tokens: sum }: Sum, { tokens }: Pick<UsageEvent, 'tokens'>): boolean {
  return (
    Number.isSafeInteger(sum.input + tokens.input) &&
    Number.isSafeInteger(sum.cacheRead + tokens.cacheRead) &&
    Number.isSafeInteger(sum.cacheWrite + tokens.cacheWrite) &&
    Number.isSafeInteger(sum.output + tokens.output) &&
    Number.isSafeInteger(sum.reasoning + tokens.reasoning)
  )
}
