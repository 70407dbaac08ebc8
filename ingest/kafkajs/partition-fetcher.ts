/**
 * Drives a kafkajs consumer so that partitions can be read from offsets of our own choosing, each into its inbox. kafkajs
 * fetches nothing while a handler runs, so the handler only hands over; what limits memory is pausing. At low load it makes use of that:
 * a moment's wait, and the next fetch has a batch in it instead of a few records.
 *
 * How kafkajs 2.2.4 behaves, and what is made of it:
 * - A seek takes effect with the next fetch of the partition. What was fetched before it is still handed to the handler, as
 *   stale, or dropped. So only a batch that was asked for at the inbox's position (`fetchedOffset`) is accepted.
 * - A rejoin forgets positions and goes back to the committed offset: each join seeks again. Pauses survive a rejoin but
 *   not a crash: each join says them again.
 * - What is fetched of a paused partition is dropped and fetched again after it; nothing is lost.
 * - A fetch that holds only transaction markers or aborted records never reaches the handler and moves on by itself. The
 *   event START_BATCH_PROCESS tells its bounds.
 * - An offset out of range makes it begin at the log's start: noticed as a batch from another offset.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Admin, Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import { ForeignLogError } from '../../domain/errors.ts'
import type { FetchTuning } from './fetch-tuning.ts'
import { type Logger, translateKafkaError } from './kafka-client.ts'
import type { PartitionInbox } from './partition-inbox.ts'
import { readStretch } from './read-stretch.ts'

export interface PartitionFetcherOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly groupId: string
  readonly tuning: FetchTuning
  readonly logger: Logger
  /** Every join of the group: the partitions that are this member's from now on. */
  readonly onAssigned: (partitions: readonly number[]) => void
  /** kafkajs gave up for good; what may pass it tries again for ever. */
  readonly onCrash: (error: Error) => void
}

export interface LogBounds {
  /** First offset still kept. */
  readonly first: number
  /** The offset after the last record that can be read: what an open transaction wrote is not part of the log yet. */
  readonly end: number
}

interface Feed {
  readonly inbox: PartitionInbox
  paused: boolean
  resynchronising: boolean
  /** How often in a row the log was not where it was asked for. */
  misses: number
}

/** Beyond these the position can't be reached: a log that kafkajs skips through, say a compacted one. */
const MISSES_MAX = 20

export class PartitionFetcher {
  readonly #options: PartitionFetcherOptions
  readonly #consumer: Consumer
  readonly #admin: Admin
  readonly #feeds = new Map<number, Feed>()
  #assigned: readonly number[] = []
  #isJoined = false
  #lastEnds: { readonly askedAt: number; readonly bounds: ReadonlyMap<number, LogBounds> } | null = null
  #isAskingEnds = false
  /** One wait for all partitions of a fetch: kafkajs hands over eight at a time, and each waiting on its own would add up. */
  #linger: Promise<void> | null = null

