/**
 * What a reader sees of a file that `sheet.ts` wrote, for tests: each text with its place. It knows of PDF what pdfkit writes, one
 * stream per page and texts in hexadecimal Windows-1252, and no more.
 */
import { inflateSync } from 'node:zlib'

export interface PrintedText {
  /** From 1. */
  readonly page: number
  /** Points from the left edge, and of the baseline from the lower one. */
  readonly x: number
  readonly y: number
  /** `Helvetica-Bold` for instance. */
  readonly font: string
  readonly size: number
  /** With plain spaces. */
  readonly text: string
}

const TEXT = /1 0 0 1 (\S+) (\S+) Tm\n\/(F\d+) (\S+) Tf\n(?:\[(.*)\] TJ)?/g

/** In the order in which it was written. */
export function readTexts(file: Buffer): readonly PrintedText[] {
  const source = file.toString('latin1')
  const fonts = fontsOf(source)
  return pagesOf(file, source).flatMap((content, at) =>
    [...content.matchAll(TEXT)].map(([, x, y, font = '', size, shown = '']) => ({
      page: at + 1,
      x: Number(x),
      y: Number(y),
      font: fonts.get(font) ?? font,
      size: Number(size),
      text: decoded(shown)
    }))
  )
}

/** Texts on one baseline, from left to right; rows from top to bottom. */
export function rowsOf(texts: readonly PrintedText[]): readonly (readonly PrintedText[])[] {
  const rows: PrintedText[][] = []
  for (const text of texts.toSorted((a, b) => a.page - b.page || b.y - a.y || a.x - b.x)) {
    const row = rows.at(-1)
    const first = row?.[0]
    if (row !== undefined && first?.page === text.page && first.y - text.y < 0.5) row.push(text)
    else rows.push([text])
  }
  return rows.map((row) => row.toSorted((a, b) => a.x - b.x))
}

function pagesOf(file: Buffer, source: string): readonly string[] {
  return [...source.matchAll(/\/Length (\d+)\n\/Filter \/FlateDecode\n>>\nstream\n/g)].map((head) => {
    const start = head.index + head[0].length
    return inflateSync(file.subarray(start, start + Number(head[1]))).toString('latin1')
  })
}

function fontsOf(source: string): ReadonlyMap<string, string> {
  const names = new Map(
    [...source.matchAll(/\n(\d+) 0 obj\n<<\n\/Type \/Font\n\/BaseFont \/(\S+)/g)].map((of) => [of[1], of[2]])
  )
  return new Map(
    [...source.matchAll(/\/(F\d+) (\d+) 0 R/g)].map(([, id = '', object]) => [id, names.get(object) ?? ''])
  )
}

/** What Windows-1252 has in 0x80–0x9f; a hole is a character that must not be there. */
const HIGH = '€\u0000‚ƒ„…†‡ˆ‰Š‹Œ\u0000Ž\u0000\u0000‘’“”•–—˜™š›œ\u0000žŸ'

function decoded(shown: string): string {
  const bytes = Buffer.from([...shown.matchAll(/<([0-9a-f]*)>/g)].map(([, hex]) => hex).join(''), 'hex')
  return [...bytes]
    .map((byte) => (byte >= 0x80 && byte < 0xa0 ? HIGH[byte - 0x80] : byte === 0xa0 ? ' ' : String.fromCharCode(byte)))
    .join('')
}
