/**
 * Requests that start on a timetable, whatever the answers do, as callers do who don't know of each other. A latency counts from the
 * instant at which the request was due, not from that at which it was sent: a server that stands still for a second is charged that
 * second by every request that was due in it (a loop that waits for answers would have asked once, and told of one slow answer).
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Clock, preciseClock } from './clock.ts'
import { LatencyHistogram } from './latency-histogram.ts'

export interface OpenLoop {
  /** Milliseconds after the start, ascending. */
  readonly dueAtMs: Iterable<number>
  /** Sends the n-th request. Resolves with null when it was answered well, else with a name for what went wrong. */
  readonly send: (n: number) => Promise<string | null>
  /** A request that is due while so many are on their way starts when one of them is answered, charged with its waiting. */
  readonly inFlightMax: number
  /** How long after the last instant of the timetable answers are waited for. What has none by then failed, after its waiting so far. */
  readonly patienceMs: number
  readonly clock?: Clock
}

export interface LoopResult {
  readonly requests: number
  /** How many failed, by what went wrong. `unanswered`: in the time there was; `unsent`: it was never its turn. */
  readonly failures: Readonly<Record<string, number>>
  readonly seconds: number
  readonly latency: LatencyHistogram
}

export interface OpenLoopResult extends LoopResult {
  /** Requests that the bound in flight made wait. */
  readonly waited: number
  /** From due to sent: what the generator itself, or the bound, adds to a latency. */
  readonly startDelay: LatencyHistogram
}

/** Requests that start in a row when the timetable has run ahead of us, before answers are looked at. */
const BURST_MAX = 64
const DRAIN_LOOK_MS = 5

export async function runOpenLoop(loop: OpenLoop): Promise<OpenLoopResult> {
  const { dueAtMs, patienceMs, clock = preciseClock } = loop
  const run = new OpenRun(loop, clock)
  const startedAt = clock.now()
  let inARow = 0
  for (const dueAt of dueAtMs) {
    const instant = startedAt + dueAt
    inARow = clock.now() < instant ? 0 : inARow + 1
    if (inARow > BURST_MAX) {
      inARow = 0
      await nextTurn()
    }
    await clock.until(instant)
    run.start(instant)
  }
  const deadline = clock.now() + patienceMs
  while (!run.isDrained && clock.now() < deadline) await clock.until(Math.min(clock.now() + DRAIN_LOOK_MS, deadline))
  return run.end(startedAt)
}

class OpenRun {
  readonly #loop: OpenLoop
  readonly #clock: Clock
  readonly #latency = new LatencyHistogram()
  readonly #startDelay = new LatencyHistogram()
  readonly #failures: Record<string, number> = {}
  /** The instants at which requests on their way were due, by number. */
  readonly #inFlight = new Map<number, number>()
  /** The instants at which requests that wait for their turn were due; those before `#next` have had it. */
  readonly #waiting: number[] = []
  #next = 0
  #sent = 0
  #lastAnsweredAt = 0
  #isOver = false

  constructor(loop: OpenLoop, clock: Clock) {
    this.#loop = loop
    this.#clock = clock
  }

  get isDrained(): boolean {
    return this.#inFlight.size === 0 && this.#next === this.#waiting.length
  }

  start(dueAt: number): void {
    if (this.#inFlight.size < this.#loop.inFlightMax) void this.#send(dueAt)
    else this.#waiting.push(dueAt)
  }

  end(startedAt: number): OpenLoopResult {
    this.#isOver = true
    const isDrained = this.isDrained
    const unsent = this.#waiting.slice(this.#next)
    for (const dueAt of this.#inFlight.values()) this.#record(dueAt, 'unanswered')
    for (const dueAt of unsent) this.#record(dueAt, 'unsent')
    const endedAt = isDrained && this.#sent > 0 ? this.#lastAnsweredAt : this.#clock.now()
    return {
      requests: this.#sent + unsent.length,
      failures: this.#failures,
      seconds: (endedAt - startedAt) / 1_000,
      latency: this.#latency,
      waited: this.#waiting.length,
      startDelay: this.#startDelay
    }
  }

  async #send(dueAt: number): Promise<void> {
    const n = this.#sent++
    this.#inFlight.set(n, dueAt)
    this.#startDelay.record(this.#clock.now() - dueAt)
    const failure = await this.#loop.send(n)
    if (this.#isOver) return
    this.#inFlight.delete(n)
    this.#lastAnsweredAt = this.#clock.now()
    this.#record(dueAt, failure)
    const next = this.#waiting[this.#next]
    if (next === undefined) return
    this.#next++
    void this.#send(next)
  }

  #record(dueAt: number, failure: string | null): void {
    this.#latency.record(this.#clock.now() - dueAt)
    if (failure !== null) this.#failures[failure] = (this.#failures[failure] ?? 0) + 1
  }
}
