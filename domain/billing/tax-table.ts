/** Which tax is on an invoice: by the country of whom it is for. */
import type { LineClass, TaxRate } from './invoice-totals.ts'

/** By ISO 3166-1 alpha-2; a country that isn't there isn't taxed. One rate for all classes of lines. */
export type TaxTable = ReadonlyMap<string, TaxRate>

/** `SN:18` or `TN:19:inclusive`. */
export const TAX_RATE_PATTERN = String.raw`[A-Z]{2}:\d{1,2}(\.\d{1,4})?(:inclusive)?`

/** Of texts of that form, one a country. Throws a RangeError for any other. */
export function parseTaxTable(rates: readonly string[]): TaxTable {
  const table = new Map<string, TaxRate>()
  for (const text of rates) {
    const [country = '', percent = '', inclusive] = text.split(':')
    if (!new RegExp(`^${TAX_RATE_PATTERN}$`).test(text)) throw new RangeError(`${text} is no tax rate such as SN:18`)
    if (table.has(country)) throw new RangeError(`${country} has two tax rates`)
    table.set(country, { percent, isInclusive: inclusive !== undefined })
  }
  return table
}

export function taxRatesOf(table: TaxTable, country: string): Readonly<Record<LineClass, TaxRate | null>> {
  const rate = table.get(country) ?? null
  return { 'base-fee': rate, usage: rate, minimum: rate }
}
