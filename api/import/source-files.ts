/** The files of a former service's export: one of customers, or a folder with one for each part. */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { basename, extname, join, resolve } from 'node:path'
import {
  IMPORT_PARTS,
  type ImportPart,
  type ImportPlace,
  type ImportSource,
  type SourceRow
} from '../../domain/customers/import/customer-import.ts'
import type { ImportMapping } from '../../domain/customers/import/import-mapping.ts'
import { readCsv } from './read-csv.ts'
import { readJsonLines } from './read-json-lines.ts'

const READERS = { '.csv': readCsv, '.jsonl': readJsonLines } as const
type Extension = keyof typeof READERS
const EXTENSIONS: readonly Extension[] = ['.csv', '.jsonl']

const LINE_FEED = 10

interface SourceFile {
  readonly path: string
  readonly extension: Extension
}

export class SourceFiles implements ImportSource {
  readonly name: string
  readonly fingerprint: string
  readonly sizes: ReadonlyMap<ImportPart, number>
  readonly #files: ReadonlyMap<ImportPart, SourceFile>
  readonly #mapping: ImportMapping

  private constructor(
    { path, files, mapping }: Found,
    { fingerprint, sizes }: { readonly fingerprint: string; readonly sizes: ReadonlyMap<ImportPart, number> }
  ) {
    this.name = path
    this.fingerprint = fingerprint
    this.sizes = sizes
    this.#files = files
    this.#mapping = mapping
  }

  /** Reads each file once: its fingerprint covers what stands in it. */
  static async open(source: string, mapping: ImportMapping): Promise<SourceFiles> {
    const path = resolve(source)
    const files = findFiles(path)
    const hash = createHash('sha256').update(mapping.text)
    const sizes = new Map<ImportPart, number>()
    for (const [part, file] of files) {
      hash.update(`\n${part} ${file.extension}\n`)
      let lines = 0
      for await (const chunk of createReadStream(file.path)) {
        hash.update(chunk)
        for (let at = chunk.indexOf(LINE_FEED); at !== -1; at = chunk.indexOf(LINE_FEED, at + 1)) lines += 1
      }
      sizes.set(part, file.extension === '.csv' ? Math.max(lines - 1, 0) : lines)
    }
    return new SourceFiles({ path, files, mapping }, { fingerprint: hash.digest('hex'), sizes })
  }

  /** What was read before is read again and passed over: rows of a file are known by their number. */
  async *rows(part: ImportPart, after: ImportPlace): AsyncGenerator<SourceRow> {
    const file = this.#files.get(part)
    if (file === undefined) return
    const { encoding, parts } = this.#mapping
    let row = 0
    for await (const { line, values, fault } of READERS[file.extension](decoded(file.path, encoding), parts[part])) {
      row += 1
      if (row > after.rows) yield { row, line, key: null, values, fault }
    }
  }

  async close(): Promise<void> {
    // Each file is closed as soon as it was read.
  }
}

interface Found {
  readonly path: string
  readonly files: ReadonlyMap<ImportPart, SourceFile>
  readonly mapping: ImportMapping
}

function findFiles(path: string): ReadonlyMap<ImportPart, SourceFile> {
  if (!statSync(path).isDirectory()) {
    const extension = EXTENSIONS.find((known) => known === extname(path))
    if (extension === undefined) throw new Error(`${basename(path)} is neither .csv nor .jsonl`)
    return new Map([['customers', { path, extension }]])
  }
  const files = IMPORT_PARTS.flatMap((part): (readonly [ImportPart, SourceFile])[] => {
    const found = EXTENSIONS.map((extension) => ({ path: join(path, `${part}${extension}`), extension }))
    const [file, other] = found.filter((candidate) => existsSync(candidate.path))
    if (other !== undefined) throw new Error(`${path} holds ${part} twice: ${part}.csv and ${part}.jsonl`)
    return file === undefined ? [] : [[part, file]]
  })
  if (files.length === 0) throw new Error(`${path} holds none of ${IMPORT_PARTS.join(', ')}, as .csv or .jsonl`)
  return new Map(files)
}

/** Text as it comes; throws at bytes that are none, rather than keep a name that nobody can read. */
async function* decoded(path: string, encoding: ImportMapping['encoding']): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding, { fatal: true })
  try {
    for await (const chunk of createReadStream(path)) yield decoder.decode(chunk, { stream: true })
    yield decoder.decode()
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new Error(`${path} is not ${encoding}: the mapping's "encoding" says what it is`, { cause: error })
  }
}
