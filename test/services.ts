// Where the real services are, for tests and the bench, and a database of one's own on the real Postgres.

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { migrate } from '../sql/migrate.ts'

const ROOT = join(import.meta.dirname, '..')
const STACK_FILE = join(ROOT, '.stack', 'stack.json')
const MIGRATIONS_FOLDER = join(ROOT, 'sql', 'migrations')

/** One advisory lock for making databases: a template can't be copied while another session looks into it. */
const MAKING_DATABASES_LOCK = 7_031_994

export interface ServiceUrls {
  /** Comma-separated host:port. */
  readonly KAFKA_BROKERS: string
  readonly REDIS_URL: string
  readonly DATABASE_URL: string
  readonly CLICKHOUSE_URL: string
}

/** What a test hands over so that it can be cleaned up after. */
interface Teardown {
  teardown(handler: () => Promise<void>): void
}

/** The four services: from the environment, else from the stack that runs. */
export function serviceUrls(): ServiceUrls {
  return {
    KAFKA_BROKERS: serviceUrl('KAFKA_BROKERS'),
    REDIS_URL: serviceUrl('REDIS_URL'),
    DATABASE_URL: serviceUrl('DATABASE_URL'),
    CLICKHOUSE_URL: serviceUrl('CLICKHOUSE_URL')
  }
}

/** One of them, for tests that need no other. */
export function serviceUrl(name: keyof ServiceUrls): string {
  const url = process.env[name] ?? stackUrls()[name]
  if (!url) throw new Error(`${name} is not set and no stack is up: run npm run stack:up`)
  return url
}

function stackUrls(): Partial<ServiceUrls> {
  if (!existsSync(STACK_FILE)) return {}
  const stack: { readonly urls?: Partial<ServiceUrls> } = JSON.parse(readFileSync(STACK_FILE, 'utf8'))
  return stack.urls ?? {}
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
