import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { emptyDatabase, freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { migrate } from './migrate.ts'

const MIGRATIONS = readdirSync(join(import.meta.dirname, 'migrations')).filter((file) => file.endsWith('.sql'))

t.test('processes that migrate at the same time apply each migration once', async (t) => {
  const url = await emptyDatabase(t)
  const told: string[] = []
  await Promise.all(Array.from({ length: 6 }, () => migrate(url, (line) => told.push(line))))
  t.strictSame(told.sort(), MIGRATIONS.map((file) => `migration ${file.replace('.sql', '')} applied`).sort())
  await migrate(url, (line) => told.push(line))
  t.equal(told.length, MIGRATIONS.length, 'a run that finds nothing to do is quiet')
})

t.test('every table says what it is the truth about', async (t) => {
  const url = await emptyDatabase(t)
  await migrate(url, () => undefined)
  const database = new Database({ databaseUrl: url, applicationName: 'test' })
  t.teardown(() => database.close())
  const bare = await database.query('find tables without a comment', {
    text: `select relname from pg_class
            where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'schema_migration'
              and obj_description(oid) is null`
  })
  t.strictSame(bare, [])
})

t.test('every table with rows of customers hides them, from its owner too', async (t) => {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'test' })
  t.teardown(() => database.close())
  const rows = await database.query<{ name: string; hidden: boolean }>('read the tables', {
    text: `select relname as name, relrowsecurity and relforcerowsecurity as hidden
             from pg_class join pg_attribute on attrelid = pg_class.oid
            where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and attname = 'customer_id'`
  })
  t.ok(rows.length > 5)
  t.same(
    rows.filter(({ hidden }) => !hidden).map(({ name }) => name),
    []
  )
})

t.test('a server that is away is told as such, and migrating again is worth a try', async (t) => {
  await t.rejects(
    migrate('postgres://nobody@127.0.0.1:1/none', () => undefined),
    new RetryableError('postgres-unavailable', 'could not migrate the database: connect ECONNREFUSED 127.0.0.1:1')
  )
})
