/**
 * Local days, as `tokens/windows.ts` has them: a day begins at its midnight; where that doesn't exist, at the first instant
 * of the day; a day that doesn't exist (Apia, 30 December 2011) begins where the next one does. A day that has begun goes on
 * while the clock shows the day before once more.
 */
import { Temporal } from 'temporal-polyfill'
import { snapToQuarter } from '../tokens/quarter-hour.ts'

/** When a date begins in an IANA zone: on the grid of quarters. Throws a RangeError for an unknown zone. */
export function dayStart(date: Temporal.PlainDate, timeZone: string): number {
  return snapToQuarter(date.toZonedDateTime(timeZone).epochMilliseconds)
}

/** The date that an instant belongs to: the last one that has begun. */
export function localDay(instant: number, timeZone: string): Temporal.PlainDate {
  const shown = Temporal.Instant.fromEpochMilliseconds(instant).toZonedDateTimeISO(timeZone).toPlainDate()
  const next = shown.add({ days: 1 })
  return dayStart(next, timeZone) <= instant ? next : shown
}
