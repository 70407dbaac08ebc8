/**
 * Text as the standard fonts of PDF can print it. They need no file and are in every reader, and know the 217 characters of
 * Windows-1252: enough for French and English, not for every name. Any other character would come out as one or two wrong ones,
 * so that it is replaced here by the nearest that prints: its letter without marks, a spelling of it, or else `?`.
 */

/** Spaces that Intl groups digits with must not break, and must not vanish. */
const NO_BREAK_SPACE = '\u00a0'

/** What Unicode doesn't take apart by itself: dashes, and letters of European and West African alphabets. */
const SPELLINGS: ReadonlyMap<string, string> = new Map([
  ['\u202f', NO_BREAK_SPACE],
  ['\u2007', NO_BREAK_SPACE],
  ['\u2010', '-'],
  ['\u2011', '-'],
  ['\u2012', '–'],
  ['\u2015', '—'],
  ['\u2212', '-'],
  ['′', "'"],
  ['″', '"'],
  ...spellings('Đđ', 'Dd'),
  ...spellings('Ħħ', 'Hh'),
  ...spellings('ı', 'i'),
  ...spellings('Łł', 'Ll'),
  ...spellings('Ŋŋ', 'Nn'),
  ...spellings('Ɓɓ', 'Bb'),
  ...spellings('Ɗɗ', 'Dd'),
  ...spellings('Ɖɖ', 'Dd'),
  ...spellings('Ɛɛ', 'Ee'),
  ...spellings('Əǝə', 'Eee'),
  ...spellings('Ɣɣ', 'Gg'),
  ...spellings('Ƙƙ', 'Kk'),
  ...spellings('Ɲɲ', 'Nn'),
  ...spellings('Ɔɔ', 'Oo'),
  ...spellings('Ʋʋ', 'Vv'),
  ...spellings('Ƴƴ', 'Yy')
])

/** Of Latin-1 what prints, and what Windows-1252 has in the place of its controls. */
const PRINTABLE = /[ -~\u00a0-\u00ac\u00ae-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]/

/** One line: a line break or tab becomes a space. What marks direction or joins letters, and prints nothing, is left out. */
export function printable(text: string): string {
  let printed = ''
  for (const character of text.normalize('NFC'))
    printed += PRINTABLE.test(character) ? character : replacementOf(character)
  return printed
}

function replacementOf(character: string): string {
  const spelling = SPELLINGS.get(character)
  if (spelling !== undefined) return spelling
  if (/[\p{Cc}\p{Z}]/u.test(character)) return ' '
  if (/[\p{Cf}\p{M}]/u.test(character)) return ''
  const letters = [...character.normalize('NFKD').replace(/\p{M}/gu, '')]
  return letters.every((letter) => PRINTABLE.test(letter)) ? letters.join('') : '?'
}

function spellings(from: string, to: string): [string, string][] {
  return [...from].map((letter, at) => [letter, to[at] ?? '?'])
}
