import t from 'tap'
import { minorDigits } from './currency.ts'

/** ISO 4217, "minor unit" of list one, by the number of digits; all others have 2. */
const ISO_4217 = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND'
}

function shownDigits(currency: string): number | undefined {
  return new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits
}

t.test('each currency that a plan can be in has the minor unit of ISO 4217', async (t) => {
  const expected = new Map(
    Object.entries(ISO_4217).flatMap(([n, codes]) => codes.split(' ').map((c) => [c, Number(n)]))
  )
  const wrong = Intl.supportedValuesOf('currency').filter((code) => minorDigits(code) !== (expected.get(code) ?? 2))
  t.same(wrong, [])
  t.same(['XOF', 'XAF', 'EUR', 'USD', 'MAD', 'TND'].map(minorDigits), [0, 0, 2, 2, 2, 3])
})

t.test(
  'Intl shows never more digits than the minor unit, and fewer only where small money is out of use',
  async (t) => {
    const codes = Intl.supportedValuesOf('currency')
    t.same(
      codes.filter((code) => (shownDigits(code) ?? 0) > minorDigits(code)),
      []
    )
    const fewer = codes.filter((code) => (shownDigits(code) ?? 0) < minorDigits(code))
    for (const code of fewer) t.equal(shownDigits(code), 0, `${code} is shown without its small money`)
    t.ok(fewer.length < 30, `${fewer.length} of ${codes.length} are shown otherwise: why Intl isn't asked`)
  }
)

t.test('what is no currency to bill in is refused, not taken for one with two digits', async (t) => {
  for (const code of ['', 'eur', 'EURO', 'CLF', 'UYW', '123', '__proto__'])
    t.throws(() => minorDigits(code), RangeError, code)
})
