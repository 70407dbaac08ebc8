/** Amounts, tokens and dates as a customer reads them: written by Intl in its language, exact, with the digits that ISO 4217 has. */

import { minorDigits } from '../../../domain/billing/currency.ts'
import type { Customer } from '../../../domain/customers/customer.ts'
import { dayStart, localDay } from '../../../domain/subscriptions/local-day.ts'
import { printable } from './printable-text.ts'

export interface PrintedValues {
  /** With its currency. */
  money(amountMinor: bigint): string
  /** Under a heading that names the currency. */
  amount(amountMinor: bigint): string
  /** Decimal text in the major unit, with as many digits as it has and at least those of the currency. */
  price(decimal: string): string
  count(count: bigint | number): string
  /** With its sign. */
  difference(tokens: bigint): string
  /** `19.25` for 19.25 %. */
  percent(decimal: string): string
  date(at: number): string
  /** The days of [from, to): from the first to the last one. */
  days(from: number, to: number): string
  /** As `days`, with the times of day unless both are beginnings of days. */
  stretch(from: number, to: number): string
  country(code: string): string
}

/** Throws a RangeError for a currency that nobody is billed in. */
export function printedValues(
  { locale, timeZone }: Pick<Customer, 'locale' | 'timeZone'>,
  currency: string
): PrintedValues {
  const digits = minorDigits(currency)
  const fixed = { minimumFractionDigits: digits, maximumFractionDigits: digits }
  const bare = new Intl.NumberFormat(locale, fixed)
  const withCurrency = currencyFormat(locale, { style: 'currency', currency, ...fixed })
  const prices = new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: 12 })
  const percents = new Intl.NumberFormat(locale, { style: 'unit', unit: 'percent', maximumFractionDigits: 12 })
  const counts = new Intl.NumberFormat(locale)
  const differences = new Intl.NumberFormat(locale, { signDisplay: 'exceptZero' })
  const dates = new Intl.DateTimeFormat(locale, { dateStyle: 'long', timeZone })
  const times = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23', timeZone })
  const countries = new Intl.DisplayNames(locale, { type: 'region' })
  const days = (from: number, to: number) => dates.formatRange(from, to - 1)
  const isDayStart = (at: number) => dayStart(localDay(at, timeZone), timeZone) === at
  /** Nearly all lines are of one period, and asking Intl takes a while. */
  const stretches = new Map<string, string>()
  const stretch = (from: number, to: number) => {
    const known = stretches.get(`${from} ${to}`)
    if (known !== undefined) return known
    const told = isDayStart(from) && isDayStart(to) ? days(from, to) : times.formatRange(from, to)
    stretches.set(`${from} ${to}`, told)
    return told
  }
  return {
    money: (amountMinor) => withCurrency.format(decimalOf(amountMinor, digits)),
    amount: (amountMinor) => bare.format(decimalOf(amountMinor, digits)),
    price: (decimal) => prices.format(exact(decimal)),
    count: (count) => counts.format(count),
    difference: (tokens) => differences.format(tokens),
    percent: (decimal) => percents.format(exact(decimal)),
    date: (at) => dates.format(at),
    days,
    stretch,
    country: (code) => countries.of(code) ?? code
  }
}

/** Local days that a part of a base fee is for; a change's own day is the new plan's, as in `proration.ts`. */
export function dayCount(from: number, to: number, timeZone: string): number {
  return localDay(from, timeZone).until(localDay(to - 1, timeZone), { largestUnit: 'day' }).days + 1
}

/** By the customary sign, `F CFA` or `€`; by its code where no font has the sign. */
function currencyFormat(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const bySign = new Intl.NumberFormat(locale, options)
  const isPrintable = !printable(bySign.format(0)).includes('?')
  return isPrintable ? bySign : new Intl.NumberFormat(locale, { ...options, currencyDisplay: 'code' })
}

function decimalOf(amountMinor: bigint, digits: number): Intl.StringNumericLiteral {
  const text = String(amountMinor < 0n ? -amountMinor : amountMinor).padStart(digits + 1, '0')
  const point = text.length - digits
  return exact(`${amountMinor < 0n ? '-' : ''}${text.slice(0, point)}.${text.slice(point)}`)
}

/** Intl reads decimal text digit by digit, while a number would lose what lies beyond 2^53. */
function exact(decimal: string): Intl.StringNumericLiteral {
  return decimal as Intl.StringNumericLiteral
}
