/** CSV as spreadsheets and databases export it: a header line, quotes by RFC 4180, columns set apart by comma, semicolon or tab. */
import { pipeline, Readable } from 'node:stream'
import { type Info, parse } from 'csv-parse'
import type { PartMapping } from '../../domain/customers/import/import-mapping.ts'

/** A row as a reader of one format answers it. */
export interface ReadRow {
  readonly line: number
  readonly values: unknown
  readonly fault: string | null
}

/** A quote that is never closed would take the rest of the file for one cell. */
const ROW_LENGTH_MAX = 1_048_576

const DELIMITERS = [',', ';', '\t'] as const

interface CsvRecord {
  readonly info: Info
  readonly record: readonly string[]
}

/** Throws, naming the line, where the file is no CSV, and before the first row when a column is missing or not known. */
export async function* readCsv(text: AsyncIterable<string>, mapping: PartMapping): AsyncGenerator<ReadRow> {
  const chunks = text[Symbol.asyncIterator]()
  const [start, delimiter] = await readHeaderLine(chunks)
  const parser = parse({
    info: true,
    delimiter,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: ROW_LENGTH_MAX
  })
  // What goes wrong in between ends the parser, and with it the loop below.
  pipeline(Readable.from(from(start, chunks)), parser, () => undefined)
  let columns: readonly string[] | null = null
  // The parser counts a line end of two characters twice where it stands within quotes.
  let surplus = 0
  for await (const { info, record } of parser as AsyncIterable<CsvRecord>) {
    for (const cell of record) surplus += cell.split('\r\n').length - 1
    const line = info.lines - surplus
    if (columns === null) {
      columns = record.map((name) => name.trim())
      checkColumns(columns, mapping)
    } else if (record.length === columns.length) {
      const cells: readonly (readonly [string, string])[] = columns.map((name, i) => [name, record[i] ?? ''])
      yield { line, values: Object.fromEntries(cells), fault: null }
    } else {
      const fault = `has ${record.length} cells, the header has ${columns.length}`
      yield { line, values: record, fault }
    }
  }
}

/** Whichever of them the header has most of. */
async function readHeaderLine(chunks: AsyncIterator<string>): Promise<readonly [start: string, delimiter: string]> {
  let start = ''
  while (!start.includes('\n') && start.length < ROW_LENGTH_MAX) {
    const next = await chunks.next()
    if (next.done === true) break
    start += next.value
  }
  const header = start.split('\n', 1)[0] ?? ''
  const [delimiter = ','] = DELIMITERS.toSorted((a, b) => header.split(b).length - header.split(a).length)
  return [start, delimiter]
}

async function* from(start: string, chunks: AsyncIterator<string>): AsyncGenerator<string> {
  yield start
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value
}

function checkColumns(columns: readonly string[], { rules, isStrict }: PartMapping): void {
  const twice = columns.find((name, i) => columns.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`the header has the column ${twice} twice`)
  const named = new Set(rules.flatMap(({ column }) => column ?? []))
  const missing = isStrict ? [] : [...named].filter((name) => !columns.includes(name))
  if (missing.length > 0) throw new Error(`the mapping names columns that the header lacks: ${missing.join(', ')}`)
  const unknown = isStrict ? columns.filter((name) => !named.has(name)) : []
  if (unknown.length === 0) return
  throw new Error(`these columns are no fields of ours: ${unknown.join(', ')}; a mapping file says what they are`)
}
