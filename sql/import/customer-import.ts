import { randomUUIDv7 } from 'node:crypto'
import { DatabaseError } from 'pg'
import {
  type Candidate,
  type CustomerImport,
  type Duplicates,
  IMPORT_PARTS,
  type ImportBatch,
  type ImportPart,
  type ImportSource,
  type JudgedBatch,
  type PartProgress,
  type Refusal,
  type Standings,
  tellRefusal
} from '../../domain/customers/import/customer-import.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { Database, Run } from '../connect.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'
import { LOAD_STANDINGS } from './import-standings.ts'
import { writeJudged } from './write-judged.ts'

/** Refused rows may have a megabyte each, though few have more than one kilobyte. */
const REFUSALS_A_PAGE = 200

const UNIQUE_VIOLATION = '23505'

const NOTHING_IMAGINED = new Map()

interface ImportColumns {
  readonly id: string
  readonly fingerprint: string
}

interface PartColumns {
  readonly part: ImportPart
  readonly rows_read: string
  readonly last_key: string | null
  readonly created: string
  readonly updated: string
  readonly unchanged: string
  readonly refused: string
}

/** One import at a time: `begin` says which. The database is reached as the platform. */
export class PostgresCustomerImport implements CustomerImport {
  readonly #database: Database
  #id = ''

  constructor(database: Database) {
    this.#database = database
  }

  /** Throws when the source is another one than the run that is to be resumed began with. */
  async begin(
    { name, fingerprint }: Pick<ImportSource, 'name' | 'fingerprint'>,
    isResumed: boolean
  ): Promise<ReadonlyMap<ImportPart, PartProgress>> {
    const what = `begin the import of ${name}`
    return this.#database.transaction(what, 'read committed', async (run) => {
      const earlier = isResumed ? await findLast(run, name) : null
      if (earlier !== null && earlier.fingerprint !== fingerprint) {
        throw new Error(`${name} or its mapping has changed since it was begun: run without --resume, from its start`)
      }
      this.#id = earlier?.id ?? (await beginAnew(run, { name, fingerprint }))
      const rows = await run<PartColumns>({
        text: `select part, rows_read, last_key, created, updated, unchanged, refused
                 from customer_import_part where import_id = $1`,
        values: [this.#id]
      })
      return new Map(rows.map((row) => [row.part, toProgress(row)]))
    })
  }

  async apply<Part extends ImportPart>(
    batch: ImportBatch<Part>,
    judge: (standing: Standings[Part], duplicates: Duplicates) => JudgedBatch
  ): Promise<JudgedBatch> {
    const { part, from, to, candidates } = batch
    const what = `import ${part} ${from.rows + 1} to ${to.rows}`
    return translated(what, () =>
      this.#database.transaction(what, 'read committed', async (run) => {
        await this.#holdPlace(run, batch)
        const duplicates = await this.#claimKeys(run, part, candidates)
        const loading = { run, candidates, isHeld: true, imagined: NOTHING_IMAGINED }
        const judged = judge(await LOAD_STANDINGS[part](loading), duplicates)
        await writeJudged(run, judged)
        await this.#keepRefusals(run, judged.refusals)
        await this.#moveOn(run, batch, judged)
        return judged
      })
    )
  }

  async finish(): Promise<void> {
    await this.#database.transaction('finish the import', 'read committed', async (run) => {
      await run({ text: 'delete from customer_import_key where import_id = $1', values: [this.#id] })
      await run({
        text: 'update customer_import set finished_at = coalesce(finished_at, now()) where id = $1',
        values: [this.#id]
      })
    })
  }

  async *refusals(): AsyncGenerator<string> {
    for (const part of IMPORT_PARTS) {
      for (let after = 0; ; ) {
        const rows: readonly { row_number: string; told: string }[] = await this.#database.query(
          `read refused ${part} after row ${after}`,
          {
            text: `select row_number, told from customer_import_refusal
                    where import_id = $1 and part = $2 and row_number > $3
                    order by row_number limit $4`,
            values: [this.#id, part, after, REFUSALS_A_PAGE]
          }
        )
        for (const { told } of rows) yield told
        const last = rows.length < REFUSALS_A_PAGE ? undefined : rows.at(-1)
        if (last === undefined) break
        after = Number(last.row_number)
      }
    }
  }

  /** Two processes that go on with one import would count its rows twice: the second one to come finds another place. */
  async #holdPlace(run: Run, { part, from }: ImportBatch): Promise<void> {
    const held = await run({
      text: 'select part from customer_import_part where import_id = $1 and part = $2 and rows_read = $3 for update',
      values: [this.#id, part, from.rows]
    })
    if (held.length === 0)
      throw new Error(`another process goes on with this import: ${part} are no longer at ${from.rows}`)
  }

  /** Whoever comes first has the key, in this batch or in one before. */
  async #claimKeys(run: Run, part: ImportPart, candidates: readonly Candidate[]): Promise<Duplicates> {
    const firsts = new Map<string, number>()
    for (const { key, source } of candidates) if (!firsts.has(key)) firsts.set(key, source.line)
    const keys = textArrayLiteral([...firsts.keys()])
    await run({
      text: `insert into customer_import_key (import_id, part, key, line)
             select $1, $2, key, line from unnest($3::text[], $4::bigint[]) as row (key, line)
             on conflict (import_id, part, key) do nothing`,
      values: [this.#id, part, keys, numberArrayLiteral([...firsts.values()])]
    })
    const rows = await run<{ key: string; line: string }>({
      text: 'select key, line from customer_import_key where import_id = $1 and part = $2 and key = any($3::text[])',
      values: [this.#id, part, keys]
    })
    const claimed = new Map(rows.map(({ key, line }) => [key, Number(line)]))
    return duplicatesOf(candidates, claimed)
  }

  async #keepRefusals(run: Run, refusals: readonly Refusal[]): Promise<void> {
    if (refusals.length === 0) return
    await run({
      text: `insert into customer_import_refusal (import_id, part, row_number, told)
             select $1, part, row_number, told from unnest($2::text[], $3::bigint[], $4::text[]) as row (part, row_number, told)`,
      values: [
        this.#id,
        textArrayLiteral(refusals.map(({ part }) => part)),
        numberArrayLiteral(refusals.map(({ source }) => source.row)),
        textArrayLiteral(refusals.map(tellRefusal))
      ]
    })
  }

  async #moveOn(run: Run, { part, to }: ImportBatch, { counts }: JudgedBatch): Promise<void> {
    await run({
      text: `update customer_import_part
                set rows_read = $3, last_key = $4, created = created + $5, updated = updated + $6,
                    unchanged = unchanged + $7, refused = refused + $8
              where import_id = $1 and part = $2`,
      values: [this.#id, part, to.rows, to.key, counts.created, counts.updated, counts.unchanged, counts.refused]
    })
  }
}

/** Somebody made the same customer, user or subscription after we looked: a later run finds it there. */
async function translated<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code !== UNIQUE_VIOLATION) throw error
    throw new RetryableError('postgres-conflict', `could not ${what}: ${error.message}`, {
      cause: error
    })
  }
}

