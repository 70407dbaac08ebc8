/**
 * The soak's traffic: the bench's seeded events, each a little before the instant at which it is sent, a share of them repeats. It
 * keeps its own account of what must come out, apart from everything under test.
 */
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { Random } from '../../stack/demo/random.ts'
import { type UsageMessage, usageEvents } from '../harness/usage-records.ts'

export interface SoakTrafficShape {
  readonly seed: number
  readonly customers: number
  readonly perSecond: number
  /** Instant of the first event, milliseconds since the epoch. */
  readonly startsAt: number
}

export interface SoakAccount {
  /** Events that are no repeat. */
  readonly events: number
  readonly repeats: number
  /** Tokens by customer, every event once. */
  readonly byCustomer: ReadonlyMap<string, number>
}

/** Of all records. */
const REPEATS = 0.02
/** A repeat is of one of so many events before it: what a client sends again, it sends again soon. */
const REMEMBERED = 1_000

export class SoakTraffic {
  readonly #perSecond: number
  readonly #events: ReturnType<typeof usageEvents>
  readonly #random: Random
  readonly #recent: UsageMessage[] = []
  readonly #byCustomer = new Map<string, number>()
  #made = 0
  #repeats = 0

  constructor({ seed, customers, perSecond, startsAt }: SoakTrafficShape) {
    this.#perSecond = perSecond
    this.#random = new Random(seed + 1)
    // Repeats are made here: one of an event whose time was moved has to be moved by as much.
    this.#events = usageEvents({ seed, customers, events: Number.MAX_SAFE_INTEGER, now: startsAt, repeats: 0 })
  }

  get account(): SoakAccount {
    return { events: this.#made - this.#repeats, repeats: this.#repeats, byCustomer: this.#byCustomer }
  }

  next(): UsageMessage {
    const offsetMs = Math.floor((this.#made++ * 1_000) / this.#perSecond)
    const repeated = this.#random.next() < REPEATS ? this.#recent[this.#random.below(this.#recent.length)] : undefined
    if (repeated === undefined) return this.#nextEvent(offsetMs)
    this.#repeats++
    return repeated
  }

  #nextEvent(offsetMs: number): UsageMessage {
    const { value: event, done } = this.#events.next()
    if (done === true) throw new RangeError('the traffic has an end')
    const { customerId, tokens } = event
    const total = TOKEN_POOLS.reduce((sum, pool) => sum + tokens[pool], 0)
    this.#byCustomer.set(customerId, (this.#byCustomer.get(customerId) ?? 0) + total)
    const encoded = encodeUsageEvent({ ...event, occurredAt: event.occurredAt + offsetMs })
    const message = { key: customerId, ...encoded }
    this.#recent[(this.#made - this.#repeats) % REMEMBERED] = message
    return message
  }
}
