/** One partition as its loop takes it: batches, ticks and the end, over a fetcher and an inbox. */
import { RetryableError } from '../../domain/errors.ts'
import type { PartitionSource, Work } from '../../domain/ports.ts'
import type { FetchTuning } from './fetch-tuning.ts'
import type { Logger } from './kafka-client.ts'
import { foreignLog, type PartitionFetcher } from './partition-fetcher.ts'
import { PartitionInbox } from './partition-inbox.ts'

export interface PartitionSourceOptions {
  readonly topic: string
  readonly partition: number
  readonly fetcher: PartitionFetcher
  readonly tuning: FetchTuning
  readonly flushIntervalMs: number
  readonly logger: Logger
  readonly report: (partition: number, offset: number) => void
}

/** A broker that answers nothing for so long while a record is looked for is away. */
const VERIFY_TIMEOUT_MS = 10_000

/** How far before the cursor the last record is looked for: before it may stand transaction markers. */
const VERIFY_STEPS = [1, 64, 4_096] as const

/**
 * A share of an interval, in [0, 1), different for each partition however many there are: flushes of all partitions at once would
 * keep Postgres and the processors busy for a tenth of a second, and whatever is to be counted waits.
 */
function spreadOf(partition: number): number {
  return (partition * GOLDEN_RATIO) % 1
}

const GOLDEN_RATIO = (1 + Math.sqrt(5)) / 2

export class KafkaPartitionSource implements PartitionSource {
  readonly #options: PartitionSourceOptions
  readonly #inbox: PartitionInbox
  /** The offset after the last one that was given. */
  #given = 0
  #nextTickAt = 0
  #isOpen = false
  #isStopping = false

  constructor(options: PartitionSourceOptions) {
    this.#options = options
    this.#inbox = new PartitionInbox(options.tuning)
  }

  get isStopping(): boolean {
    return this.#isStopping
  }

  /** Whether its loop has opened it and reads on; false while the loop rests after a failure. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /** From now on `next` answers stop. */
  stop(): void {
    this.#isStopping = true
    this.#inbox.wake()
  }

  async open(offset: number, previousArrivedAt: number | null): Promise<void> {
    const { topic, partition, fetcher, logger } = this.#options
    const bounds = (await fetcher.bounds()).get(partition)
    if (bounds === undefined) throw foreignLog(topic, partition, 'is no partition of the log')
    if (offset > bounds.end) throw foreignLog(topic, partition, `ends at ${bounds.end}, before the cursor ${offset}`)
    if (previousArrivedAt !== null && offset > bounds.first) {
      await this.#verify(offset, previousArrivedAt, bounds.first)
    }
    this.#inbox.begin(offset)
    if (offset < bounds.first) {
      const removed = { topic, partition, from: offset, to: bounds.first }
      if (offset > 0) logger.error(removed, 'retention removed records that were never counted')
      this.#inbox.skipTo(bounds.first)
    }
    this.#given = offset
    this.#nextTickAt = Date.now() + this.#options.flushIntervalMs * (1 + spreadOf(partition))
    fetcher.follow(partition, this.#inbox)
    this.#isOpen = true
  }

  async next(): Promise<Work> {
    const { partition, fetcher, flushIntervalMs } = this.#options
    for (;;) {
      if (this.#isStopping) return { kind: 'stop' }
      const now = Date.now()
      if (now >= this.#nextTickAt) {
        this.#nextTickAt = now + flushIntervalMs
        return { kind: 'tick', drainedAt: this.#drainedAt() }
      }
      const batch = this.#inbox.take()
      if (batch !== null) {
        fetcher.resumeWhenRoom(partition)
        this.#given = batch.to
        return { kind: 'batch', batch }
      }
      await this.#inbox.arrival(this.#nextTickAt - now)
    }
  }

  report(offset: number): void {
    this.#options.report(this.#options.partition, offset)
  }

  /** Waits, unless it is stopped meanwhile. */
  async rest(durationMs: number): Promise<void> {
    this.#isOpen = false
    this.#inbox.begin(this.#given)
    this.#options.fetcher.unfollow(this.#options.partition)
    if (!this.#isStopping) await this.#inbox.arrival(durationMs)
  }

  #drainedAt(): number | null {
    if (!this.#inbox.isEmpty) return null
    const seen = this.#options.fetcher.lastSeenEnd(this.#options.partition)
    return seen !== null && this.#given >= seen.end ? seen.askedAt : null
  }

  async #verify(offset: number, previousArrivedAt: number, first: number): Promise<void> {
    const { topic, partition, logger } = this.#options
    for (const step of VERIFY_STEPS) {
      const from = Math.max(first, offset - step)
      const found = await this.#findLastRecord(from, offset)
      if (found !== null && found.arrivedAt !== previousArrivedAt) {
        const finding = `holds at ${found.offset} a record of ${found.arrivedAt}, not of ${previousArrivedAt}`
        throw foreignLog(topic, partition, finding)
      }
      if (found !== null || this.#isStopping) return
      if (from === first) break
    }
    logger.warn({ topic, partition, offset }, 'no record before the cursor is left to know the log by')
  }

  /** The last record in [from, to), or null when there is none. */
  async #findLastRecord(from: number, to: number): Promise<{ offset: number; arrivedAt: number } | null> {
    const { topic, partition, fetcher } = this.#options
    const deadline = Date.now() + VERIFY_TIMEOUT_MS
    this.#inbox.begin(from)
    fetcher.follow(partition, this.#inbox)
    let last: { offset: number; arrivedAt: number } | null = null
    for (let position = from; position < to; ) {
      const batch = this.#inbox.take()
      if (batch !== null) {
        last = batch.records.findLast((record) => record.offset < to) ?? last
        position = batch.to
        fetcher.resumeWhenRoom(partition)
        continue
      }
      if (this.#isStopping) return null
      const leftMs = deadline - Date.now()
      if (leftMs <= 0)
        throw new RetryableError('log-unavailable', `${topic}/${partition} is not answered from ${from} on`)
      await this.#inbox.arrival(leftMs)
    }
    return last
  }
}
