/**
 * The usage topic of one history, and what is true of each record: events of few customers, users and models, close to window
 * ends; repeats and conflicts on the same or another partition; voids; late, too late and too early ones; poison; holes.
 */

import type { DecodeLimits } from '../../domain/tokens/decode-cloud-event.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import type { TokenPools } from '../../domain/tokens/token-pools.ts'
import type { UncountedReason, UsageEvent, UsageRecord } from '../../domain/tokens/usage-event.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import type { Random } from './random.ts'

export const CUSTOMERS = ['ada', 'bell', 'curie', 'darwin', 'euler'] as const
export const USERS = ['', 'ann', 'bob'] as const
export const MODELS = ['small', 'large'] as const
export const HOLDS_PER_CUSTOMER = 4

const MINUTE_MS = 60_000
export const DECODE_LIMITS: DecodeLimits = {
  valueBytesMax: 2_048,
  acceptanceWindowMs: 120 * MINUTE_MS,
  leadMs: 5 * MINUTE_MS
}
/** The duplicate window: a copy that is accepted arrived at most so much after the first one. */
export const MARK_GENERATION_MS = DECODE_LIMITS.acceptanceWindowMs + DECODE_LIMITS.leadMs

/** A record as it was meant. `event` null: it can't be counted, for that reason. */
export interface Truth {
  readonly partition: number
  readonly offset: number
  readonly event: UsageEvent | null
  readonly reason: UncountedReason | null
}

export interface SimulatedLog {
  readonly partitions: readonly (readonly UsageRecord[])[]
  readonly truths: readonly Truth[]
}

interface Made {
  readonly event: UsageEvent
  readonly partition: number
  readonly arrivedAt: number
}

export function makeLog(random: Random, shape: { partitions: number; startMs: number; spanMs: number }): SimulatedLog {
  return new LogMaker(random, shape.partitions).make(shape)
}

class LogMaker {
  readonly #random: Random
  readonly #partitions: UsageRecord[][]
  readonly #truths: Truth[] = []
  readonly #made: Made[] = []

  constructor(random: Random, partitions: number) {
    this.#random = random
    this.#partitions = Array.from({ length: partitions }, () => [])
  }

  make({ startMs, spanMs }: { startMs: number; spanMs: number }): SimulatedLog {
    const random = this.#random
    const count = 30 + random.below(40)
    for (let i = 0; i < count; i++) {
      const arrivedAt = startMs + Math.floor((spanMs * (i + random.next())) / count)
      const dice = random.next()
      const repeatable = this.#made.filter((made) => arrivedAt - made.arrivedAt <= MARK_GENERATION_MS)
      if (dice < 0.07) this.#appendPoison(arrivedAt)
      else if (dice < 0.27 && repeatable.length > 0) this.#appendRepeat(random.pick(repeatable), arrivedAt)
      else if (dice < 0.34 && this.#made.length > 0) this.#appendVoid(random.pick(this.#made).event, arrivedAt)
      else this.#appendEvent(`e${i}`, arrivedAt)
    }
    return { partitions: this.#partitions, truths: this.#truths }
  }

  #appendEvent(id: string, arrivedAt: number): void {
    const random = this.#random
    const customerId = random.pick(CUSTOMERS)
    const event: UsageEvent = {
      kind: 'used',
      id,
      source: random.pick(['gateway', 'batch']),
      customerId,
      occurredAt: this.#occurredAt(arrivedAt),
      userId: random.pick(USERS),
      model: random.pick(MODELS),
      provider: 'test',
      operation: '',
      requestId: '',
      holdId: random.happens(0.3) ? `hold-${random.below(HOLDS_PER_CUSTOMER)}` : '',
      tokens: this.#tokens(),
      metadata: {}
    }
    this.#append(event, { partition: this.#partitionOf(customerId), arrivedAt })
  }

  #occurredAt(arrivedAt: number): number {
    const dice = this.#random.next()
    const part = this.#random.next()
    const { acceptanceWindowMs, leadMs } = DECODE_LIMITS
    if (dice < 0.6) return arrivedAt - Math.floor(part * 10 * MINUTE_MS)
    if (dice < 0.88) return arrivedAt - Math.floor(part * acceptanceWindowMs)
    if (dice < 0.95) return arrivedAt + Math.floor(part * leadMs)
    if (dice < 0.98) return arrivedAt - acceptanceWindowMs - 1 - Math.floor(part * MINUTE_MS)
    return arrivedAt + leadMs + 1 + Math.floor(part * MINUTE_MS)
  }

