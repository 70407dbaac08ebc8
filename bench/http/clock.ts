/** Time as the loops see it, so that their tests need none. */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'

export interface Clock {
  /** Milliseconds since some instant. */
  now(): number
  /** Resolves at that instant, or at once when it has passed. */
  until(instant: number): Promise<void>
}

/** A timer of Node may be a millisecond or two late: for the rest the clock turns the event loop, which still takes answers. */
const TIMER_SLACK_MS = 2

/** To some tens of microseconds, at the price of a core that is never idle while something is due soon. */
export const preciseClock: Clock = {
  now: () => performance.now(),
  until: async (instant) => {
    for (;;) {
      const left = instant - performance.now()
      if (left <= 0) return
      await (left > TIMER_SLACK_MS ? sleep(left - TIMER_SLACK_MS) : nextTurn())
    }
  }
}
