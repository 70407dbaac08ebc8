/**
 * Calendar windows: months, weeks from Monday, days and hours as a customer's wall clock shows them, on the grid of quarters.
 * A window ends where the next begins, whatever the clocks do: each boundary is computed once and serves both. A local
 * midnight that doesn't exist is the first instant of that day; a day that doesn't exist (Apia, 30 December 2011) has no
 * window. An hour that is shown twice is two windows, unless clocks turn by half an hour, which makes it one of 90 minutes.
 */
import { Temporal } from 'temporal-polyfill'
import type { WindowBounds } from './limit.ts'
import { quarterOf, quarterStartMs } from './quarter-hour.ts'

export type CalendarWindow = 'month' | 'week' | 'day' | 'hour'

const QUARTERS_PER_HOUR = 4

/** Asking Intl takes 0.2 ms, more than all other rules of a customer together. Spellings are without end, so that few are kept. */
const ZONES_KEPT_MAX = 1_000
const zonesFound = new Set<string>()

/** Whether a name is one of the IANA time zones this machine knows. Offsets such as `+01:00` are none. */
export function isTimeZone(name: string): boolean {
  if (zonesFound.has(name)) return true
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    const isFound = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
    if (isFound && zonesFound.size < ZONES_KEPT_MAX) zonesFound.add(name)
    return isFound
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

/**
 * The window before the one that holds `nowMs`, that one, and `next` after it. Throws a RangeError for an unknown zone.
 */
export function calendarWindows(
  kind: CalendarWindow,
  at: { timeZone: string; nowMs: number; next: number }
): WindowBounds[] {
  const now = quarterOf(at.nowMs)
  const boundaries = kind === 'hour' ? hourBoundaries(at.timeZone, now, at.next) : dayBoundaries(kind, at)
  const after = boundaries.findIndex((boundary) => boundary > now)
  const windows: WindowBounds[] = []
  for (let i = after - 1; i <= after + at.next; i += 1) {
    const [start, end] = [boundaries[i - 1], boundaries[i]]
    if (start === undefined || end === undefined)
      throw new RangeError(`no ${kind} window ${i} in ${at.timeZone} at ${at.nowMs}`)
    windows.push([start, end])
  }
  return windows
}

/** First quarters of months, weeks or days, ascending without repeats: at least two up to now and `next` + 1 after. */
function dayBoundaries(
  kind: Exclude<CalendarWindow, 'hour'>,
  at: { timeZone: string; nowMs: number; next: number }
): number[] {
  const today = localTime(at.timeZone, at.nowMs).toPlainDate()
  const boundaries: number[] = []
  // Where clocks turn back over midnight the wall shows yesterday again, and a skipped day makes no boundary: hence a margin.
  for (let step = -3; step <= at.next + 3; step += 1) {
    const boundary = quarterOf(firstDay(kind, today, step).toZonedDateTime(at.timeZone).epochMilliseconds)
    if (boundary !== boundaries.at(-1)) boundaries.push(boundary)
  }
  return boundaries
}

function firstDay(kind: Exclude<CalendarWindow, 'hour'>, date: Temporal.PlainDate, step: number): Temporal.PlainDate {
  if (kind === 'month') return date.with({ day: 1 }).add({ months: step })
  if (kind === 'week') return date.add({ days: 7 * step + 1 - date.dayOfWeek })
  return date.add({ days: step })
}

/** As `dayBoundaries`, for hours. */
function hourBoundaries(timeZone: string, now: number, next: number): number[] {
  const boundaries: number[] = []
  for (let quarter = now; boundaries.length < 2; quarter -= 1) {
    if (startsHour(timeZone, quarter)) boundaries.unshift(quarter)
  }
  for (let last = boundaries[1] ?? now; boundaries.length < next + 3; boundaries.push(last)) {
    last = hourAfter(timeZone, last)
  }
  return boundaries
}

/** While clocks run evenly the next hour begins four quarters on; else each quarter is looked at. */
function hourAfter(timeZone: string, start: number): number {
  const [from, to] = [
    localTime(timeZone, quarterStartMs(start)),
    localTime(timeZone, quarterStartMs(start + QUARTERS_PER_HOUR))
  ]
  if (from.minute === 0 && from.offsetNanoseconds === to.offsetNanoseconds) return start + QUARTERS_PER_HOUR
  let quarter = start + 1
  while (!startsHour(timeZone, quarter)) quarter += 1
  return quarter
}

/** The clock shows a full hour, or another hour than a quarter before. */
function startsHour(timeZone: string, quarter: number): boolean {
  const local = localTime(timeZone, quarterStartMs(quarter))
  if (local.minute === 0) return true
  return local.hour !== localTime(timeZone, quarterStartMs(quarter - 1)).hour
}

function localTime(timeZone: string, instantMs: number): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(instantMs).toZonedDateTimeISO(timeZone)
}
