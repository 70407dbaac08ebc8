/** The promises that fault tests build on: a killed server comes back where it was, with what it had. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { Client } from 'pg'
import t from 'tap'
import { PostgresServer } from './postgres.ts'
import { RedisServer } from './redis.ts'
import { describeServers, readStackRecord, startServices, stopServices } from './services.ts'

/** Closed to other users, so PostgreSQL's data must find itself another place when root runs this. */
const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-services-'))
const redis = new RedisServer({ folder })
const postgres = new PostgresServer({ folder })

t.teardown(async () => {
  await Promise.all([redis.wipe(), postgres.wipe()])
  rmSync(folder, { recursive: true, force: true })
})

async function withRedis<Answer>(work: (client: Redis) => Promise<Answer>): Promise<Answer> {
  const client = new Redis(redis.url)
  try {
    return await work(client)
  } finally {
    client.disconnect()
  }
}

async function queryPostgres(sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  try {
    const { rows } = await client.query(sql)
    return rows
  } finally {
    await client.end()
  }
}

t.test('a killed Redis comes back on its port with its keys', async (t) => {
  await redis.start()
  const { port } = redis
  await withRedis((client) => client.set('counter', '7'))
  await redis.kill()
  t.equal(redis.pid, null)
  await redis.start()
  t.equal(redis.port, port)
  t.equal(await withRedis((client) => client.get('counter')), '7')
  t.match(await withRedis((client) => client.info('memory')), /maxmemory_policy:noeviction/)
})

t.test('a running server is found by whoever looks into its folder, and not started twice', async (t) => {
  const found = new RedisServer({ folder })
  t.equal(found.pid, redis.pid)
  await found.start()
  t.equal(found.pid, redis.pid)
  t.equal(found.startedHere, false)
  await found.stop()
  t.equal(redis.pid, null, 'and may be stopped by them')
})

t.test('extra arguments reach Redis', async (t) => {
  const clustered = new RedisServer({ folder, name: 'node-1', extraArguments: ['--cluster-enabled', 'yes'] })
  t.teardown(() => clustered.wipe())
  await clustered.start()
  const client = new Redis(clustered.url)
  t.match(await client.cluster('INFO'), /cluster_state:/)
  client.disconnect()
})

t.test('a killed PostgreSQL comes back on its port with what was committed', async (t) => {
  await postgres.start()
  const { port } = postgres
  await queryPostgres('create table ledger (tokens bigint not null)')
  await queryPostgres('insert into ledger values (41), (1)')
  await postgres.kill()
  t.equal(postgres.pid, null)
  await postgres.start()
  t.equal(postgres.port, port)
  t.same(await queryPostgres('select sum(tokens)::int as tokens from ledger'), [{ tokens: 42 }])
})

t.test('PostgreSQL lets nobody in without the password', async (t) => {
  const url = new URL(postgres.url)
  url.password = 'wrong'
  const client = new Client({ connectionString: url.href })
  await t.rejects(client.connect(), { code: '28P01' })
})

t.test('a stop is orderly although clients are connected', async (t) => {
  const client = new Client({ connectionString: postgres.url })
  client.on('error', (error) => t.comment(`the server ended the session: ${error.message}`))
  await client.connect()
  await postgres.stop()
  t.equal(postgres.pid, null)
  await postgres.start()
  t.same(await queryPostgres('select count(*)::int as rows from ledger'), [{ rows: 2 }])
})

t.test('a server that cannot start says why and leaves no process', async (t) => {
  const broken = new RedisServer({ folder, name: 'broken', extraArguments: ['--no-such-option', 'x'] })
  await t.rejects(broken.start(), /no-such-option/)
  t.equal(broken.pid, null)
})

t.test('services that run already are used, and left running by those who only found them', async (t) => {
  for (const name of ['KAFKA_BROKERS', 'REDIS_URL', 'DATABASE_URL', 'CLICKHOUSE_URL']) delete process.env[name]
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-stack-'))
  t.teardown(async () => {
    await stopServices({ folder, wipe: true })
    rmSync(folder, { recursive: true, force: true })
  })
  const first = await startServices({ folder, mayUseDocker: false })
  const record = readStackRecord(folder)
  t.equal(first.startedHere, true)
  t.same(record?.urls, first.urls)

  const second = await startServices({ folder, mayUseDocker: false })
  t.equal(second.startedHere, false)
  t.same(second.urls, first.urls)
  await second.stop()
  t.same(readStackRecord(folder), record, 'the record stands')
  t.same(await findDown(folder), [], 'and everything answers')

  await first.stop()
  t.equal(readStackRecord(folder), null)
  t.same((await findDown(folder)).sort(), ['clickhouse', 'kafka', 'postgres', 'redis'])
})

async function findDown(folder: string): Promise<string[]> {
  const down: string[] = []
  for (const server of Object.values(describeServers(folder))) {
    if (!(await server.answers(5_000))) down.push(server.name)
  }
  return down
}
