/**
 * When a delivery that failed is tried again: soon, for a receiver that restarts, then ever more rarely, for one that is down over a
 * weekend. The pauses add up to a little more than three days.
 */
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

const PAUSES_MS = [
  5_000,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  5 * HOUR_MS,
  10 * HOUR_MS,
  14 * HOUR_MS,
  20 * HOUR_MS,
  24 * HOUR_MS
] as const

/** The first attempt, and one after each pause. */
export const ATTEMPTS_DEFAULT = PAUSES_MS.length + 1

/** So much of a pause is drawn on top of it: deliveries that failed together do not come back together. */
const JITTER = 0.2

/** Pause after so many failed attempts (at least 1), ms; the last one goes on for ever. `random` lies in [0, 1). */
export function pauseAfter(attempts: number, random: number): number {
  const pause = PAUSES_MS[attempts - 1] ?? 24 * HOUR_MS
  return Math.round(pause * (1 + JITTER * random))
}
