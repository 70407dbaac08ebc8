/**
 * Reads RFC 3339 times, the ones CloudEvents uses. `Date.parse` alone would not do: it takes 30 February for 2 March, a time
 * without an offset for local, and a dozen formats besides.
 */

const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/
const LENGTH_MAX = 64
const ZERO = 48

/**
 * Milliseconds since the epoch; finer digits are cut off. Null when the text is no RFC 3339 time with an offset, names a day
 * that does not exist, or lies before 1970. A leap second (:60) counts as the second after it, as in POSIX time.
 */
export function parseRfc3339(text: string): number | null {
  if (text.length > LENGTH_MAX || !RFC3339.test(text)) return null
  const year = twoDigits(text, 0) * 100 + twoDigits(text, 2)
  const month = twoDigits(text, 5)
  const day = twoDigits(text, 8)
  const hour = twoDigits(text, 11)
  const minute = twoDigits(text, 14)
  const second = twoDigits(text, 17)
  const offset = offsetMinutes(text)
  if (day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 || offset === null) return null
  const instant = Date.UTC(year, month - 1, day, hour, minute - offset, second, milliseconds(text))
  // Date.UTC takes the years 0 to 99 for 1900 to 1999; the last local hours of 1969 may be 1970 already.
  return instant >= 0 && year >= 1969 ? instant : null
}

/** The number that two digits at a place make; reading characters takes a third of what the groups of a match would. */
function twoDigits(text: string, at: number): number {
  return (text.charCodeAt(at) - ZERO) * 10 + text.charCodeAt(at + 1) - ZERO
}

/** Minutes by which the local time is ahead of UTC, null when there is no such offset. */
function offsetMinutes(text: string): number | null {
  const sign = text.at(-6)
  if (sign !== '+' && sign !== '-') return 0
  const hours = twoDigits(text, text.length - 5)
  const minutes = twoDigits(text, text.length - 2)
  if (hours > 23 || minutes > 59) return null
  return sign === '-' ? -hours * 60 - minutes : hours * 60 + minutes
}

/** The first three digits after the point, as if zeros followed. */
function milliseconds(text: string): number {
  if (text[19] !== '.') return 0
  let sum = 0
  for (let at = 20, weight = 100; weight >= 1; at += 1, weight /= 10) {
    const digit = text.charCodeAt(at) - ZERO
    if (!(digit >= 0 && digit <= 9)) return sum
    sum += digit * weight
  }
  return sum
}

/** 0 for a month that does not exist, so that no day lies in it. */
function daysIn(year: number, month: number): number {
  if (month < 1 || month > 12) return 0
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}
