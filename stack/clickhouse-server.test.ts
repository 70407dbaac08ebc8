/** The façade against the plain client: what the product relies on ClickHouse for must hold here as on a server. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ClickHouseClient, ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import t from 'tap'
import { ClickHouseServer } from './clickhouse.ts'

const ROWS = 50_000
const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-clickhouse-'))
const server = new ClickHouseServer({ folder })
await server.start()
const clients: ClickHouseClient[] = []
const client = connect({ async_insert: 0 })

t.teardown(async () => {
  await Promise.all(clients.map((each) => each.close()))
  await server.kill()
  rmSync(folder, { recursive: true, force: true })
})

function connect(settings = {}, options = {}): ClickHouseClient {
  const made = createClient({
    url: server.url,
    clickhouse_settings: settings,
    log: { level: ClickHouseLogLevel.OFF },
    ...options
  })
  clients.push(made)
  return made
}

async function select(query: string, parameters = {}): Promise<unknown[]> {
  const result = await client.query({ query, query_params: parameters, format: 'JSONEachRow' })
  return result.json()
}

async function createUsageTable(name: string): Promise<void> {
  await client.command({
    query: `create table ${name} (customer String, tokens UInt64) engine = MergeTree order by customer
      settings non_replicated_deduplication_window = 100`
  })
}

async function insertRows(table: string, settings = {}): Promise<void> {
  await client.insert({
    table,
    columns: ['customer', 'tokens'],
    values: Array.from({ length: ROWS }, (_, index) => [`customer ${index % 7}`, 2]),
    format: 'JSONCompactEachRow',
    clickhouse_settings: settings
  })
}

t.test('a block of 50,000 rows arrives whole, and a repeat under its token changes nothing', async (t) => {
  await createUsageTable('usage')
  const settings = { insert_deduplication_token: "usage:0:0-49999 it's" }
  await insertRows('usage', settings)
  await insertRows('usage', settings)
  t.same(await select('select count() as rows, sum(tokens) as tokens from usage'), [{ rows: ROWS, tokens: 2 * ROWS }])
  await insertRows('usage', { insert_deduplication_token: 'usage:0:50000-99999' })
  t.same(await select('select count() as rows from usage'), [{ rows: 2 * ROWS }])
})

t.test('a roll-up counts a repeated block once', async (t) => {
  await createUsageTable('source')
  await client.command({
    query: `create table rollup (customer String, tokens UInt64) engine = SummingMergeTree order by customer
      settings non_replicated_deduplication_window = 100`
  })
  await client.command({
    query: `create materialized view rollup_feed to rollup as
      select customer, sum(tokens) as tokens from source group by customer`
  })
  const settings = {
    insert_deduplication_token: 'source:0:0-49999',
    deduplicate_blocks_in_dependent_materialized_views: 1 as const
  }
  await insertRows('source', settings)
  await insertRows('source', settings)
  t.same(await select('select sum(tokens) as tokens from rollup'), [{ tokens: 2 * ROWS }])
})

t.test('parameters reach the engine as they were given, whatever they contain', async (t) => {
  const given = {
    text: "it's \\ a\ttab\nand ' or 1=1 --",
    list: ["o'clock", 'back\\slash', 'line\nbreak', ''],
    map: { "k'ey": 'v\\alue' },
    nothing: null,
    number: 42
  }
  const query = `select {text:String} as text, {list:Array(String)} as list, {map:Map(String, String)} as map,
    {nothing:Nullable(String)} as nothing, {number:UInt32} as number`
  t.same(await select(query, given), [given])
})

t.test('parameters that are too long for a URL reach the engine in a form', async (t) => {
  const names = Array.from({ length: 20_000 }, (_, i) => `cust'omer \\ ${i}\n`)
  const answer = await client.query({
    query: 'select length({names:Array(String)}) as count, {names:Array(String)}[20000] as last',
    query_params: { names },
    format: 'JSONEachRow',
    use_multipart_params_auto: true
  })
  t.same(await answer.json(), [{ count: 20_000, last: names.at(-1) }])
})

t.test('an exception keeps its code and its type', async (t) => {
  const unknownTable = await select('select * from no_such_table').catch((error: unknown) => error)
  t.ok(unknownTable instanceof ClickHouseError)
  t.match(unknownTable, { code: '60', type: 'UNKNOWN_TABLE' })
  const syntax = client.command({ query: 'selec 1' })
  await t.rejects(syntax, { code: '62', type: 'SYNTAX_ERROR' })
  await t.rejects(client.command({ query: 'select 1; select 2' }), { code: '62' })
  const answer = await fetch(`${server.url}/?query=select%20*%20from%20no_such_table`)
  t.equal(answer.status, 404)
  t.equal(answer.headers.get('x-clickhouse-exception-code'), '60')
  await answer.text()
})

t.test('a database that is gone is missed at once', async (t) => {
  await client.command({ query: 'create database brief' })
  const inside = connect({}, { database: 'brief' })
  await inside.command({ query: 'create table inside (x UInt8) engine = MergeTree order by x' })
  await client.command({ query: 'drop database brief' })
  await t.rejects(inside.query({ query: 'select 1' }), { code: '81', type: 'UNKNOWN_DATABASE' })
})

t.test('a setting holds for its own request alone', async (t) => {
  const read = async (settings: object): Promise<unknown> => {
    const query = "select toString(getSetting('max_block_size')) as size"
    const result = await client.query({ query, format: 'JSONEachRow', clickhouse_settings: { ...settings } })
    const [row] = await result.json<{ size: string }>()
    return row?.size
  }
  const before = await read({})
  t.equal(await read({ max_block_size: '123' }), '123')
  await client.command({ query: 'set max_block_size = 456' })
  t.equal(await read({}), before)
})

t.test('settings of a client go with every kind of statement', async (t) => {
  const careful = connect({ max_threads: 1, log_comment: "it's" })
  const statements = [
    'create table kinds (x UInt8, y String) engine = MergeTree order by x settings index_granularity = 1024',
    "insert into kinds values (1, 'format x'), (2, 'settings y = 1')",
    'insert into kinds (x) settings max_threads = 2 select 3',
    'alter table kinds add column z UInt8 default 7',
    'alter table kinds delete where x = 3 settings mutations_sync = 1',
    'delete from kinds where x = 2',
    'optimize table kinds final',
    'rename table kinds to renamed',
    'truncate table renamed',
    'drop table renamed'
  ]
  for (const query of statements) await t.resolves(careful.command({ query }), query)
})

t.test('compressed requests are understood', async (t) => {
  const compressing = connect({}, { compression: { request: true, response: true } })
  await createUsageTable('compressed')
  await compressing.insert({
    table: 'compressed',
    values: [{ customer: 'a', tokens: 1 }],
    format: 'JSONEachRow'
  })
  t.same(await select('select customer, tokens from compressed'), [{ customer: 'a', tokens: 1 }])
})

t.test('many statements at once each get their own answer, and a ping meanwhile', async (t) => {
  const slow = select('select sleep(1)')
  const startedAt = performance.now()
  t.match(await client.ping(), { success: true })
  t.ok(performance.now() - startedAt < 900, 'the ping did not wait for the sleeping statement')
  const asked = Array.from({ length: 60 }, (_, index) => index)
  const answers = await Promise.all(asked.map((number) => select('select {number:UInt32} as number', { number })))
  t.same(
    answers,
    asked.map((number) => [{ number }])
  )
  await slow
})

t.test('a second process on the same data is turned away', async (t) => {
  const entry = join(import.meta.dirname, 'clickhouse-server.ts')
  const args = [entry, '--port', '1', '--data', join(server.dataFolder, 'engine')]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  t.not(status, 0)
  t.match(stderr, /Another server instance in same directory is already running/)
})

t.test('what was acknowledged survives a kill, on the same port', async (t) => {
  await createUsageTable('durable')
  await insertRows('durable', { insert_deduplication_token: 'durable:0:0-49999' })
  const { port } = server
  await server.kill('SIGKILL')
  t.equal(server.pid, null)
  await server.start()
  t.equal(server.port, port)
  t.same(await select('select count() as rows from durable'), [{ rows: ROWS }])
  await insertRows('durable', { insert_deduplication_token: 'durable:0:0-49999' })
  t.same(await select('select count() as rows from durable'), [{ rows: ROWS }], 'the tokens survive as well')
})

t.test('a stop is orderly', async (t) => {
  await server.stop()
  t.equal(server.pid, null)
  await server.start()
  t.same(await select('select count() as rows from durable'), [{ rows: ROWS }])
})
