/** A part of a list, and where the next part begins. */
export interface Page<Row> {
  readonly rows: readonly Row[]
  /** The cursor of the next page; null after the last row. */
  readonly next: string | null
}

export interface PageAsked {
  /** Rows at most, at least 1. */
  readonly limit: number
  /** Of the page before; empty: from the first row. */
  readonly cursor: string
}

/** A cursor that no list of ours gave out, or one of another list. */
export class ForeignCursorError extends RangeError {
  constructor(cursor: string) {
    super(`not a page key of ours: ${cursor}`)
    this.name = 'ForeignCursorError'
  }
}