  constructor(options: PartitionFetcherOptions) {
    const { kafka, groupId, tuning } = options
    this.#options = options
    this.#admin = kafka.admin()
    this.#consumer = kafka.consumer({
      groupId,
      sessionTimeout: tuning.sessionTimeoutMs,
      // A member that does not rejoin in time loses its partitions; nobody waits longer for it than for a dead one.
      rebalanceTimeout: tuning.sessionTimeoutMs,
      heartbeatInterval: Math.floor(tuning.sessionTimeoutMs / 5),
      maxWaitTimeInMs: tuning.fetchWaitMs,
      maxBytesPerPartition: tuning.partitionBytesMax,
      maxBytes: tuning.fetchBytesMax,
      metadataMaxAge: tuning.metadataAgeMaxMs,
      allowAutoTopicCreation: false
    })
  }

  async start(): Promise<void> {
    const { topic, tuning } = this.#options
    this.#listen()
    try {
      await this.#admin.connect()
      await this.#consumer.connect()
      await this.#consumer.subscribe({ topics: [topic], fromBeginning: true })
      await this.#consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: tuning.partitionsConcurrentMax,
        eachBatch: (payload) => this.#accept(payload)
      })
    } catch (error) {
      throw translateKafkaError(error, `consume ${topic}`)
    }
  }

  /** Leaves the group, so that others take over at once. */
  async stop(): Promise<void> {
    this.#isJoined = false
    this.#feeds.clear()
    await this.#consumer.disconnect()
    await this.#admin.disconnect()
  }

  /** Fetches a partition from the inbox's position on, as soon as it is this member's. */
  follow(partition: number, inbox: PartitionInbox): void {
    const feed: Feed = { inbox, paused: false, resynchronising: false, misses: 0 }
    this.#feeds.set(partition, feed)
    if (this.#isJoined && this.#assigned.includes(partition)) this.#aim(partition, feed)
  }

  unfollow(partition: number): void {
    this.#feeds.delete(partition)
    if (this.#isJoined) this.#consumer.pause([this.#at(partition)])
  }

  /** To be told after each take: fetches again when the inbox has room. */
  resumeWhenRoom(partition: number): void {
    const feed = this.#feeds.get(partition)
    if (!feed?.paused || !feed.inbox.hasRoom) return
    feed.paused = false
    if (this.#isJoined) this.#consumer.resume([this.#at(partition)])
  }

  async bounds(): Promise<ReadonlyMap<number, LogBounds>> {
    return readLogBounds(this.#admin, this.#options.topic)
  }

  /**
   * The end of a partition at a past moment, or null: everything that had arrived by `askedAt` has a lower offset. Each call
   * also asks anew, for all partitions in one request, and the next call has the answer: nobody waits for it.
   */
  lastSeenEnd(partition: number): { readonly askedAt: number; readonly end: number } | null {
    void this.#askEnds()
    const end = this.#lastEnds?.bounds.get(partition)?.end
    return this.#lastEnds === null || end === undefined ? null : { askedAt: this.#lastEnds.askedAt, end }
  }

  /** Null when done, else why not. */
  async commit(offsets: ReadonlyMap<number, number>): Promise<Error | null> {
    const { topic } = this.#options
    const mine = [...offsets].filter(([partition]) => this.#assigned.includes(partition))
    if (!this.#isJoined || mine.length === 0) return null
    try {
      await this.#consumer.commitOffsets(
        mine.map(([partition, offset]) => ({ topic, partition, offset: String(offset) }))
      )
      return null
    } catch (error) {
      return translateKafkaError(error, `commit offsets of ${topic}`)
    }
  }

  #listen(): void {
    const { events } = this.#consumer
    const { topic, onAssigned, onCrash } = this.#options
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => {
      this.#isJoined = true
      this.#assigned = payload.memberAssignment[topic] ?? []
      // Emitted before the first fetch of this generation, so that nothing is fetched from a committed offset.
      for (const partition of this.#assigned) this.#aim(partition, this.#feeds.get(partition))
      onAssigned(this.#assigned)
    })
    this.#consumer.on(events.FETCH_START, () => {
      this.#linger = null
    })
    this.#consumer.on(events.STOP, () => {
      this.#isJoined = false
    })
    this.#consumer.on(events.CRASH, ({ payload }) => {
      this.#isJoined = false
      if (!payload.restart) onCrash(payload.error)
    })
    this.#consumer.on(events.START_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize === 0) this.#passFiltered(payload.partition, payload.firstOffset, payload.lastOffset)
    })
  }

  /** Seeks and resumes, or holds a partition that nobody follows. */
  #aim(partition: number, feed: Feed | undefined): void {
    if (feed === undefined) {
      this.#consumer.pause([this.#at(partition)])
      return
    }
    this.#consumer.seek({ topic: this.#options.topic, partition, offset: String(feed.inbox.position) })
    if (feed.paused) this.#consumer.pause([this.#at(partition)])
    else this.#consumer.resume([this.#at(partition)])
  }

  async #accept({ batch, isStale, resolveOffset }: EachBatchPayload): Promise<void> {
    const feed = this.#feeds.get(batch.partition)
    // Not resolved: it is fetched again from where the seek says.
    if (feed === undefined || feed.resynchronising || isStale()) return
    const stretch = readStretch(batch)
    if (!feed.inbox.offer(stretch)) {
      void this.#resynchronise(batch.partition, feed)
      return
    }
    feed.misses = 0
    resolveOffset(batch.lastOffset())
    if (feed.inbox.isFull && !feed.paused) {
      feed.paused = true
      this.#consumer.pause([this.#at(batch.partition)])
    }
    const { lingerBelowRecords, lingerMs } = this.#options.tuning
    if (stretch.records.length >= lingerBelowRecords) return
    this.#linger ??= delay(lingerMs, undefined, { ref: false })
    await this.#linger
  }

  /** Nothing in [first, last] is a record for us, and nothing was left out in between. */
  #passFiltered(partition: number, first: string | null, last: string): void {
    const inbox = this.#feeds.get(partition)?.inbox
    if (inbox === undefined || first === null) return
    if (Number(first) <= inbox.position && inbox.position <= Number(last)) inbox.skipTo(Number(last) + 1)
  }

  /** The log was read from another offset than was asked for: looks whether the position is still there, and seeks again. */
  async #resynchronise(partition: number, feed: Feed): Promise<void> {
    const { topic, logger } = this.#options
    feed.resynchronising = true
    try {
      const bounds = (await this.bounds()).get(partition)
      if (this.#feeds.get(partition) !== feed) return
      const { position } = feed.inbox
      feed.misses++
      if (bounds === undefined || position > bounds.end) {
        feed.inbox.fail(foreignLog(topic, partition, `ends at ${bounds?.end}, before the offset ${position}`))
      } else if (feed.misses > MISSES_MAX) {
        feed.inbox.fail(new Error(`${topic}/${partition} can't be read from offset ${position} on; is it compacted?`))
      } else if (position < bounds.first) {
        logger.error(
          { topic, partition, from: position, to: bounds.first },
          'retention removed records that were unread'
        )
        feed.inbox.skipTo(bounds.first)
      }
    } catch (error) {
      logger.warn({ err: translateKafkaError(error, `read the bounds of ${topic}`) }, 'seeking without the bounds')
    } finally {
      feed.resynchronising = false
      if (this.#isJoined && this.#feeds.get(partition) === feed) this.#aim(partition, feed)
    }
  }

  async #askEnds(): Promise<void> {
    if (this.#isAskingEnds || !this.#isJoined) return
    this.#isAskingEnds = true
    const askedAt = Date.now()
    try {
      this.#lastEnds = { askedAt, bounds: await this.bounds() }
    } catch (error) {
      // No answer is an answer: the last one grows old, and whoever judges by it says "stale".
      this.#options.logger.debug({ err: error }, 'the ends of the log are not known')
    } finally {
      this.#isAskingEnds = false
    }
  }

  #at(partition: number): { topic: string; partitions: number[] } {
    return { topic: this.#options.topic, partitions: [partition] }
  }
}

export function foreignLog(topic: string, partition: number, finding: string): ForeignLogError {
  return new ForeignLogError(
    `${topic}/${partition} ${finding}: another topic stands under this name, or its end was lost; nothing is consumed`
  )
}

export async function readLogBounds(admin: Admin, topic: string): Promise<ReadonlyMap<number, LogBounds>> {
  try {
    const partitions = await admin.fetchTopicOffsets(topic)
    return new Map(partitions.map(({ partition, low, high }) => [partition, { first: Number(low), end: Number(high) }]))
  } catch (error) {
    throw translateKafkaError(error, `read the bounds of ${topic}`)
  }
}
