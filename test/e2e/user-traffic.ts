/** Usage of one customer's users, sent without a pause as several services would, with an account of its own. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Producer } from 'kafkajs'
import { Random } from '../../stack/demo/random.ts'
import { usageEnvelope } from './usage-envelope.ts'

export interface TrafficOptions {
  readonly producer: Producer
  readonly topic: string
  readonly customerId: string
  readonly users: readonly string[]
  /** Events claim a time in the last so many milliseconds. */
  readonly spreadMs: number
  /** Usage before this instant, ms since the epoch, is sent as well and kept out of the account. */
  readonly windowStart: number
  readonly seed: number
}

const BATCH_EVENTS = 60
const PACE_MS = 20
const TOKENS_MAX = 1_000

export class UserTraffic {
  readonly #options: TrafficOptions
  readonly #random: Random
  readonly #sent = new Map<string, number>()
  #events = 0
  #isWanted = false
  #running: Promise<void> = Promise.resolve()

  constructor(options: TrafficOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
  }

  /** Events handed to the producer so far. */
  get events(): number {
    return this.#events
  }

  /** Tokens of a user in the window, counted before they are handed to the producer: never below what the log holds. */
  sent(userId: string): number {
    return this.#sent.get(userId) ?? 0
  }

  start(): void {
    this.#isWanted = true
    this.#running = this.#run()
  }

  /** Resolves when the broker has everything; rejects when a batch could not be sent. */
  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#running
  }

  async #run(): Promise<void> {
    const { producer, topic } = this.#options
    while (this.#isWanted) {
      const messages = Array.from({ length: BATCH_EVENTS }, () => this.#nextMessage())
      await producer.send({ topic, messages, acks: -1 })
      await delay(PACE_MS)
    }
  }

  #nextMessage(): { key: string; value: string } {
    const { customerId, users, spreadMs, windowStart } = this.#options
    const userId = users[this.#random.below(users.length)] ?? ''
    const occurredAt = Date.now() - this.#random.below(spreadMs)
    const [input, output] = [this.#random.below(TOKENS_MAX), 1 + this.#random.below(TOKENS_MAX)]
    const id = `load-${++this.#events}`
    if (occurredAt >= windowStart) this.#sent.set(userId, this.sent(userId) + input + output)
    const event = usageEnvelope({ id, customerId, occurredAt, data: { userId, tokens: { input, output } } })
    return { key: customerId, value: JSON.stringify(event) }
  }
}
