/**
 * Keeps a record that could not be counted: its own bytes, key and headers, and beside them why and where it stood. Written at
 * least once, before any cursor passes the record. The table of uncounted offsets is the truth; this topic is what a person
 * reads and replays.
 */
import kafkajs, { type IHeaders, type Kafka, type Message, type Producer } from 'kafkajs'
import type { DeadLetter, DeadLetters } from '../domain/ports.ts'
import type { UncountedReason, UsageRecord } from '../domain/tokens/usage-event.ts'
import { translateKafkaError } from './kafkajs/kafka-client.ts'

export interface DeadLettersOptions {
  readonly kafka: Kafka
  /** Where dead letters go. */
  readonly topic: string
  /** Where they come from. */
  readonly usageTopic: string
}

/** Bounds of one request; a single larger letter goes alone. */
const REQUEST_BYTES_MAX = 512 * 1024
const REQUEST_LETTERS_MAX = 1_000
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 3 }
const BROKER_TIMEOUT_MS = 3_000
/** Of a message; it may quote what was wrong. */
const MESSAGE_CHARS_MAX = 1_000

export class KafkaDeadLetters implements DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #producer: Producer

  private constructor(options: DeadLettersOptions) {
    this.#options = options
    this.#producer = options.kafka.producer({
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
      retry: RETRY
    })
  }

  static async connect(options: DeadLettersOptions): Promise<KafkaDeadLetters> {
    const letters = new KafkaDeadLetters(options)
    try {
      await letters.#producer.connect()
      return letters
    } catch (error) {
      throw translateKafkaError(error, `produce to ${options.topic}`)
    }
  }

  async append(letters: readonly DeadLetter[]): Promise<void> {
    const { topic, usageTopic } = this.#options
    const messages = letters.map((letter) => encodeDeadLetter(letter, usageTopic))
    try {
      for (const request of cutRequests(messages)) {
        await this.#producer.send({ topic, messages: request, acks: -1, timeout: BROKER_TIMEOUT_MS })
      }
    } catch (error) {
      throw translateKafkaError(error, `append ${letters.length} dead letters to ${topic}`)
    }
  }

  async close(): Promise<void> {
    await this.#producer.disconnect()
  }
}

/** Requests that fit into a record batch of the topic, should all of one go to the same partition. */
export function* cutRequests(messages: readonly Message[]): Generator<Message[]> {
  let request: Message[] = []
  let bytes = 0
  for (const message of messages) {
    const size = sizeOf(message)
    if (request.length > 0 && (bytes + size > REQUEST_BYTES_MAX || request.length >= REQUEST_LETTERS_MAX)) {
      yield request
      request = []
      bytes = 0
    }
    request.push(message)
    bytes += size
  }
  if (request.length > 0) yield request
}

function sizeOf({ key, value, headers }: Message): number {
  let bytes = 100 + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, content] of Object.entries(headers ?? {})) {
    for (const one of [content].flat()) bytes += name.length + (one?.length ?? 0)
  }
  return bytes
}

/** Begins the name of every header that we add. */
const PREFIX = 'tm-'

export function encodeDeadLetter(
  { partition, record, reason, field, message }: DeadLetter,
  usageTopic: string
): Message {
  return {
    key: record.key,
    value: record.value,
    headers: {
      ...ownHeaders(record.headers),
      'tm-reason': reason,
      ...(field === null ? {} : { 'tm-field': field }),
      'tm-message': message.slice(0, MESSAGE_CHARS_MAX),
      'tm-topic': usageTopic,
      'tm-partition': String(partition),
      'tm-offset': String(record.offset),
      'tm-arrived-at': String(record.arrivedAt)
    }
  }
}

/** A dead letter as it is read back. */
export interface StoredDeadLetter extends DeadLetter {
  readonly topic: string
}

/** Null when the record was not written by `encodeDeadLetter`. `reason` is what the header says, known or not. */
export function decodeDeadLetter({ key, value, headers }: UsageRecord): StoredDeadLetter | null {
  const reason = textOf(headers['tm-reason'])
  const topic = textOf(headers['tm-topic'])
  const partition = numberOf(headers['tm-partition'])
  const offset = numberOf(headers['tm-offset'])
  const arrivedAt = numberOf(headers['tm-arrived-at'])
  if (reason === null || !isUncountedReason(reason) || topic === null) return null
  if (partition === null || offset === null || arrivedAt === null) return null
  return {
    topic,
    partition,
    reason,
    field: textOf(headers['tm-field']),
    message: textOf(headers['tm-message']) ?? '',
    record: { offset, arrivedAt, key, value, headers: ownHeaders(headers) }
  }
}

/** The headers of the record's producer. Where one had no value it is empty; one that was called `tm-…` is lost. */
function ownHeaders(headers: UsageRecord['headers']): IHeaders {
  const own = Object.entries(headers).filter(([name]) => !name.startsWith(PREFIX))
  // kafkajs can't write a header without a value.
  return Object.fromEntries(own.map(([name, content]) => [name, content ?? '']))
}

function textOf(content: UsageRecord['headers'][string]): string | null {
  const first = [content].flat()[0]
  return first?.toString() ?? null
}

function numberOf(content: UsageRecord['headers'][string]): number | null {
  const text = textOf(content)
  return text !== null && /^\d+$/.test(text) ? Number(text) : null
}

const UNCOUNTED_REASONS: readonly UncountedReason[] = [
  'duplicate',
  'conflict',
  'too-large',
  'not-json',
  'forbidden-key',
  'invalid-envelope',
  'invalid-data',
  'unknown-type',
  'usage-does-not-add-up',
  'too-late',
  'too-early'
]

export function isUncountedReason(text: string): text is UncountedReason {
  return UNCOUNTED_REASONS.some((reason) => reason === text)
}
