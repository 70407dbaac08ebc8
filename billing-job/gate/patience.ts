/** How long the gate looks again at stores that move, and how much it asks at a time. */

export interface Deadline {
  /** Waits until it is worth looking again; false, at once, when the time for that is up. */
  pause(): Promise<boolean>
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  sleep(ms: number): Promise<void>
}

/** A consumer flushes once a second: half of that, so that no flush is waited for twice. */
const LOOK_INTERVAL_MS = 500

export function deadlineIn(patienceMs: number, clock: Clock): Deadline {
  const end = clock.now() + patienceMs
  return {
    pause: async () => {
      if (clock.now() + LOOK_INTERVAL_MS > end) return false
      await clock.sleep(LOOK_INTERVAL_MS)
      return true
    }
  }
}

export function* inBatches<T>(all: readonly T[], size: number): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += size) yield all.slice(from, from + size)
}
