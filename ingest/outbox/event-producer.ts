/**
 * The producing end of the topic of events. Not idempotent in Kafka's sense: the relay repeats a page after a failure anyway, and
 * receivers know a repeat by its id. One request at a time, each waits for all in-sync replicas (acks -1).
 */
import type { Kafka, Producer } from 'kafkajs'
import type { EventLog, LeavingEvent } from '../../domain/published-event.ts'
import { cutRequests } from '../dead-letter-producer.ts'
import { translateKafkaError } from '../kafkajs/kafka-client.ts'
import { partitionByCustomer } from '../usage-producer.ts'
import { encodePublishedEvent } from './encode-published-event.ts'

export interface EventLogOptions {
  readonly kafka: Kafka
  readonly topic: string
}

/** About two seconds; then the relay says that it waits, and tries again. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 3 }
const BROKER_TIMEOUT_MS = 3_000

export class KafkaEventLog implements EventLog {
  readonly #topic: string
  readonly #producer: Producer
  #isConnected = false

  /** Connects when it is first asked, so that a broker that is away does not keep the process from starting. */
  constructor({ kafka, topic }: EventLogOptions) {
    this.#topic = topic
    this.#producer = kafka.producer({
      createPartitioner: partitionByCustomer,
      allowAutoTopicCreation: false,
      retry: RETRY
    })
  }

  async append(events: readonly LeavingEvent[]): Promise<void> {
    const messages = events.map((event) => ({ key: event.customerId, ...encodePublishedEvent(event) }))
    try {
      await this.#connect()
      for (const request of cutRequests(messages)) {
        await this.#producer.send({ topic: this.#topic, messages: request, acks: -1, timeout: BROKER_TIMEOUT_MS })
      }
    } catch (error) {
      throw translateKafkaError(error, `append ${events.length} events to ${this.#topic}`)
    }
  }

  async close(): Promise<void> {
    await this.#producer.disconnect()
  }

  async #connect(): Promise<void> {
    if (this.#isConnected) return
    await this.#producer.connect()
    this.#isConnected = true
  }
}
