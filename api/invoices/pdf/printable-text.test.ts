import fc from 'fast-check'
import t from 'tap'
import { printable } from './printable-text.ts'

t.test('French and English print as they are written', async (t) => {
  const text = 'Société « Œuvre d’été » – 12,50 € · Ça, où ? ½ × 3 … naïve'
  t.equal(printable(text), text)
})

t.test('a space that groups digits still joins them, and prints', async (t) => {
  t.equal(printable('1\u202f234\u00a0567'), '1\u00a0234\u00a0567')
  t.equal(printable('\u2212' + '1'), '-1')
})

t.test('a letter that no font has is printed as its nearest', async (t) => {
  t.equal(printable('Łódź Şişli Ơ Trần'), 'Lódz Sisli O Tran')
  t.equal(printable('Ɓaŋki ƙwarai Ɛʋe Ɲɔgɔ'), 'Banki kwarai Eve Nogo')
  t.equal(printable('e\u0301tude ﬁnale ＡＢ'), 'étude finale AB')
})

t.test('what has no Latin letters is a question mark for each, and never other letters', async (t) => {
  t.equal(printable('شركة Nour'), '???? Nour')
  t.equal(printable('公司 (Dakar)'), '?? (Dakar)')
  t.equal(printable('👩‍🌾 ₦5'), '?? ?5')
})

t.test('what prints nothing breaks no line, turns no text around and leaves no hole', async (t) => {
  t.equal(printable('A\u202eB\u200bC\ufeffD\u00ade'), 'ABCDe')
  t.equal(printable('one\ntwo\tthree\u2028four'), 'one two three four')
})

t.test('whatever the text, each character is one of Windows-1252, and a second time changes nothing', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const printed = printable(text)
      const isPrintable = /^[ -~\u00a0-\u00ac\u00ae-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]*$/.test(printed)
      return isPrintable && printable(printed) === printed
    }),
    { numRuns: 500 }
  )
})
