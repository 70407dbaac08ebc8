/**
 * Sends records on a timetable, whatever Kafka does: those that are due and not sent go with the next request. One request is on its
 * way at a time, and a record is made when it goes, so a slow Kafka makes no queue grow here: it makes the producer fall behind its
 * timetable, which it tells.
 */
import type { Clock } from '../http/clock.ts'

export interface TimetableProducerOptions<T> {
  readonly perSecond: number
  readonly seconds: number
  /** Makes the next record. */
  readonly next: () => T
  /** Resolves when Kafka has them. */
  readonly send: (records: readonly T[]) => Promise<void>
  readonly onFailure: (error: unknown) => void
  readonly clock: Clock
}

/** So many a second at most, each with what is due: what a busy AI service's client library gathers. */
const REQUEST_INTERVAL_MS = 20
/** About 500 KB: below what the topic takes, should all of them go to one partition. */
export const REQUEST_RECORDS_MAX = 1_000
/** A request that failed goes again, whole: what of it arrived is then a repeat, which the meter knows. */
const RETRY_PAUSE_MS = 500
/** Each of them is several tries of kafkajs already, together some minutes. */
const TRIES_MAX = 30

export class TimetableProducer<T> {
  readonly #options: TimetableProducerOptions<T>
  #startedAt = 0
  #endedAt: number | null = null
  #sent = 0
  #isStopped = false

  constructor(options: TimetableProducerOptions<T>) {
    this.#options = options
  }

  /** Records that Kafka has acknowledged. */
  get sent(): number {
    return this.#sent
  }

  /** Of sending, up to now. */
  get elapsedMs(): number {
    return (this.#endedAt ?? this.#options.clock.now()) - this.#startedAt
  }

  /** How long ago the next record was due; 0 when none is. */
  get behindMs(): number {
    const { perSecond, seconds } = this.#options
    const isDone = this.#sent >= Math.floor(perSecond * seconds)
    return isDone ? 0 : Math.max(0, this.elapsedMs - (this.#sent * 1_000) / perSecond)
  }

  /** The request on its way is the last one. */
  stop(): void {
    this.#isStopped = true
  }

  /** Ends with its time, not with its records: what it is behind by then, beyond one request, is not sent. */
  async run(): Promise<void> {
    const { clock, next, seconds } = this.#options
    this.#startedAt = clock.now()
    for (let isLast = false; !isLast && !this.#isStopped; ) {
      isLast = this.elapsedMs >= seconds * 1_000
      const requestedAt = clock.now()
      const count = Math.min(this.#due() - this.#sent, REQUEST_RECORDS_MAX)
      if (count > 0) {
        await this.#sendUntilTaken(Array.from({ length: count }, next))
        this.#sent += count
      }
      const isBehind = this.#due() - this.#sent >= REQUEST_RECORDS_MAX
      if (!isLast && !isBehind) await clock.until(requestedAt + REQUEST_INTERVAL_MS)
    }
    this.#endedAt = clock.now()
  }

  /** Records that should have been sent by now. The first is due at once. */
  #due(): number {
    const { perSecond, seconds } = this.#options
    return Math.min(Math.floor((this.elapsedMs * perSecond) / 1_000) + 1, Math.floor(perSecond * seconds))
  }

  async #sendUntilTaken(records: readonly T[]): Promise<void> {
    const { clock, send, onFailure } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        await send(records)
        return
      } catch (error) {
        if (tries === TRIES_MAX)
          throw new Error(`Kafka took ${records.length} records in none of ${tries} tries`, { cause: error })
        onFailure(error)
        await clock.until(clock.now() + RETRY_PAUSE_MS)
      }
    }
  }
}
