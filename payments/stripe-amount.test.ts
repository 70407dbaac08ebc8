import t from 'tap'
import { minorDigits } from '../domain/billing/currency.ts'
import { toStripeAmount } from './stripe-amount.ts'

/** Minor units of ours, and what Stripe is to be told: null where it can't be told exactly. */
const TABLE: readonly (readonly [currency: string, amountMinor: bigint, amount: number | null])[] = [
  ['EUR', 1_099n, 1_099],
  ['USD', 1n, 1],
  // Without a minor unit for either of us.
  ['XOF', 35_401n, 35_401],
  ['XAF', 500n, 500],
  ['JPY', 500n, 500],
  ['KRW', 1n, 1],
  ['BIF', 7n, 7],
  ['CLP', 7n, 7],
  ['DJF', 7n, 7],
  ['GNF', 7n, 7],
  ['KMF', 7n, 7],
  ['PYG', 7n, 7],
  ['RWF', 7n, 7],
  ['VND', 7n, 7],
  ['VUV', 7n, 7],
  ['XPF', 7n, 7],
  // Without one for us, in hundredths for Stripe: 5 UGX are 500.
  ['UGX', 5n, 500],
  ['ISK', 5n, 500],
  // In hundredths for us, without them for Stripe.
  ['MGA', 10_000n, 100],
  ['MGA', 10_001n, null],
  ['MGA', 99n, null],
  // Payouts of these have no hundredths, charges do.
  ['HUF', 1_045n, 1_045],
  ['TWD', 80_045n, 80_045],
  // Three digits, of which Stripe takes two.
  ['TND', 12_340n, 12_340],
  ['TND', 12_345n, null],
  ['KWD', 5_120n, 5_120],
  ['KWD', 5_124n, null],
  ['BHD', 10n, 10],
  ['BHD', 1n, null],
  ['JOD', 110n, 110],
  ['OMR', 111n, null],
  // Not at Stripe, and not with two digits: nobody says in which unit it would be.
  ['IQD', 1_000n, null],
  ['LYD', 1_000n, null],
  // The largest number that the API's JSON could carry, and one more.
  ['IDR', 9_007_199_254_740_991n, 9_007_199_254_740_991],
  ['IDR', 9_007_199_254_740_992n, null],
  ['UGX', 90_071_992_547_410n, null]
]

t.test('an amount is told to Stripe exactly, or refused by a sentence that names the currency', async (t) => {
  for (const [currency, amountMinor, amount] of TABLE) {
    const told = toStripeAmount(amountMinor, currency)
    const row = `${amountMinor} ${currency}`
    if (amount !== null) t.same(told, { amount }, row)
    else t.match(told, { refused: new RegExp(`\\b${currency}\\b`) }, row)
  }
})

t.test('every currency has the unit of the table or is in hundredths for both', async (t) => {
  const special = new Map(
    TABLE.flatMap(([currency, minor, amount]) => (amount === null ? [] : [[currency, [minor, amount]]]))
  )
  for (const currency of Intl.supportedValuesOf('currency')) {
    if (special.has(currency) || ['CLF', 'UYW', 'IQD', 'LYD', 'OMR'].includes(currency)) continue
    t.equal(minorDigits(currency), 2, currency)
    t.same(toStripeAmount(1_234n, currency), { amount: 1_234 }, currency)
  }
})

t.test('nothing, less than nothing and what is no currency to bill in are never told', async (t) => {
  t.throws(() => toStripeAmount(0n, 'EUR'), RangeError)
  t.throws(() => toStripeAmount(-1n, 'EUR'), RangeError)
  t.throws(() => toStripeAmount(1n, 'CLF'), RangeError)
  t.throws(() => toStripeAmount(1n, 'UYI'), RangeError)
  t.throws(() => toStripeAmount(1n, 'eur'), RangeError)
})
