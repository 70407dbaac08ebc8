/**
 * Which cron patterns a schedule may have: five fields, of numbers, names of months and days, ranges, lists and steps. Narrower than what
 * the job queue reads, so that what is accepted here means there what it says.
 */

interface Field {
  readonly from: number
  readonly to: number
  /** From `from` on. */
  readonly names: readonly string[]
}

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC']
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']
const FIELDS: readonly Field[] = [
  { from: 0, to: 59, names: [] },
  { from: 0, to: 23, names: [] },
  { from: 1, to: 31, names: [] },
  { from: 1, to: 12, names: MONTHS },
  // Sunday is 0 and 7.
  { from: 0, to: 7, names: DAYS }
]
const PART = /^(?:\*|([0-9A-Z]+)(?:-([0-9A-Z]+))?)(?:\/([1-9]\d?))?$/i
/** The longest of each month, from January. */
const DAYS_OF_MONTHS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Also false for a day that no month has, such as 30 February: nothing would ever come. */
export function isCronPattern(text: string): boolean {
  const parts = text.trim().split(/\s+/)
  if (parts.length !== FIELDS.length) return false
  const read = FIELDS.map((field, i) => valuesOf(parts[i] ?? '', field))
  const [, , days, months, weekdays] = read
  if (read.includes(null) || !days || !months || !weekdays) return false
  // Days of the month and of the week are alternatives when both are stated.
  if (parts[4] !== '*') return true
  return months.some((month) => Math.min(...days) <= (DAYS_OF_MONTHS[month - 1] ?? 0))
}

/** Null: it can't be read. */
function valuesOf(text: string, field: Field): readonly number[] | null {
  const all: number[] = []
  for (const part of text.split(',')) {
    const found = PART.exec(part)
    if (found === null) return null
    const [, first, last, step] = found
    const from = first === undefined ? field.from : numberOf(first, field)
    const to = last !== undefined ? numberOf(last, field) : first === undefined || step !== undefined ? field.to : from
    if (from === null || to === null || from > to) return null
    for (let value = from; value <= to; value += Number(step ?? 1)) all.push(value)
  }
  return all
}

function numberOf(text: string, { from, to, names }: Field): number | null {
  const name = names.indexOf(text.toUpperCase())
  const value = name === -1 ? Number(/^\d{1,2}$/.test(text) ? text : Number.NaN) : name + from
  return value >= from && value <= to ? value : null
}
