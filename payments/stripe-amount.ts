/**
 * What an amount is called in Stripe's API. Its minor units are those of ISO 4217 (domain/billing/currency.ts) but for the
 * currencies below, and a wrong one charges a hundredth of an invoice, or a hundred times as much. Source:
 * https://docs.stripe.com/currencies, "Minor units in API amounts". HUF and TWD stand there too, for payouts alone: charges have cents.
 */
import { minorDigits } from '../domain/billing/currency.ts'

/** Digits after the point in Stripe's `amount`, where Stripe states any. All others have two. */
const STATED_DIGITS: ReadonlyMap<string, number> = new Map([
  // UGX is on Stripe's list of these as well, and is charged as the special case that it is on the same page.
  ...digitsOf(0, 'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'),
  // Special cases: without a minor unit, and yet given in hundredths, which have to be 00.
  ...digitsOf(2, 'ISK UGX'),
  ...digitsOf(3, 'BHD JOD KWD OMR TND')
])

/** Card networks take the last of three digits only when it is 0. */
const LAST_OF_THREE = 10n

/** `refused` is a sentence for whoever reads why an invoice was not charged; it names the currency. */
export type StripeAmount = { readonly amount: number } | { readonly refused: string }

/**
 * Exactly the same money, or refused: nothing is rounded. `amountMinor` is at least 1 and in units of `minorDigits`; throws a
 * RangeError for anything less, and for what is no currency to bill in.
 */
export function toStripeAmount(amountMinor: bigint, currency: string): StripeAmount {
  if (amountMinor < 1n) throw new RangeError(`${amountMinor} ${currency} can't be charged or given back`)
  const digits = minorDigits(currency)
  const stripeDigits = STATED_DIGITS.get(currency) ?? (digits === 2 ? 2 : null)
  const told = `${amountMinor} minor units of ${currency}`
  // Stripe takes none of these today. If it should begin to, nobody has told us in which unit.
  if (stripeDigits === null) return { refused: `Stripe doesn't take ${currency}: ${told} have to be paid otherwise` }
  const multiple = 10n ** BigInt(Math.max(0, digits - stripeDigits))
  if (amountMinor % multiple !== 0n)
    return { refused: `Stripe charges ${currency} without minor units: ${told} are no whole amount` }
  const amount = (amountMinor * 10n ** BigInt(Math.max(0, stripeDigits - digits))) / multiple
  if (stripeDigits === 3 && amount % LAST_OF_THREE !== 0n)
    return { refused: `Stripe charges ${currency} to two digits only: the last of ${told} is not 0` }
  if (amount > BigInt(Number.MAX_SAFE_INTEGER)) return { refused: `Stripe has no such amounts as ${told}` }
  return { amount: Number(amount) }
}

function digitsOf(digits: number, codes: string): [string, number][] {
  return codes.split(' ').map((code) => [code, digits])
}
