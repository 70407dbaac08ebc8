/**
 * A batch as apply-batch.lua takes it: keys, and events packed into one binary argument. One Redis command costs about 10 µs
 * of Node however much it carries, so a batch is one command.
 */
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import type { MeteredEvent } from '../domain/ports.ts'
import type { ShardKeys } from './keys.ts'
import { MARK_FINGERPRINT_BYTES, MARK_ID_BYTES, markGenerationOf, markOf } from './mark.ts'

/** EVENT of apply-batch.lua: <I4I2I4I1c8c2I2I2I4I2ddddd. */
const EVENT_BYTES = 4 + 2 + 4 + 1 + MARK_ID_BYTES + MARK_FINGERPRINT_BYTES + 2 + 2 + 4 + 2 + 5 * 8

export interface PackOptions {
  readonly keys: ShardKeys
  readonly partition: number
  readonly markBuckets: number
  readonly markGenerationMs: number
  /** The latest generation of marks known to be in use in the shard. */
  readonly markMax: number
}

export interface PackedBatch {
  readonly keys: readonly string[]
  /** Generations of marks: first one looked at, how many. */
  readonly markFirst: number
  readonly markSpans: number
  readonly buckets: number
  readonly customers: number
  /** JSON: users, models, holds. */
  readonly texts: string
  readonly firstOffset: number
  readonly events: Buffer
}

/** Numbers texts and the like in the order in which they first turn up. */
class Numbering<T> {
  readonly #numbers = new Map<T, number>()

  of(one: T): number {
    let number = this.#numbers.get(one)
    if (number === undefined) {
      number = this.#numbers.size
      this.#numbers.set(one, number)
    }
    return number
  }

  all(): T[] {
    return [...this.#numbers.keys()]
  }

  get size(): number {
    return this.#numbers.size
  }
}

export function packBatch(events: readonly MeteredEvent[], options: PackOptions): PackedBatch {
  const { keys, markBuckets, markGenerationMs } = options
  let markFirst = Number.MAX_SAFE_INTEGER
  let markLast = options.markMax
  for (const { arrivedAt } of events) {
    const generation = markGenerationOf(arrivedAt, markGenerationMs)
    if (generation - 1 < markFirst) markFirst = generation - 1
    if (generation > markLast) markLast = generation
  }
  const customers = new Numbering<string>()
  const buckets = new Numbering<number>()
  const users = new Numbering<string>()
  const models = new Numbering<string>()
  const holders = new Numbering<string>()
  const holds: [customer: number, holdId: string, holder: number][] = []
  const firstOffset = events[0]?.offset ?? 0
  const packed = Buffer.allocUnsafe(events.length * EVENT_BYTES)
  let at = 0
  for (const { offset, arrivedAt, event } of events) {
    const mark = markOf(event, markBuckets)
    const customer = customers.of(event.customerId)
    at = packed.writeUInt32LE(offset - firstOffset, at)
    at = packed.writeUInt16LE(customer, at)
    at = packed.writeUInt32LE(buckets.of(mark.bucket), at)
    at = packed.writeUInt8(markGenerationOf(arrivedAt, markGenerationMs) - markFirst, at)
    at += mark.id.copy(packed, at)
    at = packed.writeUInt16LE(mark.fingerprint, at)
    at = packed.writeUInt16LE(users.of(event.userId), at)
    at = packed.writeUInt16LE(models.of(event.model), at)
    at = packed.writeUInt32LE(quarterOf(event.occurredAt), at)
    if (event.holdId === '') {
      at = packed.writeUInt16LE(0, at)
    } else {
      holds.push([customer, event.holdId, holders.of(event.customerId)])
      at = packed.writeUInt16LE(holds.length, at)
    }
    const { input, cacheRead, cacheWrite, output, reasoning } = event.tokens
    for (const pool of [input, cacheRead, cacheWrite, output, reasoning]) at = packed.writeDoubleLE(pool, at)
  }
  const markSpans = markLast - markFirst + 1
  const all = [keys.state, keys.verdicts(options.partition), keys.cuts]
  for (const bucket of buckets.all()) {
    for (let span = 0; span < markSpans; span++) all.push(keys.mark(markFirst + span, bucket))
  }
  for (const customer of customers.all()) all.push(keys.limits(customer), keys.used(customer))
  for (const holder of holders.all()) all.push(keys.holds(holder))
  return {
    keys: all,
    markFirst,
    markSpans,
    buckets: buckets.size,
    customers: customers.size,
    texts: JSON.stringify({ users: users.all(), models: models.all(), holds }),
    firstOffset,
    events: packed
  }
}
