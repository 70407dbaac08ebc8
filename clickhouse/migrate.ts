/**
 * Applies clickhouse/migrations in order and notes each in the table `migration`. ClickHouse has no lock to take, so two
 * runs at once, or one that was killed between a statement and its note, are made harmless: every statement says
 * `if not exists` or `if exists` and may run again. A statement that does not say so is refused.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClickHouseClient } from '@clickhouse/client'
import { connectClickHouse } from './connect.ts'
import { translatingErrors } from './store-error.ts'

const MIGRATIONS_FOLDER = join(import.meta.dirname, 'migrations')

const NOTES_TABLE = `create table if not exists migration
(
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC') default now64(3)
)
engine = ReplacingMergeTree(applied_at)
order by name`

export interface Migration {
  readonly name: string
  readonly checksum: string
  readonly statements: readonly string[]
}

/** Makes the database when it is missing and brings its tables up to date; answers the names of the migrations it ran. */
export async function migrate(clickhouseUrl: string, database = 'default'): Promise<readonly string[]> {
  const migrations = await readMigrations(MIGRATIONS_FOLDER)
  await using(connectClickHouse({ url: clickhouseUrl, database: 'default' }), (client) =>
    run(client, 'create database if not exists {database:Identifier}', { database })
  )
  return using(connectClickHouse({ url: clickhouseUrl, database }), async (client) => {
    await run(client, NOTES_TABLE)
    const applied = await readNotes(client)
    const ran: string[] = []
    for (const migration of migrations) {
      const checksum = applied.get(migration.name)
      if (checksum === undefined) {
        await apply(client, migration)
        ran.push(migration.name)
      } else if (checksum !== migration.checksum) {
        throw new Error(
          `migration ${migration.name} was edited after ${database} had applied it: nothing more was applied`
        )
      }
    }
    return ran
  })
}

/** Reads and checks the numbered files of a folder: each is sealed in checksums.json and only says what may run again. */
export async function readMigrations(folder: string): Promise<readonly Migration[]> {
  const sealed: Readonly<Record<string, string>> = JSON.parse(await readFile(join(folder, 'checksums.json'), 'utf8'))
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(folder, name), 'utf8')
      const checksum = createHash('sha256').update(text).digest('hex')
      if (sealed[name] !== checksum) throw new Error(`migration ${name} is not the one that checksums.json seals`)
      const statements = splitStatements(text)
      const single = statements.find((statement) => !/\bif (not )?exists\b/i.test(statement))
      if (single !== undefined) throw new Error(`migration ${name} has a statement that can't run twice: ${single}`)
      return { name, checksum, statements }
    })
  )
}

/** Comments stand on lines of their own, and a statement ends with a semicolon at the end of a line. */
function splitStatements(text: string): string[] {
  const code = text.replaceAll(/^\s*--.*$/gm, '')
  return code
    .split(/;[ \t]*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')
}

async function apply(client: ClickHouseClient, { name, checksum, statements }: Migration): Promise<void> {
  for (const statement of statements) await run(client, statement)
  await translatingErrors(`note migration ${name}`, () =>
    client.insert({
      table: 'migration',
      columns: ['name', 'checksum'],
      format: 'JSONCompactEachRow',
      values: [[name, checksum]],
      clickhouse_settings: { async_insert: 0 }
    })
  )
}

async function readNotes(client: ClickHouseClient): Promise<ReadonlyMap<string, string>> {
  return translatingErrors('read which migrations were applied', async () => {
    const answer = await client.query({ query: 'select name, checksum from migration', format: 'JSONEachRow' })
    const rows = await answer.json<{ readonly name: string; readonly checksum: string }>()
    return new Map(rows.map(({ name, checksum }) => [name, checksum]))
  })
}

async function run(client: ClickHouseClient, query: string, params: Record<string, string> = {}): Promise<void> {
  await translatingErrors('migrate', () => client.command({ query, query_params: params }))
}

async function using<T>(client: ClickHouseClient, work: (client: ClickHouseClient) => Promise<T>): Promise<T> {
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}