  #tokens(): TokenPools {
    const random = this.#random
    return {
      input: 1 + random.below(9),
      cacheRead: random.below(3) * 10,
      cacheWrite: 0,
      output: random.below(5) * 100,
      reasoning: random.below(2) * 1000
    }
  }

  #appendRepeat({ event, partition }: Made, arrivedAt: number): void {
    const random = this.#random
    const target = random.happens(0.6) ? partition : random.below(this.#partitions.length)
    const dice = random.next()
    let copy = event
    if (event.kind === 'used' && dice < 0.2)
      copy = { ...event, tokens: { ...event.tokens, input: event.tokens.input + 1 } }
    else if (event.kind === 'used' && dice < 0.3) copy = { ...event, userId: random.pick(USERS) }
    else if (event.kind === 'used' && dice < 0.5) copy = { ...event, occurredAt: this.#occurredAt(arrivedAt) }
    else if (event.kind === 'used' && dice < 0.6)
      copy = { ...event, holdId: `hold-${random.below(HOLDS_PER_CUSTOMER)}` }
    // Not to be repeated itself: a copy of a copy, at another time, could arrive when the first one's mark is gone.
    this.#append(copy, { partition: target, arrivedAt, isCopy: true })
  }

  #appendVoid(event: UsageEvent, arrivedAt: number): void {
    const { input, cacheRead, cacheWrite, output, reasoning } = event.tokens
    if (event.kind === 'voided') return
    const tokens = {
      input: 0 - input,
      cacheRead: 0 - cacheRead,
      cacheWrite: 0 - cacheWrite,
      output: 0 - output,
      reasoning: 0 - reasoning
    }
    // A second void after the marks of the first are gone is the API's to refuse.
    if (
      this.#made.some(
        (made) => made.event.kind === 'voided' && made.event.id === event.id && made.event.source === event.source
      )
    )
      return
    this.#append(
      { ...event, kind: 'voided', holdId: '', tokens },
      { partition: this.#partitionOf(event.customerId), arrivedAt }
    )
  }

  #partitionOf(customerId: string): number {
    const isForeign = this.#random.happens(0.2)
    return isForeign ? this.#random.below(this.#partitions.length) : partitionOf(customerId, this.#partitions.length)
  }

  #append(event: UsageEvent, at: { partition: number; arrivedAt: number; isCopy?: boolean }): void {
    const { partition, arrivedAt, isCopy = false } = at
    const { value, headers } = encodeUsageEvent(event)
    const offset = this.#write(partition, { arrivedAt, value, headers })
    const since = event.occurredAt - arrivedAt
    let reason: UncountedReason | null = null
    if (event.kind === 'used' && since < -DECODE_LIMITS.acceptanceWindowMs) reason = 'too-late'
    if (event.kind === 'used' && since > DECODE_LIMITS.leadMs) reason = 'too-early'
    this.#truths.push({ partition, offset, event: reason === null ? event : null, reason })
    if (reason === null && !isCopy) this.#made.push({ event, partition, arrivedAt })
  }

  #appendPoison(arrivedAt: number): void {
    const partition = this.#random.below(this.#partitions.length)
    const [value, reason] = this.#random.pick(POISON)
    const offset = this.#write(partition, { arrivedAt, value, headers: {} })
    this.#truths.push({ partition, offset, event: null, reason })
  }

  /** Offsets have holes where transactions left their marks. */
  #write(partition: number, part: Pick<UsageRecord, 'arrivedAt' | 'value' | 'headers'>): number {
    const records = this.#partitions[partition] ?? []
    const offset = (records.at(-1)?.offset ?? -1) + 1 + (this.#random.happens(0.1) ? 1 + this.#random.below(2) : 0)
    records.push({ offset, key: null, ...part })
    return offset
  }
}

const POISON: readonly (readonly [Buffer | null, UncountedReason])[] = [
  [Buffer.from('{"specversion":'), 'not-json'],
  [Buffer.from('{"specversion":"1.0","__proto__":{}}'), 'forbidden-key'],
  [
    Buffer.from(
      '{"specversion":"1.0","type":"else","time":"2026-01-01T00:00:00Z","id":"1","source":"s","subject":"ada"}'
    ),
    'unknown-type'
  ],
  [Buffer.alloc(3_000, 'x'), 'too-large'],
  [null, 'invalid-envelope']
]
