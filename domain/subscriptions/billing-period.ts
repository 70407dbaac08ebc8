/**
 * Billing periods. Each boundary is the beginning of a local day of the customer's zone, derived from the anchor date and
 * never from the boundary before: 31 January is followed by 28 or 29 February, and that by 31 March. A period begins where
 * the one before ended, so there is neither gap nor overlap, whatever clocks, calendars and zones do.
 *
 * Another zone, or changed rules of the same one, holds from the next period on: the current one keeps its stored end. The
 * next one begins there and ends at the new zone's midnight: up to 26 hours longer or shorter, once, and never empty.
 * Another interval takes a new schedule, anchored on the day it begins.
 */
import { Temporal } from 'temporal-polyfill'
import { NEXT_WINDOWS } from '../tokens/compile-limits.ts'
import { dayStart, localDay } from './local-day.ts'

export type BillingInterval = 'month' | 'year'

/** The local date on which a subscription began: `2026-01-31`. */
export type AnchorDate = string

export interface BillingSchedule {
  readonly anchor: AnchorDate
  readonly interval: BillingInterval
  /** IANA name. */
  readonly timeZone: string
}

/** [start, end) in milliseconds since the epoch, both on the grid of quarters. */
export interface Period {
  readonly start: number
  readonly end: number
}

const INTERVAL_MONTHS = { month: 1, year: 12 } as const

/** A date begins first in Kiritimati, 14 hours before it does in UTC, and is over 12 hours after its end in UTC. */
const EAST_MAX_MS = 14 * 3_600_000
const DATE_OVER_MS = 36 * 3_600_000

/** The current period ends at the first of them; the others end those whose quota windows are listed ahead. */
const BOUNDARIES_AHEAD = NEXT_WINDOWS.period + 1

/** The date a subscription is anchored to when it starts at `instant`. */
export function anchorOf(instant: number, timeZone: string): AnchorDate {
  return localDay(instant, timeZone).toString()
}

/**
 * Begins with the anchor date, not at the hour at which the subscription was made: all boundaries are beginnings of days, and
 * the first day is paid for whole. Like all of them, throws a RangeError for an anchor that is no date or an unknown zone.
 */
export function firstPeriod(schedule: BillingSchedule): Period {
  const boundary = boundariesOf(schedule)
  return { start: boundary(0), end: boundary(1) }
}

/**
 * Begins where `previous` ends, though that be a midnight of another zone, and ends at the schedule's next boundary. Throws a
 * RangeError if it is no anchor date anywhere on earth when `previous` ends: then that belongs to another schedule.
 */
export function nextPeriod(previous: Period, schedule: BillingSchedule): Period {
  return { start: previous.end, end: boundariesOf(schedule)(boundaryIndex(schedule, previous.end) + 1) }
}

/**
 * `count` boundaries, ascending, the first of them `from` itself: the end of a stored period, or the start of the first one.
 * By default as many as end a current period that ends at `from`, and the quota windows listed ahead of it.
 */
export function periodBoundaries(
  schedule: BillingSchedule,
  { from, count = BOUNDARIES_AHEAD }: { readonly from: number; readonly count?: number }
): readonly number[] {
  const boundary = boundariesOf(schedule)
  const first = boundaryIndex(schedule, from)
  return Array.from({ length: count }, (_, i) => (i === 0 ? from : boundary(first + i)))
}

/**
 * The period that holds an instant, in the series that begins at `from`: with the subscription, or at the end of the last
 * stored period under an earlier zone. None before that.
 */
export function periodAt(
  schedule: BillingSchedule,
  instant: number,
  from = firstPeriod(schedule).start
): Period | undefined {
  if (instant < from) return undefined
  const boundary = boundariesOf(schedule)
  const first = boundaryIndex(schedule, from)
  // If `from` is a midnight further east, the clocks of the schedule's zone show the period before for some hours more.
  const index = Math.max(first, lastIndexUpTo(schedule, localDay(instant, schedule.timeZone)))
  return { start: index === first ? from : boundary(index), end: boundary(index + 1) }
}

function boundariesOf(schedule: BillingSchedule): (index: number) => number {
  const anchorDay = anchorDaysOf(schedule)
  return (index) => dayStart(anchorDay(index), schedule.timeZone)
}

/** The anchor's day of the month so many intervals on, or the last day of a month that is shorter. */
function anchorDaysOf({ anchor, interval }: BillingSchedule): (index: number) => Temporal.PlainDate {
  if (!/^\d{4}-\d\d-\d\d$/.test(anchor)) throw new RangeError(`anchor ${anchor} is no date such as 2026-01-31`)
  const first = Temporal.PlainDate.from(anchor)
  return (index) => first.add({ months: index * INTERVAL_MONTHS[interval] })
}

/** The index of the last anchor day that isn't after a date; negative before the anchor. */
function lastIndexUpTo(schedule: BillingSchedule, date: Temporal.PlainDate): number {
  const anchorDay = anchorDaysOf(schedule)
  const anchor = anchorDay(0)
  const months = (date.year - anchor.year) * 12 + date.month - anchor.month
  const index = Math.floor(months / INTERVAL_MONTHS[schedule.interval])
  return Temporal.PlainDate.compare(anchorDay(index), date) > 0 ? index - 1 : index
}

/** Which anchor day a boundary is in, in whatever zone: each lasts 50 hours on earth, and 28 days lie between two. */
function boundaryIndex(schedule: BillingSchedule, at: number): number {
  const index = lastIndexUpTo(schedule, localDay(at + EAST_MAX_MS, 'UTC'))
  const sinceUtc = at - dayStart(anchorDaysOf(schedule)(index), 'UTC')
  if (index < 0 || sinceUtc >= DATE_OVER_MS)
    throw new RangeError(
      `${at} is no boundary of the ${schedule.interval}s from ${schedule.anchor} in ${schedule.timeZone}`
    )
  return index
}
