/** A clock for tests: time passes when nobody has anything left to do, and as far as the next instant that somebody waits for. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from './clock.ts'

interface Sleeper {
  readonly instant: number
  readonly wake: () => void
}

export class VirtualClock implements Clock {
  #now = 0
  #sleepers: Sleeper[] = []

  now(): number {
    return this.#now
  }

  until(instant: number): Promise<void> {
    if (instant <= this.#now) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    // Who waits for the same instant wakes in the order in which they came.
    this.#sleepers = [...this.#sleepers, { instant, wake: resolve }].toSorted((a, b) => a.instant - b.instant)
    return promise
  }

  /** Lets time pass until the work is done. Throws when it waits for nothing that will come. */
  async run<T>(work: Promise<T>): Promise<T> {
    let isDone = false
    const done = work.finally(() => {
      isDone = true
    })
    for (;;) {
      await nextTurn()
      if (isDone) return done
      const next = this.#sleepers.shift()
      if (next === undefined)
        throw new Error(`nobody waits for any instant after ${this.#now} ms, and the work is not done`)
      this.#now = next.instant
      next.wake()
    }
  }
}
