/**
 * Time on the quarter-hour grid. Every billing boundary is a local midnight or a local hour, and every offset of the IANA
 * time zones is a multiple of 15 minutes, so the grid in UTC holds each of them. A quarter is the number of whole
 * quarter-hours since 1970-01-01T00:00Z.
 */
export const QUARTER_HOUR_MS = 900_000

/** The quarter that holds an instant given in milliseconds since the epoch. */
export function quarterOf(instantMs: number): number {
  return Math.floor(instantMs / QUARTER_HOUR_MS)
}

/** The first instant of a quarter, in milliseconds since the epoch. */
export function quarterStartMs(quarter: number): number {
  return quarter * QUARTER_HOUR_MS
}

/** The first instant of the quarter that holds an instant: what is changed now never begins later than now. */
export function snapToQuarter(instantMs: number): number {
  return quarterStartMs(quarterOf(instantMs))
}
