/** Timetables of requests: milliseconds after the start at which each is due, ascending. They are made before anybody answers. */
import type { Random } from '../../stack/demo/random.ts'

export interface Pace {
  readonly perSecond: number
  /** No request is due at this instant or later. */
  readonly seconds: number
}

/** The same gap between all of them; the first is due at once. */
export function* fixedPace({ perSecond, seconds }: Pace): Generator<number> {
  const gapMs = 1_000 / perSecond
  for (let i = 0; i * gapMs < seconds * 1_000; i++) yield i * gapMs
}

/** As callers come who don't know of each other: gaps are exponential, so that some come together. The same seed, the same timetable. */
export function* poisson({ perSecond, seconds, random }: Pace & { readonly random: Random }): Generator<number> {
  const gapMs = 1_000 / perSecond
  for (let dueAt = 0; ; ) {
    dueAt -= gapMs * Math.log(1 - random.next())
    if (dueAt >= seconds * 1_000) return
    yield dueAt
  }
}
