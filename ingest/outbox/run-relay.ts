/**
 * The relay: publishes what is in the outbox, page after page, for as long as it has its turn. Without the turn it stands by, and
 * takes over from a relay that died within a second. It asks again and again rather than being told: a notification that was
 * lost would have to be made up for by asking anyway.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { RetryableError } from '../../domain/errors.ts'
import type { EventLog, LeavingEvent, Outbox, RelayTurns } from '../../domain/published-event.ts'
import type { Logger } from '../kafkajs/kafka-client.ts'
import { publishPage } from './publish-page.ts'

export interface RelayOptions {
  readonly turns: RelayTurns
  readonly events: EventLog
  readonly logger: Logger
  /** What the broker has acknowledged and the outbox has no more. */
  readonly onPublished: (events: readonly LeavingEvent[]) => void
  /** A defect: the process has to end. */
  readonly onError: (error: Error) => void
  /** How long an empty outbox is left alone: what an event waits at most, and a query for each. */
  readonly pollIntervalMs?: number
  readonly pageEventsMax?: number
}

export interface RunningRelay {
  /** Rejects with the reason for which nothing could be published at the last try. Standing by is well. */
  assertWell(): Promise<void>
  /** Ends after the page in hand. */
  stop(): Promise<void>
}

const POLL_INTERVAL_MS = 200
/** Some 500 KB of entities as they are: about one request to the broker. */
const PAGE_EVENTS_MAX = 500
const STANDBY_MS = 1_000
const RETRY_MS_MIN = 200
const RETRY_MS_MAX = 5_000

export function startRelay(options: RelayOptions): RunningRelay {
  const relay = new Relay(options)
  const done = relay.run().catch((error: unknown) => {
    options.onError(error instanceof Error ? error : new Error(`the relay ended: ${String(error)}`))
  })
  return {
    assertWell: async () => relay.assertWell(),
    stop: async () => {
      relay.askToStop()
      await done
    }
  }
}

class Relay {
  readonly #options: RelayOptions
  readonly #stopping = new AbortController()
  #failure: RetryableError | null = null
  #failures = 0

  constructor(options: RelayOptions) {
    this.#options = options
  }

  assertWell(): void {
    if (this.#failure !== null) throw this.#failure
  }

  askToStop(): void {
    this.#stopping.abort()
  }

  /** Resolves when asked to stop; rejects on a defect. */
  async run(): Promise<void> {
    while (!this.#isStopping()) {
      try {
        const turn = await this.#options.turns.withTurn((outbox) => this.#publish(outbox))
        if (turn === null) await this.#standBy()
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
        await this.#waitAfter(error)
      }
    }
  }

  async #publish(outbox: Outbox): Promise<'stopped'> {
    const { events, logger, onPublished, pollIntervalMs = POLL_INTERVAL_MS } = this.#options
    const { pageEventsMax = PAGE_EVENTS_MAX } = this.#options
    logger.info({}, 'the relay has its turn')
    while (!this.#isStopping()) {
      const page = await publishPage({ outbox, events }, pageEventsMax)
      this.#wentWell()
      onPublished(page)
      if (page.length < pageEventsMax) await this.#wait(pollIntervalMs)
    }
    return 'stopped'
  }

  async #standBy(): Promise<void> {
    this.#wentWell()
    await this.#wait(STANDBY_MS)
  }

  #wentWell(): void {
    this.#failure = null
    this.#failures = 0
  }

  async #waitAfter(error: RetryableError): Promise<void> {
    const waitMs = Math.min(RETRY_MS_MIN * 2 ** this.#failures, RETRY_MS_MAX)
    this.#failure = error
    this.#failures += 1
    this.#options.logger.warn({ err: error, waitMs }, 'events wait in the outbox')
    await this.#wait(waitMs)
  }

  #isStopping(): boolean {
    return this.#stopping.signal.aborted
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
