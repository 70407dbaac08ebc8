// Where the real services are, for tests and the bench, and a database of one's own on the real Postgres.

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { migrate } from '../sql/migrate.ts'
import { serviceUrl } from '../stack/service-urls.ts'

const ROOT = join(import.meta.dirname, '..')
const MIGRATIONS_FOLDER = join(ROOT, 'sql', 'migrations')

/** One advisory lock for making databases: a template can't be copied while another session looks into it. */
const MAKING_DATABASES_LOCK = 7_031_994

/** What a test hands over so that it can be cleaned up after. */
interface Teardown {
  teardown(handler: () => Promise<void>): void
}

let databasesMade = 0

/** Makes a migrated, empty database and drops it when the test is over; answers its URL. */
export async function freshDatabase(t: Teardown): Promise<string> {
  const serverUrl = serviceUrl('DATABASE_URL')
  const name = `test_${process.pid}_${Date.now().toString(36)}_${databasesMade++}`
  const template = await ensureTemplate(serverUrl)
  await makingDatabases(serverUrl, (client) => client.query(`create database ${name} template ${template}`))
  t.teardown(() => dropDatabase(serverUrl, name))
  return urlOf(serverUrl, name)
}

/** A database without tables, for what tests the migrations themselves. */
export async function emptyDatabase(t: Teardown): Promise<string> {
  const serverUrl = serviceUrl('DATABASE_URL')
  const name = `test_${process.pid}_${Date.now().toString(36)}_${databasesMade++}`
  await makingDatabases(serverUrl, (client) => client.query(`create database ${name} template template0`))
  t.teardown(() => dropDatabase(serverUrl, name))
  return urlOf(serverUrl, name)
}

/** Migrating takes longer than copying what was migrated: one template per set of migrations stays on the server. */
async function ensureTemplate(serverUrl: string): Promise<string> {
  const hash = createHash('sha256')
  for (const file of readdirSync(MIGRATIONS_FOLDER).sort()) hash.update(readFileSync(join(MIGRATIONS_FOLDER, file)))
  const template = `tokenmeter_template_${hash.digest('hex').slice(0, 16)}`
  await makingDatabases(serverUrl, async (client) => {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [template])
    if (rowCount !== 0) return
    // Renamed once it is whole: a run that is killed in between leaves no half template under the name.
    const draft = `${template}_draft`
    await client.query(`drop database if exists ${draft} with (force)`)
    await client.query(`create database ${draft} template template0`)
    await migrate(urlOf(serverUrl, draft), () => undefined)
    await client.query(`alter database ${draft} rename to ${template}`)
  })
  return template
}

async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  await makingDatabases(serverUrl, (client) => client.query(`drop database if exists ${name} with (force)`))
}

async function makingDatabases(serverUrl: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: serverUrl, connectionTimeoutMillis: 5_000 })
  try {
    await client.connect()
    await client.query('select pg_advisory_lock($1)', [MAKING_DATABASES_LOCK])
    await work(client)
  } finally {
    await client.end()
  }
}

function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  return url.href
}
