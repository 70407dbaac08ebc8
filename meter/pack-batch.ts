/**
 * A batch as apply-batch.lua takes it: keys, and events packed into one binary argument. One Redis command costs about 10 µs
 * of Node however much it carries, so a batch is one command.
 */

import type { MeteredEvent } from '../domain/ports.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import type { ShardKeys } from './keys.ts'
import { MARK_FINGERPRINT_BYTES, MARK_ID_BYTES, markGenerationOf, markOf } from './mark.ts'

/** EVENT of apply-batch.lua: <I4I2I4c8c2I2I2I4I2ddddd. */
const EVENT_BYTES = 4 + 2 + 4 + MARK_ID_BYTES + MARK_FINGERPRINT_BYTES + 2 + 2 + 4 + 2 + 5 * 8

/** Customers, users, models and holds of a batch are numbered in 16 bits. */
export const BATCH_EVENTS_MAX = 65_535
/**
 * A copy that was accepted arrived at most one generation later. On a partition that lags far behind, looking further than
 * this would only make the command longer.
 */
const LATER_GENERATIONS_MAX = 8

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
  readonly marks: MarkKeys
  readonly customers: number
  /** JSON: users, models, holds. */
  readonly texts: string
  readonly firstOffset: number
  readonly events: Buffer
}

/** A place is a bucket in a generation: one key for the generation before, one for its own, one for each later one. */
export interface MarkKeys {
  readonly places: number
  readonly keysPerPlace: number
  readonly firstGeneration: number
  readonly lastGeneration: number
  readonly latestKnown: number
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
  if (events.length > BATCH_EVENTS_MAX)
    throw new RangeError(`a batch of ${events.length} events; the most is ${BATCH_EVENTS_MAX}`)
  const { keys, markBuckets, markGenerationMs } = options
  const customers = new Numbering<string>()
  const users = new Numbering<string>()
  const models = new Numbering<string>()
  const holders = new Numbering<string>()
  const places = new Numbering<number>()
  const marked: [generation: number, bucket: number][] = []
  const holds: [customer: number, holdId: string, holder: number][] = []
  const firstOffset = events[0]?.offset ?? 0
  const packed = Buffer.allocUnsafe(events.length * EVENT_BYTES)
  let at = 0
  for (const { offset, arrivedAt, event } of events) {
    const mark = markOf(event, markBuckets)
    const generation = markGenerationOf(arrivedAt, markGenerationMs)
    const place = places.of(generation * markBuckets + mark.bucket)
    if (place === marked.length) marked.push([generation, mark.bucket])
    const customer = customers.of(event.customerId)
    at = packed.writeUInt32LE(offset - firstOffset, at)
    at = packed.writeUInt16LE(customer, at)
    at = packed.writeUInt32LE(place, at)
    at += packed.write(mark.id, at, 'latin1')
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
  const marks = markKeysOf(marked, options.markMax)
  const all = keys.ofPartition(options.partition)
  for (const [generation, bucket] of marked) {
    for (let i = 0; i < marks.keysPerPlace; i++) all.push(keys.mark(generation - 1 + i, bucket))
  }
  for (const customer of customers.all()) all.push(keys.limits(customer), keys.used(customer))
  for (const holder of holders.all()) all.push(keys.holds(holder))
  const texts = JSON.stringify({ users: users.all(), models: models.all(), holds })
  return { keys: all, marks, customers: customers.size, texts, firstOffset, events: packed }
}

/** `markMax`: the latest generation that the shard is known to use. */
function markKeysOf(marked: readonly (readonly [generation: number, bucket: number])[], markMax: number): MarkKeys {
  let [firstGeneration, lastGeneration] = [marked[0]?.[0] ?? 0, marked[0]?.[0] ?? 0]
  for (const [generation] of marked) {
    firstGeneration = Math.min(firstGeneration, generation)
    lastGeneration = Math.max(lastGeneration, generation)
  }
  const latestKnown = Math.max(markMax, lastGeneration)
  const keysPerPlace = 2 + Math.min(LATER_GENERATIONS_MAX, latestKnown - firstGeneration)
  return { places: marked.length, keysPerPlace, firstGeneration, lastGeneration, latestKnown }
}

/** The arguments of apply-batch.lua from the 8th on. */
export function packedArguments({
  marks,
  customers,
  texts,
  firstOffset,
  events
}: PackedBatch): (string | number | Buffer)[] {
  const { places, keysPerPlace, firstGeneration, lastGeneration, latestKnown } = marks
  return [places, keysPerPlace, firstGeneration, lastGeneration, latestKnown, customers, texts, firstOffset, events]
}
