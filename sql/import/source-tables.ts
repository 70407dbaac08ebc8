// The tables of a former service's own Postgres, read by a cursor of the server, so that memory stays flat whatever their size. Every
// column is read as text: what it means is for the mapping to say.

import { createHash } from 'node:crypto'
import { Client } from 'pg'
import {
  IMPORT_PARTS,
  type ImportPart,
  type ImportPlace,
  type ImportSource,
  type SourceRow
} from '../../domain/customers/import/customer-import.ts'
import type { ImportMapping, PartMapping } from '../../domain/customers/import/import-mapping.ts'
import { CONNECT_TIMEOUT_MS, LONG_STATEMENT_TIMEOUT_MS } from '../connect.ts'
import { translatePostgresError } from '../translate-error.ts'

const ROWS_A_FETCH = 1_000
/** What a mapping can't name a column: it is printable text. */
const KEY = '\u0001key'

/** Reads in one snapshot, as whoever the URL signs in; needs no more than `select` on the tables. */
export class SourceTables implements ImportSource {
  readonly name: string
  readonly fingerprint: string
  readonly sizes: ReadonlyMap<ImportPart, number>
  readonly #client: Client
  readonly #mapping: ImportMapping

  private constructor(client: Client, mapping: ImportMapping, sizes: ReadonlyMap<ImportPart, number>) {
    this.name = `postgres://${client.host}:${client.port}/${client.database}`
    // Rows may change while an import is interrupted: it goes on after the last key, whatever stands there now.
    this.fingerprint = createHash('sha256')
      .update(JSON.stringify(tablesOf(mapping)))
      .digest('hex')
    this.sizes = sizes
    this.#client = client
    this.#mapping = mapping
  }

  /** Throws when a table or a column is not there. */
  static async open(databaseUrl: string, mapping: ImportMapping): Promise<SourceTables> {
    const client = new Client({
      connectionString: databaseUrl,
      application_name: 'tokenmeter-migrate',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      statement_timeout: LONG_STATEMENT_TIMEOUT_MS,
      keepAlive: true,
      options: '-c datestyle=ISO -c intervalstyle=iso_8601'
    })
    // The statement that runs is told too; an event without a listener would end the process.
    client.on('error', () => undefined)
    try {
      await client.connect()
      await client.query('begin isolation level repeatable read read only')
      return new SourceTables(client, mapping, await sizesOf(client, mapping))
    } catch (error) {
      await client.end()
      throw translatePostgresError('read the former service', error)
    }
  }

  async *rows(part: ImportPart, after: ImportPlace): AsyncGenerator<SourceRow> {
    const client = this.#client
    try {
      await client.query(
        `declare source_rows no scroll cursor for ${selectRows(client, this.#mapping.parts[part], after)}`
      )
      for (let row = after.rows; ; ) {
        const { rows } = await client.query<Record<string, string | null>>(
          `fetch forward ${ROWS_A_FETCH} from source_rows`
        )
        for (const { [KEY]: key = null, ...values } of rows) {
          row += 1
          yield { row, line: row, key, values, fault: null }
        }
        if (rows.length < ROWS_A_FETCH) break
      }
      await client.query('close source_rows')
    } catch (error) {
      throw translatePostgresError(`read the ${part} of the former service`, error)
    }
  }

  async close(): Promise<void> {
    await this.#client.end()
  }
}

function tablesOf({ parts }: ImportMapping): readonly (readonly [ImportPart, PartMapping])[] {
  return IMPORT_PARTS.flatMap((part) => (parts[part].table === null ? [] : [[part, parts[part]] as const]))
}

async function sizesOf(client: Client, mapping: ImportMapping): Promise<ReadonlyMap<ImportPart, number>> {
  const sizes = new Map<ImportPart, number>()
  for (const [part, { table }] of tablesOf(mapping)) {
    const { rows } = await client.query<{ size: string }>(`select count(*) as size from ${tableName(client, table)}`)
    sizes.set(part, Number(rows[0]?.size ?? 0))
  }
  return sizes
}

function selectRows(client: Client, { table, key, rules }: PartMapping, after: ImportPlace): string {
  const order = client.escapeIdentifier(key ?? '')
  const columns = [...new Set(rules.flatMap(({ column }) => column ?? []))]
  const selected = columns.map((column) => {
    const name = client.escapeIdentifier(column)
    return `${name}::text as ${name}`
  })
  const where = after.key === null ? '' : `where ${order} > ${client.escapeLiteral(after.key)}`
  return `
    select ${[...selected, `${order}::text as ${client.escapeIdentifier(KEY)}`].join(', ')}
      from ${tableName(client, table)} ${where} order by ${order}`
}

/** `schema.table`, or a table alone. */
function tableName(client: Client, table: string | null): string {
  return (table ?? '')
    .split('.')
    .map((name) => client.escapeIdentifier(name))
    .join('.')
}
