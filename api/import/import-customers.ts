/** Takes a source over, part after part and batch after batch, from where the import stands to its end. */
import {
  addCounts,
  type Candidate,
  type CustomerImport,
  IMPORT_PARTS,
  type ImportCounts,
  type ImportPart,
  type ImportPlace,
  type ImportSource,
  NO_COUNTS,
  type Refusal,
  type SourceRow
} from '../../domain/customers/import/customer-import.ts'
import type { ImportMapping } from '../../domain/customers/import/import-mapping.ts'
import { isCandidate, mapRow } from '../../domain/customers/import/map-row.ts'
import { JUDGE_BATCH } from './judge-batch.ts'

export interface ImportDependencies {
  readonly source: ImportSource
  readonly mapping: ImportMapping
  readonly store: CustomerImport
  readonly now: () => number
  /** After each batch, and when a part begins: how many of its rows were read. */
  readonly onProgress: (part: ImportPart, rows: number) => void
}

export interface ImportOptions {
  readonly isResumed: boolean
  /** Rows of a transaction, at most. */
  readonly batchSize: number
  readonly withEvents: boolean
}

const START: ImportPlace = { rows: 0, key: null }

/** What became of the rows, those before a kill included. Parts that the source has not are left out. */
export async function importCustomers(
  dependencies: ImportDependencies,
  options: ImportOptions
): Promise<ReadonlyMap<ImportPart, ImportCounts>> {
  const { source, store } = dependencies
  const progress = await store.begin(source, options.isResumed)
  const counts = new Map<ImportPart, ImportCounts>()
  for (const part of IMPORT_PARTS.filter((each) => source.sizes.has(each))) {
    const { place = START, counts: before = NO_COUNTS } = progress.get(part) ?? {}
    counts.set(part, addCounts(before, await importPart(part, { place, dependencies, options })))
  }
  await store.finish()
  return counts
}

interface PartOfImport {
  readonly place: ImportPlace
  readonly dependencies: ImportDependencies
  readonly options: ImportOptions
}

async function importPart<Part extends ImportPart>(
  part: Part,
  { place, dependencies, options }: PartOfImport
): Promise<ImportCounts> {
  const { source, mapping, store, now, onProgress } = dependencies
  const { batchSize, withEvents } = options
  let counts = NO_COUNTS
  let from = place
  onProgress(part, from.rows)
  for await (const rows of batchesOf(source.rows(part, place), batchSize)) {
    const mapped = rows.map((row) => mapRow(part, row, mapping.parts[part]))
    const candidates: readonly Candidate[] = mapped.filter(isCandidate)
    const refusals: readonly Refusal[] = mapped.filter((each): each is Refusal => !isCandidate(each))
    const to = { rows: from.rows + rows.length, key: rows.at(-1)?.key ?? null }
    const batch = { part, from, to, candidates }
    const judged = await store.apply(batch, (standing, duplicates) =>
      JUDGE_BATCH[part]({ batch, refusals, now: now(), withEvents }, standing, duplicates)
    )
    counts = addCounts(counts, judged.counts)
    from = to
    onProgress(part, from.rows)
  }
  return counts
}

async function* batchesOf(rows: AsyncIterable<SourceRow>, size: number): AsyncGenerator<readonly SourceRow[]> {
  let batch: SourceRow[] = []
  for await (const row of rows) {
    batch.push(row)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
