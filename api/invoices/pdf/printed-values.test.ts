import fc from 'fast-check'
import t from 'tap'
import { minorDigits } from '../../../domain/billing/currency.ts'
import { dayCount, printedValues } from './printed-values.ts'

const DAKAR = { locale: 'fr', timeZone: 'Africa/Dakar' } as const
const TUNIS = { locale: 'fr', timeZone: 'Africa/Tunis' } as const
const ACCRA = { locale: 'en', timeZone: 'Africa/Accra' } as const
const NAIROBI = { locale: 'en', timeZone: 'Africa/Nairobi' } as const

/** Spaces that don't break as plain ones. */
function plain(text: string): string {
  return text.replace(/[\u00a0\u202f\u2009]/g, ' ')
}

t.test('money has the digits of its currency, and the sign that is customary in the language', async (t) => {
  const printed = [
    printedValues(DAKAR, 'XOF').money(-1_234_567n),
    printedValues(ACCRA, 'EUR').money(1_234_567n),
    printedValues(DAKAR, 'EUR').money(5n),
    printedValues(TUNIS, 'TND').money(-1_234_567n),
    printedValues(ACCRA, 'TND').amount(0n),
    // No font has ₦ or ₹.
    printedValues(ACCRA, 'NGN').money(100n),
    printedValues(NAIROBI, 'INR').money(100n)
  ]
  t.same(printed.map(plain), [
    '-1 234 567 F CFA',
    '€12,345.67',
    '0,05 €',
    '-1 234,567 TND',
    '0.000',
    'NGN 1.00',
    'INR 1.00'
  ])
})

/** By hand: digits in groups of three. */
function grouped(minor: bigint, digits: number, [group, point]: readonly [string, string]): string {
  const text = String(minor < 0n ? -minor : minor).padStart(digits + 1, '0')
  const whole = text.slice(0, text.length - digits).replace(/\B(?=(\d{3})+$)/g, group)
  return `${whole}${digits === 0 ? '' : `${point}${text.slice(-digits)}`}`
}

t.test('an amount is printed exactly, however large, in every currency and both languages', async () => {
  const currency = fc.constantFrom('XOF', 'XAF', 'EUR', 'TND', 'HUF', 'JPY', 'GHS')
  const amount = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n })
  fc.assert(
    fc.property(amount, currency, fc.constantFrom(DAKAR, ACCRA), (minor, code, customer) => {
      const values = printedValues(customer, code)
      const expected = grouped(minor, minorDigits(code), customer.locale === 'fr' ? [' ', ','] : [',', '.'])
      const isExact = plain(values.amount(minor)) === `${minor < 0n ? '-' : ''}${expected}`
      const money = plain(values.money(minor))
      return isExact && money.includes(expected) && money.startsWith('-') === minor < 0n
    })
  )
})

t.test('a price keeps all of its digits, a percentage too', async (t) => {
  const values = printedValues(ACCRA, 'EUR')
  t.equal(values.price('3'), '3.00')
  t.equal(values.price('123456789012.000000000025'), '123,456,789,012.000000000025')
  t.equal(plain(printedValues(DAKAR, 'XOF').price('1850.5')), '1 850,5')
  t.equal(values.percent('19.25'), '19.25%')
  t.equal(plain(printedValues(DAKAR, 'XOF').percent('18')), '18 %')
})

t.test('tokens are counted beyond what a number holds', async (t) => {
  t.equal(printedValues(ACCRA, 'EUR').count(9_007_199_254_740_993n), '9,007,199,254,740,993')
  t.equal(plain(printedValues(DAKAR, 'EUR').difference(1_200n)), '+1 200')
})

t.test('dates are those of the customer’s time zone, and a period ends with its last day', async (t) => {
  const june = { start: Date.parse('2026-05-31T21:00Z'), end: Date.parse('2026-06-30T21:00Z') }
  const nairobi = printedValues(NAIROBI, 'KES')
  t.equal(nairobi.date(june.start), 'June 1, 2026')
  t.equal(plain(nairobi.stretch(june.start, june.end)), 'June 1 – 30, 2026')
  t.equal(plain(nairobi.days(june.start, june.end + 3_600_000)), 'June 1 – July 1, 2026')
  const dakar = printedValues(DAKAR, 'XOF')
  t.equal(plain(dakar.stretch(Date.parse('2026-06-01'), Date.parse('2026-07-01'))), '1–30 juin 2026')
})

t.test('a stretch that begins or ends within a day tells the time', async (t) => {
  const told = printedValues(ACCRA, 'GHS').stretch(Date.parse('2026-06-01'), Date.parse('2026-06-16T08:15Z'))
  t.equal(plain(told), 'Jun 1, 2026, 00:00 – Jun 16, 2026, 08:15')
})

t.test('the day of a change counts, whatever the hour', async (t) => {
  t.equal(dayCount(Date.parse('2026-06-16T08:15Z'), Date.parse('2026-07-01'), 'Africa/Dakar'), 15)
  t.equal(dayCount(Date.parse('2026-06-01'), Date.parse('2026-07-01'), 'Africa/Dakar'), 30)
  // 29 March has 23 hours.
  t.equal(dayCount(Date.parse('2026-02-28T23:00Z'), Date.parse('2026-03-31T22:00Z'), 'Europe/Paris'), 31)
})

t.test('an amount in a currency that nobody is billed in is refused', async (t) => {
  t.throws(() => printedValues(DAKAR, 'CLF'), RangeError)
})
