/**
 * Third stop on the way of an event: the usage topic's consumer group. It runs one loop for each partition that is this
 * member's and gives it the partition's records. It decides nothing about counting: offsets committed to Kafka are for lag
 * dashboards, and a member that lost a partition without knowing is fenced by the stores, not here. So a rebalance only
 * stops the loops of partitions that went elsewhere and starts those of partitions that came.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { RetryableError } from '../domain/errors.ts'
import type { PartitionSource } from '../domain/ports.ts'
import { FETCH_TUNING, type FetchTuning } from './kafkajs/fetch-tuning.ts'
import type { Logger } from './kafkajs/kafka-client.ts'
import { PartitionFetcher } from './kafkajs/partition-fetcher.ts'
import { KafkaPartitionSource } from './kafkajs/partition-source.ts'

export interface PartitionsOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly groupId: string
  readonly logger: Logger
  readonly sessionTimeoutMs?: number
  /** How often a loop gets a tick. */
  readonly flushIntervalMs?: number
  readonly tuning?: Partial<FetchTuning>
  /** Runs until the source says stop. May throw a `RetryableError`: it is then started again, after a while. */
  readonly loop: (partition: number, source: PartitionSource) => Promise<void>
  /** A defect, or a log that is not ours: the process has to end. May be called more than once. */
  readonly onError: (error: Error) => void
}

export interface RunningPartitions {
  /** Partitions whose loops run, ascending. */
  partitions(): readonly number[]
  /** Records of each of them whose effect was not reported yet, as far as the log's end is known. */
  lag(): ReadonlyMap<number, number>
  /** Resolves when the group is joined and every partition that it gave this member is open; else rejects, naming them. */
  assertOpen(): Promise<void>
  /** Lets each loop flush and return, commits what they reported, and leaves the group. */
  stop(): Promise<void>
}

const SESSION_TIMEOUT_MS = 10_000
const FLUSH_INTERVAL_MS = 1_000
const COMMIT_INTERVAL_MS = 1_000
const LAST_COMMIT_MS = 2_000
const RESTART_MS_MIN = 200
const RESTART_MS_MAX = 5_000

/** Resolves when the group is joined for the first time or joining goes on in the background. */
export async function runPartitions(options: PartitionsOptions): Promise<RunningPartitions> {
  const loops = new PartitionLoops(options)
  await loops.start()
  return loops
}

interface RunningLoop {
  readonly source: KafkaPartitionSource
  readonly done: Promise<void>
}

class PartitionLoops implements RunningPartitions {
  readonly #options: PartitionsOptions
  readonly #tuning: FetchTuning
  readonly #fetcher: PartitionFetcher
  readonly #loops = new Map<number, RunningLoop>()
  readonly #reported = new Map<number, number>()
  /** The last report of each partition that runs. */
  readonly #effective = new Map<number, number>()
  /** Null until the group is joined. */
  #assigned: ReadonlySet<number> | null = null
  #isStopping = false
  #commitTimer: NodeJS.Timeout | undefined

