/**
 * A4 pages that are filled from the top, whatever document they are of. Every text goes through `printable`, and is broken into
 * lines here: pdfkit would go on to another page by itself in the middle of a block.
 *
 * The same content gives the same bytes (of one version of Node and pdfkit): the file's date and id derive from `writtenAt` and
 * the title, and no clock is asked.
 */
import { buffer } from 'node:stream/consumers'
import PDFDocument from 'pdfkit'
import { printable } from './printable-text.ts'

export interface TextStyle {
  readonly weight: 'regular' | 'bold'
  /** Points. */
  readonly size: number
  readonly color: string
}

export const INK = '#1f2933'
export const GREY = '#5a6675'
export const RULE = '#c9d1d9'
export const SHADE = '#eef2f6'

export const BODY: TextStyle = { weight: 'regular', size: 9, color: INK }
export const BOLD: TextStyle = { ...BODY, weight: 'bold' }
export const DETAIL: TextStyle = { weight: 'regular', size: 8, color: GREY }

/** Points, of 1/72 inch; y grows downwards. */
const PAGE = { width: 595.28, height: 841.89 }
const MARGIN = 48
const FOOTER_TOP = PAGE.height - 40
const FONTS = { regular: 'Helvetica', bold: 'Helvetica-Bold' } as const
/** Parts of a font's size: from line to line, above the letters, and from their top to the baseline. */
const LEADING = 1.3
const TEXT_TOP = 0.2
const ASCENT = 0.718
const SIZE_MIN = 4

export interface SheetAbout {
  readonly title: string
  readonly author: string
  readonly language: string
  /** ms. */
  readonly writtenAt: number
}

export interface Placement {
  readonly x: number
  readonly width: number
  readonly align?: 'left' | 'right'
}

/** The content's edges, the same on each page. */
export const LEFT = MARGIN
export const RIGHT = PAGE.width - MARGIN
export const WIDTH = RIGHT - LEFT

export class Sheet {
  /** Where the next thing goes. */
  y = MARGIN
  readonly #document: PDFKit.PDFDocument
  /** By style and text. Measuring is most of the work, and lines are much alike. */
  readonly #widths = new Map<string, number>()

  constructor({ title, author, language, writtenAt }: SheetAbout) {
    const info = { Title: title, Author: author, Creator: 'tokenmeter', CreationDate: new Date(writtenAt) }
    this.#document = new PDFDocument({
      size: 'A4',
      margin: 0,
      bufferPages: true,
      pdfVersion: '1.4',
      lang: language,
      displayTitle: true,
      info
    })
  }

  /** What is left of the page. */
  get room(): number {
    return FOOTER_TOP - 12 - this.y
  }

  /** What there is on an empty one. */
  get roomMax(): number {
    return FOOTER_TOP - 12 - MARGIN
  }

  newPage(): void {
    this.#document.addPage()
    this.y = MARGIN
  }

  /** Begins another page unless so much is left, or a page could not hold it anyway. */
  keepTogether(height: number): void {
    if (height > this.room && height <= this.roomMax) this.newPage()
  }

  /** Lines no wider than `width`. They break at spaces; a word that is wider by itself after punctuation, or else anywhere. */
  wrap(text: string, width: number, style: TextStyle): readonly string[] {
    const fits = (line: string) => this.#widthOf(line.trimEnd(), style) <= width
    const whole = printable(text).trimEnd()
    if (fits(whole)) return [whole]
    const lines: string[] = []
    let line = ''
    // French puts a space before these: it breaks no line.
    for (const piece of whole.split(/(?<= )(?![:;!?»])/)) {
      if (fits(line + piece)) {
        line += piece
        continue
      }
      if (line !== '') lines.push(line.trimEnd())
      line = piece
      while (!fits(line)) {
        const end = breakOf(line, fits)
        lines.push(line.slice(0, end))
        line = line.slice(end)
      }
    }
    return [...lines, line.trimEnd()]
  }

  /** One line at `y`, which stays where it is. A text that is too wide is set smaller: a number never breaks. */
  write(text: string, { x, width, align = 'left' }: Placement, style: TextStyle): void {
    const line = printable(text)
    const wide = this.#widthOf(line, style)
    const size = wide > width ? Math.max(SIZE_MIN, (style.size * width) / wide) : style.size
    const start = align === 'left' ? x : x + width - (wide * size) / style.size
    // Above and below the letters as much room; all sizes of a row stand on one baseline.
    const top = this.y + style.size * TEXT_TOP + (style.size - size) * ASCENT
    this.#document
      .font(FONTS[style.weight])
      .fontSize(size)
      .fillColor(style.color)
      .text(line, start, top, { lineBreak: false })
  }

  /** Lines that are broken where they must be, each `text` on its own; moves `y` below them. */
  paragraph(texts: readonly string[], place: Placement, style: TextStyle): void {
    for (const text of texts) {
      for (const line of this.wrap(text, place.width, style)) {
        if (lineHeight(style) > this.room) this.newPage()
        this.write(line, place, style)
        this.y += lineHeight(style)
      }
    }
  }

  rule(color = RULE, { x, width }: Placement = { x: LEFT, width: WIDTH }): void {
    this.#document
      .moveTo(x, this.y)
      .lineTo(x + width, this.y)
      .lineWidth(0.6)
      .stroke(color)
  }

  /** A filled rectangle from `y` down; what is written on it comes after it. */
  shade(height: number, { x, width }: Placement = { x: LEFT, width: WIDTH }, color = SHADE): void {
    this.#document.rect(x, this.y, width, height).fill(color)
  }

  /** A framed word that ends at the right edge. */
  stamp(text: string, color: string): void {
    const style: TextStyle = { weight: 'bold', size: 11, color }
    const width = this.#widthOf(printable(text), style) + 16
    this.#document
      .roundedRect(RIGHT - width, this.y, width, 20, 3)
      .lineWidth(1.2)
      .stroke(color)
    this.y += 3.5
    this.write(text, { x: RIGHT - width + 8, width: width - 16 }, style)
    this.y += 16.5
  }

  /** Writes `label` and `1 / n` at the foot of each page. Nothing can be written afterwards. */
  async finish(label: string): Promise<Buffer> {
    const { count } = this.#document.bufferedPageRange()
    for (let page = 0; page < count; page += 1) {
      this.#document.switchToPage(page)
      this.y = FOOTER_TOP
      this.rule()
      this.y += 6
      this.write(label, { x: LEFT, width: WIDTH - 60 }, DETAIL)
      this.write(`${page + 1} / ${count}`, { x: RIGHT - 60, width: 60, align: 'right' }, DETAIL)
    }
    this.#document.end()
    return buffer(this.#document)
  }

  #widthOf(line: string, { weight, size }: TextStyle): number {
    const key = `${weight} ${size} ${line}`
    const known = this.#widths.get(key)
    if (known !== undefined) return known
    const width = this.#document.font(FONTS[weight]).fontSize(size).widthOfString(line)
    this.#widths.set(key, width)
    return width
  }
}

/** Where a word ends that is wider than a line. */
function breakOf(word: string, fits: (line: string) => boolean): number {
  let end = 1
  while (end < word.length && fits(word.slice(0, end + 1))) end += 1
  const punctuation = word.slice(0, end).search(/[-/:._,][^-/:._,]*$/)
  return punctuation > end / 2 ? punctuation + 1 : end
}

export function lineHeight({ size }: TextStyle): number {
  return size * LEADING
}
