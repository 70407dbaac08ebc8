import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { emptyClickHouse } from '../test/clickhouse-database.ts'
import { migrate, readMigrations } from './migrate.ts'

const FOLDER = join(import.meta.dirname, 'migrations')

t.test('eight runs at once on a server without the database leave one whole schema', async (t) => {
  const { url, database, client } = emptyClickHouse(t)
  const migrations = await readMigrations(FOLDER)
  await Promise.all(Array.from({ length: 8 }, () => migrate(url, database)))

  const tables = await client.query({ query: 'show tables', format: 'JSONEachRow' })
  const names = (await tables.json<{ name: string }>()).map(({ name }) => name)
  t.same(names.sort(), ['migration', 'usage_event', 'usage_quarter_hour', 'usage_quarter_hour_feed'])
  const notes = await client.query({
    query: 'select distinct name from migration order by name',
    format: 'JSONEachRow'
  })
  t.same(
    (await notes.json<{ name: string }>()).map(({ name }) => name),
    migrations.map(({ name }) => name)
  )
})

t.test('a second run applies nothing', async (t) => {
  const { url, database } = emptyClickHouse(t)
  t.not((await migrate(url, database)).length, 0)
  t.same(await migrate(url, database), [])
})

t.test('a migration edited after it was applied stops the run', async (t) => {
  const { url, database, client } = emptyClickHouse(t)
  await migrate(url, database)
  await client.command({ query: "insert into migration (name, checksum) values ('0001_usage_event.sql', 'other')" })
  await client.command({ query: 'optimize table migration final' })
  await t.rejects(migrate(url, database), { message: /0001_usage_event\.sql was edited/ })
})

t.test('a folder with an edited file, or a statement that cannot run twice, is refused', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'migrations-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await cp(FOLDER, folder, { recursive: true })
  await t.resolves(readMigrations(folder))

  const file = join(folder, '0001_usage_event.sql')
  const text = await readFile(file, 'utf8')
  await writeFile(file, `${text}\n`)
  await t.rejects(readMigrations(folder), { message: /not the one that checksums\.json seals/ })

  await writeFile(file, text)
  const once = 'create table once (a Int8) engine = MergeTree order by a;\n'
  await writeFile(join(folder, '0009_once.sql'), once)
  await t.rejects(readMigrations(folder), { message: /0009_once\.sql is not the one that checksums\.json seals/ })

  const sealed: Record<string, string> = JSON.parse(await readFile(join(folder, 'checksums.json'), 'utf8'))
  sealed['0009_once.sql'] = createHash('sha256').update(once).digest('hex')
  await writeFile(join(folder, 'checksums.json'), JSON.stringify(sealed))
  await t.rejects(readMigrations(folder), { message: /0009_once\.sql has a statement that can't run twice/ })
})
