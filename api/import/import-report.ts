/** The report of an import: a JSON line for each refused row, and a last one with the counts. It takes its name when it is whole. */
import { closeSync, openSync, renameSync, writeSync } from 'node:fs'
import {
  addCounts,
  type ImportCounts,
  type ImportPart,
  NO_COUNTS,
  OUTCOMES
} from '../../domain/customers/import/customer-import.ts'

export type PartCounts = ReadonlyMap<ImportPart, ImportCounts>

/** Without a path it shows the first refusals only. */
const SHOWN_MAX = 20

export class ImportReport {
  readonly #path: string | null
  readonly #draft: number | null
  readonly #show: (line: string) => void
  #lines = 0

  constructor(path: string | null, show: (line: string) => void) {
    this.#path = path
    this.#draft = path === null ? null : openSync(draftOf(path), 'w')
    this.#show = show
  }

  add(line: string): void {
    this.#lines += 1
    if (this.#draft !== null) writeSync(this.#draft, `${line}\n`)
    else if (this.#lines <= SHOWN_MAX) this.#show(line)
  }

  finish(counts: PartCounts): void {
    if (this.#draft === null || this.#path === null) {
      const hidden = this.#lines - SHOWN_MAX
      if (hidden > 0) this.#show(`and ${hidden} more: --report FILE writes all of them`)
      return
    }
    const parts = Object.fromEntries([...counts].map(([part, of]) => [part, { read: readOf(of), ...of }]))
    writeSync(this.#draft, `${JSON.stringify({ counts: parts })}\n`)
    closeSync(this.#draft)
    renameSync(draftOf(this.#path), this.#path)
  }
}

/** A table for people: read is the sum of the others. */
export function describeCounts(counts: PartCounts): string {
  const line = (name: string, cells: readonly (string | number)[]) =>
    name.padEnd(13) + cells.map((cell) => String(cell).padStart(11)).join('')
  const whole = [...counts.values()].reduce(addCounts, NO_COUNTS)
  const rows = [...counts, ...(counts.size > 1 ? [['together', whole] as const] : [])]
  return [
    line('', ['read', ...OUTCOMES]),
    ...rows.map(([name, of]) => line(name, [readOf(of), ...OUTCOMES.map((outcome) => of[outcome])]))
  ].join('\n')
}

export function readOf(counts: ImportCounts): number {
  return OUTCOMES.reduce((sum, outcome) => sum + counts[outcome], 0)
}

function draftOf(path: string): string {
  return `${path}.draft`
}