/** `claimed`: by key, the line that has it. A candidate on another line is its duplicate. */
export function duplicatesOf(candidates: readonly Candidate[], claimed: ReadonlyMap<string, number>): Duplicates {
  const duplicates = new Map<number, number>()
  for (const { key, source } of candidates) {
    const line = claimed.get(key)
    if (line !== undefined && line !== source.line) duplicates.set(source.row, line)
  }
  return duplicates
}

async function findLast(run: Run, source: string): Promise<ImportColumns | null> {
  const [last] = await run<ImportColumns>({
    text: 'select id, fingerprint from customer_import where source = $1 order by id desc limit 1 for update',
    values: [source]
  })
  return last ?? null
}

/** What earlier imports of the source were refused is of no use any more. */
async function beginAnew(run: Run, { name, fingerprint }: { readonly name: string; readonly fingerprint: string }) {
  for (const table of ['customer_import_key', 'customer_import_refusal']) {
    await run({
      text: `delete from ${table} where import_id in (select id from customer_import where source = $1)`,
      values: [name]
    })
  }
  const id = randomUUIDv7()
  await run({
    text: 'insert into customer_import (id, source, fingerprint) values ($1, $2, $3)',
    values: [id, name, fingerprint]
  })
  await run({
    text: 'insert into customer_import_part (import_id, part) select $1, unnest($2::text[])',
    values: [id, [...IMPORT_PARTS]]
  })
  return id
}

function toProgress(row: PartColumns): PartProgress {
  return {
    place: { rows: Number(row.rows_read), key: row.last_key },
    counts: {
      created: Number(row.created),
      updated: Number(row.updated),
      unchanged: Number(row.unchanged),
      refused: Number(row.refused)
    }
  }
}
