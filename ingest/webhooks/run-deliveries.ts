/**
 * The worker that posts webhooks: takes what is due, some at most at once and of one endpoint one page at a time, until it is stopped.
 * Several may run: the queue gives each delivery to one of them.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { RetryableError } from '../../domain/errors.ts'
import type { DeliveryQueue } from '../../domain/webhooks/delivery-queue.ts'
import type { Attempt, DueDelivery } from '../../domain/webhooks/webhook-delivery.ts'
import type { Logger } from '../kafkajs/kafka-client.ts'
import { type DeliveryPorts, deliver } from './deliver.ts'

export interface DeliveriesOptions extends Omit<DeliveryPorts, 'queue' | 'random' | 'now'> {
  readonly queue: DeliveryQueue
  readonly logger: Logger
  readonly onAttempt: (attempt: Attempt) => void
  /** A defect: the process has to end. */
  readonly onError: (error: Error) => void
  /** How long an empty queue is left alone: what an event waits at most, and a query for each. */
  readonly pollIntervalMs?: number
}

export interface RunningDeliveries {
  /** Rejects with the reason for which nothing could be taken at the last try. */
  assertWell(): Promise<void>
  /** Ends after the deliveries in hand, 10 s each at most. */
  stop(): Promise<void>
}

const POLL_INTERVAL_MS = 500
/** Bodies in memory, and sockets: 256 KB each at most. */
const IN_HAND_MAX = 64
const RETRY_MS = 2_000
const FORGET_EVERY_MS = 600_000

export function startDeliveries(options: DeliveriesOptions): RunningDeliveries {
  const worker = new DeliveryWorker(options)
  const done = worker.run().catch((error: unknown) => {
    options.onError(error instanceof Error ? error : new Error(`the deliveries ended: ${String(error)}`))
  })
  return {
    assertWell: async () => worker.assertWell(),
    stop: async () => {
      worker.askToStop()
      await done
    }
  }
}

class DeliveryWorker {
  readonly #options: DeliveriesOptions
  readonly #ports: DeliveryPorts
  readonly #stopping = new AbortController()
  /** By endpoint. */
  readonly #inHand = new Map<string, Set<Promise<void>>>()
  #failure: RetryableError | null = null
  #forgetAt = performance.now()

  constructor(options: DeliveriesOptions) {
    this.#options = options
    this.#ports = { ...options, random: Math.random, now: Date.now }
  }

  assertWell(): void {
    if (this.#failure !== null) throw this.#failure
  }

  askToStop(): void {
    this.#stopping.abort()
  }

  /** Resolves when asked to stop and nothing is in hand; rejects on a defect. */
  async run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        const taken = await this.#takeMore()
        this.#failure = null
        if (taken === 0) await this.#wait(this.#options.pollIntervalMs ?? POLL_INTERVAL_MS)
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
        this.#failure = error
        this.#options.logger.warn({ err: error }, 'webhooks wait for Postgres')
        await this.#wait(RETRY_MS)
      }
    }
    await Promise.all([...this.#inHand.values()].flatMap((deliveries) => [...deliveries]))
  }

  async #takeMore(): Promise<number> {
    const { queue } = this.#options
    if (performance.now() >= this.#forgetAt) {
      this.#forgetAt = performance.now() + FORGET_EVERY_MS
      await queue.forget()
    }
    const inHand = [...this.#inHand.values()].reduce((sum, { size }) => sum + size, 0)
    const limit = IN_HAND_MAX - inHand
    if (limit <= 0) return 0
    const due = await queue.take({ limit, busy: [...this.#inHand.keys()] })
    for (const delivery of due) this.#hold(delivery)
    return due.length
  }

  #hold(delivery: DueDelivery): void {
    const { endpointId } = delivery
    const ofEndpoint = this.#inHand.get(endpointId) ?? new Set()
    this.#inHand.set(endpointId, ofEndpoint)
    const done = this.#deliver(delivery).finally(() => {
      ofEndpoint.delete(done)
      if (ofEndpoint.size === 0) this.#inHand.delete(endpointId)
    })
    ofEndpoint.add(done)
  }

  async #deliver(delivery: DueDelivery): Promise<void> {
    const { logger, onAttempt, onError } = this.#options
    const { endpointId, eventId } = delivery
    try {
      const attempt = await deliver(this.#ports, delivery)
      onAttempt(attempt)
      if (!attempt.delivered) logger.info({ endpointId, eventId, ...attempt }, 'a webhook was not delivered')
    } catch (error) {
      if (error instanceof RetryableError) logger.warn({ err: error, endpointId, eventId }, 'the lease brings it back')
      else onError(error instanceof Error ? error : new Error(`a delivery failed: ${String(error)}`))
    }
  }

  async #wait(ms: number): Promise<void> {
    const { signal } = this.#stopping
    try {
      await delay(ms, undefined, { signal })
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}