  constructor(options: PartitionsOptions) {
    const { kafka, topic, groupId, logger } = options
    this.#options = options
    this.#tuning = {
      ...FETCH_TUNING,
      sessionTimeoutMs: options.sessionTimeoutMs ?? SESSION_TIMEOUT_MS,
      ...options.tuning
    }
    this.#fetcher = new PartitionFetcher({
      kafka,
      topic,
      groupId,
      logger,
      tuning: this.#tuning,
      onAssigned: (partitions) => this.#assign(partitions),
      onCrash: (error) => options.onError(error)
    })
  }

  async start(): Promise<void> {
    await this.#fetcher.start()
    this.#commitLater()
  }

  partitions(): readonly number[] {
    return [...this.#loops.keys()].sort((a, b) => a - b)
  }

  lag(): ReadonlyMap<number, number> {
    const lags = new Map<number, number>()
    for (const [partition, offset] of this.#effective) {
      const seen = this.#fetcher.lastSeenEnd(partition)
      if (seen !== null) lags.set(partition, Math.max(0, seen.end - offset))
    }
    return lags
  }

  async assertOpen(): Promise<void> {
    const { topic, groupId } = this.#options
    if (this.#assigned === null) throw new RetryableError('group-not-joined', `${groupId} is not joined yet`)
    const waiting = [...this.#assigned].filter((partition) => this.#loops.get(partition)?.source.isOpen !== true)
    if (waiting.length === 0) return
    throw new RetryableError('partitions-not-open', `${topic}: partitions ${waiting.join(', ')} are not open yet`)
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#commitTimer)
    // Heartbeats go on while the loops flush: the group takes the partitions away when we leave, not before.
    for (const { source } of this.#loops.values()) source.stop()
    await Promise.all([...this.#loops.values()].map(({ done }) => done))
    // A broker that is away would be asked for half a minute, for a figure on a dashboard.
    await Promise.race([this.#commit(), delay(LAST_COMMIT_MS, undefined, { ref: false })])
    await this.#fetcher.stop()
  }

  #assign(partitions: readonly number[]): void {
    const assigned = new Set(partitions)
    this.#assigned = assigned
    this.#options.logger.info({ topic: this.#options.topic, partitions }, 'partitions assigned')
    for (const [partition, { source }] of this.#loops) if (!assigned.has(partition)) source.stop()
    for (const partition of partitions) if (!this.#loops.has(partition)) this.#begin(partition)
  }

  #begin(partition: number): void {
    if (this.#isStopping) return
    const { topic, logger, flushIntervalMs } = this.#options
    const source = new KafkaPartitionSource({
      topic,
      partition,
      logger,
      fetcher: this.#fetcher,
      tuning: this.#tuning,
      flushIntervalMs: flushIntervalMs ?? FLUSH_INTERVAL_MS,
      report: (reported, offset) => {
        this.#reported.set(reported, offset)
        this.#effective.set(reported, offset)
      }
    })
    const done = this.#run(partition, source).then((outcome) => {
      this.#loops.delete(partition)
      this.#effective.delete(partition)
      this.#fetcher.unfollow(partition)
      // It came back while its loop was still flushing.
      if (outcome === 'stopped' && this.#assigned?.has(partition)) this.#begin(partition)
    })
    this.#loops.set(partition, { source, done })
  }

  async #run(partition: number, source: KafkaPartitionSource): Promise<'stopped' | 'failed'> {
    const { loop, logger, onError } = this.#options
    let restartMs = RESTART_MS_MIN
    while (!source.isStopping) {
      const startedAt = Date.now()
      try {
        await loop(partition, source)
        if (!source.isStopping) throw new Error(`the loop of partition ${partition} ended without being told to`)
      } catch (error) {
        if (!(error instanceof RetryableError)) {
          onError(error instanceof Error ? error : new Error(String(error)))
          return 'failed'
        }
        if (Date.now() - startedAt > RESTART_MS_MAX) restartMs = RESTART_MS_MIN
        logger.warn({ err: error, partition, restartMs }, 'a partition begins again after a while')
        await source.rest(restartMs)
        restartMs = Math.min(restartMs * 2, RESTART_MS_MAX)
      }
    }
    return 'stopped'
  }

  #commitLater(): void {
    this.#commitTimer = setTimeout(() => {
      void this.#commit().then(() => {
        if (!this.#isStopping) this.#commitLater()
      })
    }, COMMIT_INTERVAL_MS)
  }

  async #commit(): Promise<void> {
    const offsets = new Map(this.#reported)
    this.#reported.clear()
    const failure = await this.#fetcher.commit(offsets)
    if (failure !== null) this.#options.logger.debug({ err: failure }, 'offsets were not committed; lag looks larger')
  }
}
