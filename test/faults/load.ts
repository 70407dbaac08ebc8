/** Steady traffic with everything in it that may go wrong: repeats, contradictions, broken and late records. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka, Message, Producer } from 'kafkajs'
import { Random } from '../../stack/demo/random.ts'

export const CUSTOMERS = 24
const BATCH_INTERVAL_MS = 50
const DAY_MS = 86_400_000
const REMEMBERED = 500

export class Load {
  /** Tokens handed over so far, by customer: what is sent again or contradicts adds nothing. */
  readonly sent = new Map<string, number>()
  readonly #producer: Producer
  readonly #topic: string
  readonly #perBatch: number
  readonly #random = new Random(7)
  #remembered: { key: string; event: Record<string, unknown> }[] = []
  #made = 0
  #acknowledged = 0
  #running: Promise<void> | null = null
  #isWanted = false

  constructor(kafka: Kafka, topic: string, eventsPerSecond: number) {
    this.#producer = kafka.producer({ allowAutoTopicCreation: false })
    this.#topic = topic
    this.#perBatch = Math.max(1, Math.round((eventsPerSecond * BATCH_INTERVAL_MS) / 1_000))
  }

  get acknowledged(): number {
    return this.#acknowledged
  }

  async connect(): Promise<void> {
    await this.#producer.connect()
  }

  start(): void {
    if (this.#running !== null) return
    this.#isWanted = true
    this.#running = this.#run()
  }

  /** Resolves when the broker has everything that was sent. */
  async pause(): Promise<void> {
    this.#isWanted = false
    await this.#running
    this.#running = null
  }

  /** So many records at once. */
  async send(records: number): Promise<void> {
    const messages = Array.from({ length: records }, () => this.#message())
    await this.#producer.send({ topic: this.#topic, messages, acks: -1 })
    this.#acknowledged += records
  }

  async close(): Promise<void> {
    await this.pause()
    await this.#producer.disconnect()
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      await this.send(this.#perBatch)
      await sleep(BATCH_INTERVAL_MS)
    }
  }

  #message(): Message {
    const dice = this.#random.next()
    const known = this.#remembered[this.#random.below(this.#remembered.length || 1)]
    if (known !== undefined && dice < 0.05) return messageOf(known.key, known.event)
    if (known !== undefined && dice < 0.06)
      return messageOf(known.key, { ...known.event, data: { ...DATA, tokens: { input: 999 } } })
    const key = `customer-${this.#random.below(CUSTOMERS)}`
    if (dice < 0.07) return { key, value: `{"broken": ${this.#made++}` }
    const isLate = dice < 0.08
    const event = this.#event(key, isLate ? Date.now() - 2 * DAY_MS : Date.now() - this.#random.below(3_600_000))
    if (!isLate) this.#remember(key, event)
    return messageOf(key, event)
  }

  #event(subject: string, time: number): Record<string, unknown> {
    const tokens = { input: 1 + this.#random.below(500), output: this.#random.below(200) }
    this.sent.set(subject, (this.sent.get(subject) ?? 0) + tokens.input + tokens.output)
    const data = { ...DATA, userId: `user-${this.#random.below(5)}`, tokens }
    return {
      specversion: '1.0',
      id: `event-${this.#made++}`,
      source: 'faults',
      type: 'ai.tokens.used',
      subject,
      time: new Date(time).toISOString(),
      data
    }
  }

  #remember(key: string, event: Record<string, unknown>): void {
    if (this.#remembered.length < REMEMBERED) this.#remembered.push({ key, event })
    else this.#remembered[this.#random.below(REMEMBERED)] = { key, event }
  }
}

const DATA = { model: 'model-a', provider: 'test' }

function messageOf(key: string, event: Record<string, unknown>): Message {
  return { key, value: JSON.stringify(event), headers: { 'content-type': 'application/cloudevents+json' } }
}
