/** Figures as people read them, the same on every page and picture of the bench. */
import type { Goal } from '../harness/scenario.ts'

const SIGNIFICANT_DIGITS = 4

/** Four digits that count, thousands apart: `0.7512`, `22.3`, `181,234`. */
export function figureText(figure: number): string {
  if (!Number.isFinite(figure)) return String(figure)
  if (Math.abs(figure) >= 1_000) return Math.round(figure).toLocaleString('en')
  return String(Number(figure.toPrecision(SIGNIFICANT_DIGITS)))
}

export function goalText({ atLeast, atMost }: Goal): string {
  if (atLeast !== undefined && atLeast === atMost) return `= ${figureText(atLeast)}`
  const bounds = [
    ...(atLeast === undefined ? [] : [`≥ ${figureText(atLeast)}`]),
    ...(atMost === undefined ? [] : [`≤ ${figureText(atMost)}`])
  ]
  return bounds.join(', ')
}

/** `R2` before `R10`. */
export function compareIds(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

/** Lines of at most so many characters, broken between words. A longer word has a line of its own. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
