/**
 * The producing end of the usage topic. Calls that come while a request is on its way share the next one.
 *
 * Not idempotent in Kafka's sense, on purpose: a repeat of an event is known by its identity wherever it comes from, which
 * sequence numbers of one producer session can't give, and kafkajs's idempotent producer wants endless retries and one request
 * at a time, where a caller here is to have an answer within five seconds. All in-sync replicas acknowledge (acks -1).
 */
import type { ICustomPartitioner, Kafka, Message, Producer } from 'kafkajs'
import type { UsageEventLog } from '../domain/api-ports.ts'
import { RetryableError } from '../domain/errors.ts'
import { partitionOf } from '../domain/tokens/shard.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { translateKafkaError } from './kafkajs/kafka-client.ts'

export interface UsageEventLogOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly encode: (event: UsageEvent) => { readonly value: Buffer; readonly headers: Readonly<Record<string, string>> }
  /** Events that may wait or be on their way; a call that would pass it is refused. */
  readonly queueEventsMax?: number
  /** A call that is not acknowledged by then fails; its events may still arrive, and a repeat of them changes nothing. */
  readonly timeoutMs?: number
}

const QUEUE_EVENTS_MAX = 20_000
const TIMEOUT_MS = 5_000
/** Bounds of one request. The bytes stay below the topic's `max.message.bytes`, should all go to one partition. */
const REQUEST_EVENTS_MAX = 2_000
const REQUEST_BYTES_MAX = 512 * 1024
/** More would only spread the same events over smaller requests. */
const REQUESTS_IN_FLIGHT_MAX = 2
/** Within the timeout of a call: three tries. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 500, retries: 2 }
const BROKER_TIMEOUT_MS = 2_000

/** The events of one call, until each is acknowledged. */
interface Call {
  unacknowledged: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

interface Waiting {
  readonly message: Message
  readonly bytes: number
  readonly call: Call
}

export class KafkaUsageEventLog implements UsageEventLog {
  readonly #options: UsageEventLogOptions
  readonly #producer: Producer
  #queue: Waiting[] = []
  #inFlight = 0
  #requests = 0
  #isSendPlanned = false

  private constructor(options: UsageEventLogOptions) {
    this.#options = options
    this.#producer = options.kafka.producer({
      createPartitioner: partitionByCustomer,
      allowAutoTopicCreation: false,
      metadataMaxAge: 30_000,
      retry: RETRY
    })
  }

  static async connect(options: UsageEventLogOptions): Promise<KafkaUsageEventLog> {
    const log = new KafkaUsageEventLog(options)
    try {
      await log.#producer.connect()
      return log
    } catch (error) {
      throw translateKafkaError(error, `produce to ${options.topic}`)
    }
  }

  async append(events: readonly UsageEvent[]): Promise<void> {
    if (events.length === 0) return
    const { queueEventsMax = QUEUE_EVENTS_MAX, timeoutMs = TIMEOUT_MS, topic, encode } = this.#options
    const held = this.#queue.length + this.#inFlight
    if (held + events.length > queueEventsMax) {
      throw new RetryableError('log-unavailable', `${held} events wait for ${topic}, at most ${queueEventsMax} may`)
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const call: Call = { unacknowledged: events.length, resolve, reject }
    for (const event of events) {
      const { value, headers } = encode(event)
      const bytes = value.length + event.customerId.length + MESSAGE_OVERHEAD_BYTES
      this.#queue.push({ message: { key: event.customerId, value, headers: { ...headers } }, bytes, call })
    }
    this.#sendSoon()
    const timer = setTimeout(() => {
      this.#queue = this.#queue.filter((waiting) => waiting.call !== call)
      reject(new RetryableError('log-unavailable', `${topic} did not acknowledge within ${timeoutMs} ms`))
    }, timeoutMs)
    await promise.finally(() => clearTimeout(timer))
  }

  /** Waits for what is on its way; no call may follow. */
  async close(): Promise<void> {
    while (this.#requests > 0 || this.#queue.length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await this.#producer.disconnect()
  }

  /** At the end of this turn of the event loop, so that calls of one turn share a request. */
  #sendSoon(): void {
    if (this.#isSendPlanned || this.#queue.length === 0 || this.#requests >= REQUESTS_IN_FLIGHT_MAX) return
    this.#isSendPlanned = true
    setImmediate(() => {
      this.#isSendPlanned = false
      if (this.#queue.length > 0) void this.#send(this.#cutRequest())
      this.#sendSoon()
    })
  }

  #cutRequest(): readonly Waiting[] {
    let count = 0
    let bytes = 0
    for (const waiting of this.#queue) {
      bytes += waiting.bytes
      if (count >= REQUEST_EVENTS_MAX || (count > 0 && bytes > REQUEST_BYTES_MAX)) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #send(request: readonly Waiting[]): Promise<void> {
    const { topic } = this.#options
    this.#requests++
    this.#inFlight += request.length
    try {
      const messages = request.map(({ message }) => message)
      await this.#producer.send({ topic, messages, acks: -1, timeout: BROKER_TIMEOUT_MS })
      for (const { call } of request) if (--call.unacknowledged === 0) call.resolve()
    } catch (error) {
      const failure = translateKafkaError(error, `append ${request.length} events to ${topic}`)
      for (const { call } of request) call.reject(failure)
    } finally {
      this.#requests--
      this.#inFlight -= request.length
      this.#sendSoon()
    }
  }
}

/** Of a record in a request, beside key and value: lengths, offsets, the one header of ours. */
const MESSAGE_OVERHEAD_BYTES = 100

/** Kafka's default partitioner for keyed records, by the domain's own hash: it decides the shard as well. */
export const partitionByCustomer: ICustomPartitioner =
  () =>
  ({ message, partitionMetadata }) =>
    partitionOf(String(message.key), partitionMetadata.length)
