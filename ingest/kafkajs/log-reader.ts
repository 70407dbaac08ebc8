/**
 * Reads the log again, from anywhere, while the consumer group goes on. kafkajs fetches only as a member of a group, so a
 * group of one member is made when it is needed and deleted when no read has come for a while; it commits no offset. Joining
 * costs the broker's `group.initial.rebalance.delay.ms` (3 s by default), which is why reads share one group.
 */
import { randomUUID } from 'node:crypto'
import type { Kafka } from 'kafkajs'
import { RetryableError } from '../../domain/errors.ts'
import type { LogReader, RecordBatch } from '../../domain/ports.ts'
import { FETCH_TUNING, type FetchTuning } from './fetch-tuning.ts'
import { type Logger, translateKafkaError } from './kafka-client.ts'
import { type LogBounds, PartitionFetcher, readLogBounds } from './partition-fetcher.ts'
import { PartitionInbox } from './partition-inbox.ts'

export interface LogReaderOptions {
  readonly kafka: Kafka
  readonly topic: string
  /** Begins the name of the temporary group. */
  readonly groupIdPrefix: string
  readonly logger: Logger
  readonly tuning?: Partial<FetchTuning>
}

/** How long the group stays for the next read. */
const LINGER_MS = 5_000
/** A broker that gives nothing for so long although the log goes on is away. */
const SILENCE_MAX_MS = 20_000

interface Group {
  readonly groupId: string
  readonly fetcher: PartitionFetcher
}

export class KafkaLogReader implements LogReader {
  readonly #options: LogReaderOptions
  readonly #tuning: FetchTuning
  /** Partitions being read: a fetcher reads each from one offset at a time. */
  readonly #reading = new Map<number, Promise<void>>()
  #group: Promise<Group> | null = null
  #readers = 0
  #lingerTimer: NodeJS.Timeout | undefined
  #leaving: Promise<void> = Promise.resolve()

  constructor(options: LogReaderOptions) {
    this.#options = options
    this.#tuning = { ...FETCH_TUNING, ...options.tuning }
  }

  async ends(): Promise<readonly LogBounds[]> {
    const bounds = await this.#bounds()
    return [...bounds.keys()].sort((a, b) => a - b).map((partition) => boundsOf(bounds, partition))
  }

  async *read(partition: number, from: number, to: number): AsyncGenerator<RecordBatch> {
    const { first, end } = boundsOf(await this.#bounds(), partition)
    const start = Math.max(from, first)
    const stop = Math.min(to, end)
    if (start >= stop) return
    while (this.#reading.has(partition)) await this.#reading.get(partition)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#reading.set(partition, promise)
    this.#readers++
    try {
      const { fetcher } = await this.#join()
      yield* this.#readThrough(fetcher, { partition, start, stop })
    } finally {
      this.#readers--
      this.#reading.delete(partition)
      resolve()
      this.#leaveLater()
    }
  }

  /** Ends the temporary group. A read that is under way fails. */
  async close(): Promise<void> {
    clearTimeout(this.#lingerTimer)
    this.#leave()
    await this.#leaving
  }

  async *#readThrough(
    fetcher: PartitionFetcher,
    range: { readonly partition: number; readonly start: number; readonly stop: number }
  ): AsyncGenerator<RecordBatch> {
    const { partition, start, stop } = range
    const inbox = new PartitionInbox(this.#tuning)
    inbox.begin(start)
    fetcher.follow(partition, inbox)
    try {
      let position = start
      let givenUpAt = Date.now() + SILENCE_MAX_MS
      while (position < stop) {
        const batch = inbox.take()
        if (batch !== null) {
          fetcher.resumeWhenRoom(partition)
          position = Math.min(batch.to, stop)
          yield { from: batch.from, to: position, records: batch.records.filter(({ offset }) => offset < stop) }
          givenUpAt = Date.now() + SILENCE_MAX_MS
          continue
        }
        const leftMs = givenUpAt - Date.now()
        if (leftMs <= 0) throw this.#unavailable(`partition ${partition} is not answered from ${position} on`)
        await inbox.arrival(leftMs)
      }
    } finally {
      fetcher.unfollow(partition)
    }
  }

  async #join(): Promise<Group> {
    clearTimeout(this.#lingerTimer)
    this.#group ??= this.#makeGroup()
    const group = this.#group
    try {
      return await group
    } catch (error) {
      if (this.#group === group) this.#group = null
      throw error
    }
  }

  async #makeGroup(): Promise<Group> {
    const { kafka, topic, groupIdPrefix, logger } = this.#options
    await this.#leaving
    const groupId = `${groupIdPrefix}-${randomUUID()}`
    const fetcher = new PartitionFetcher({
      kafka,
      topic,
      groupId,
      logger,
      tuning: this.#tuning,
      onAssigned: () => undefined,
      // Readers see it as silence and say so; the next one makes another group.
      onCrash: (error) => {
        this.#group = null
        logger.warn({ err: error, topic }, 'reading the log stopped')
      }
    })
    await fetcher.start()
    return { groupId, fetcher }
  }

  #leaveLater(): void {
    if (this.#readers > 0) return
    clearTimeout(this.#lingerTimer)
    this.#lingerTimer = setTimeout(() => this.#leave(), LINGER_MS)
  }

  #leave(): void {
    const group = this.#group
    if (group === null) return
    this.#group = null
    this.#leaving = this.#dissolve(group)
  }

  async #dissolve(group: Promise<Group>): Promise<void> {
    const { kafka, topic, logger } = this.#options
    try {
      const { groupId, fetcher } = await group
      await fetcher.stop()
      const admin = kafka.admin()
      await admin.connect()
      await admin.deleteGroups([groupId]).finally(() => admin.disconnect())
    } catch (error) {
      // The broker forgets an empty group by itself.
      logger.debug({ err: error, topic }, 'a temporary group was not deleted')
    }
  }

  async #bounds(): Promise<ReadonlyMap<number, LogBounds>> {
    const admin = this.#options.kafka.admin()
    try {
      await admin.connect()
      return await readLogBounds(admin, this.#options.topic)
    } catch (error) {
      throw translateKafkaError(error, `read the bounds of ${this.#options.topic}`)
    } finally {
      await admin.disconnect()
    }
  }

  #unavailable(finding: string): RetryableError {
    return new RetryableError('log-unavailable', `${this.#options.topic}: ${finding}`)
  }
}

function boundsOf(bounds: ReadonlyMap<number, LogBounds>, partition: number): LogBounds {
  const found = bounds.get(partition)
  if (found === undefined) throw new Error(`the log has no partition ${partition}, only ${[...bounds.keys()]}`)
  return found
}
