/**
 * The minor unit of each currency, as ISO 4217 has it. `Intl` is not asked: it tells what is usual in shops (no cents in HUF or
 * PKR, no fils in IQD), which differs for some twenty currencies and changes with the version of Node. An amount that was stored
 * would then mean a hundred or a thousand times as much.
 */

/** All others have two. Those with four, units of account of Chile and Uruguay, are in no customer's hand: they are refused. */
const MINOR_DIGITS: ReadonlyMap<string, number> = new Map([
  ...digitsOf(0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'),
  ...digitsOf(3, 'BHD IQD JOD KWD LYD OMR TND')
])
const FOUR_DIGITS: ReadonlySet<string> = new Set(['CLF', 'UYW'])
const CURRENCIES: ReadonlySet<string> = new Set(Intl.supportedValuesOf('currency'))

/** 0, 2 or 3: digits after the point of an amount in the major unit. Throws a RangeError for what plans can't be in either. */
export function minorDigits(currency: string): number {
  if (!CURRENCIES.has(currency) || FOUR_DIGITS.has(currency))
    throw new RangeError(`${currency} is no currency to bill in`)
  return MINOR_DIGITS.get(currency) ?? 2
}

function digitsOf(digits: number, codes: string): [string, number][] {
  return codes.split(' ').map((code) => [code, digits])
}
