/** A table that goes on over pages: its head stands on each, and what explains one line stays together while a page can hold it. */
import { setImmediate } from 'node:timers/promises'
import { BOLD, LEFT, lineHeight, type Placement, type Sheet, type TextStyle, WIDTH } from './sheet.ts'

export interface Column {
  readonly title: string
  readonly width: number
  readonly align: 'left' | 'right'
}

export interface Row {
  /** By column, empty text where there is nothing. The first one breaks into lines and takes the empty columns after it as well. */
  readonly cells: readonly string[]
  readonly style: TextStyle
  /** Points. */
  readonly indent?: number
}

/** Rows of one line of the document. */
export type Block = readonly Row[]

const GAP = 8
const HEAD_STYLE: TextStyle = { ...BOLD, size: 8 }
const HEAD_HEIGHT = lineHeight(HEAD_STYLE) + 8
const BLOCK_PADDING = 4
/** Of a block that no page can hold, so much stands on the page where it begins. */
const BEGINNING_MIN = 60

/** One line of text: a row whose first cell breaks is several, so that a page can end between any two of them. */
interface Strip {
  readonly texts: readonly { readonly text: string; readonly place: Placement }[]
  readonly style: TextStyle
}

/**
 * Columns fill the width between the margins. A block takes a millisecond or two: others have their turn after each, since the
 * process that draws also answers quota checks.
 */
export async function drawTable(sheet: Sheet, columns: readonly Column[], blocks: readonly Block[]): Promise<void> {
  sheet.keepTogether(HEAD_HEIGHT + BEGINNING_MIN)
  drawHead(sheet, columns)
  for (const block of blocks) {
    drawBlock(sheet, columns, block)
    await setImmediate()
  }
}

function drawHead(sheet: Sheet, columns: readonly Column[]): void {
  sheet.shade(HEAD_HEIGHT)
  sheet.y += 4
  for (const { text, place } of placed(
    columns,
    columns.map(({ title }) => title)
  ))
    sheet.write(text, place, HEAD_STYLE)
  sheet.y += HEAD_HEIGHT - 4
}

function drawBlock(sheet: Sheet, columns: readonly Column[], block: Block): void {
  const rows = block.map((row) => stripsOf(sheet, columns, row))
  const height = heightOf(rows.flat()) + 2 * BLOCK_PADDING
  const fitsOnePage = height <= sheet.roomMax - HEAD_HEIGHT
  const goOnUnless = (heightNeeded: number) => {
    if (heightNeeded <= sheet.room) return
    sheet.newPage()
    drawHead(sheet, columns)
  }
  goOnUnless(fitsOnePage ? height : BEGINNING_MIN)
  sheet.y += BLOCK_PADDING
  for (const strips of rows) {
    if (heightOf(strips) <= sheet.roomMax - HEAD_HEIGHT) goOnUnless(heightOf(strips))
    for (const { texts, style } of strips) {
      goOnUnless(lineHeight(style))
      for (const { text, place } of texts) sheet.write(text, place, style)
      sheet.y += lineHeight(style)
    }
  }
  sheet.y += BLOCK_PADDING
  sheet.rule()
}

function heightOf(strips: readonly Strip[]): number {
  return strips.reduce((sum, { style }) => sum + lineHeight(style), 0)
}

function stripsOf(sheet: Sheet, columns: readonly Column[], { cells, style, indent = 0 }: Row): readonly Strip[] {
  const [first, ...others] = placed(columns, cells)
  if (first === undefined) return []
  const place = { ...first.place, x: first.place.x + indent, width: first.place.width - indent }
  return sheet.wrap(first.text, place.width, style).map((text, at) => ({
    texts: [{ text, place }, ...(at === 0 ? others : [])],
    style
  }))
}

function placed(columns: readonly Column[], cells: readonly string[]): Strip['texts'] {
  const texts: { readonly text: string; readonly place: Placement }[] = []
  const next = cells.findIndex((cell, at) => at > 0 && cell !== '')
  let x = LEFT
  for (const [at, { width, align }] of columns.entries()) {
    const text = cells[at] ?? ''
    const spans = at === 0 && next !== 1
    const right = spans ? LEFT + (next === -1 ? WIDTH : widthOf(columns.slice(0, next))) : x + width
    if (at === 0 || text !== '') texts.push({ text, place: { x: x + GAP / 2, width: right - x - GAP, align } })
    x += width
  }
  return texts
}

function widthOf(columns: readonly Column[]): number {
  return columns.reduce((sum, { width }) => sum + width, 0)
}
