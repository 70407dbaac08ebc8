// Stores that go away, lose their tail or come back empty: the counters equal the ledger afterwards, and no answer comes from a false zero.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { Shards } from '../../meter/shards.ts'
import { ClickHouseServer } from '../../stack/clickhouse.ts'
import { PostgresServer } from '../../stack/postgres.ts'
import { RedisServer } from '../../stack/redis.ts'
import { FaultSystem, until } from './fault-system.ts'
import { CUSTOMERS } from './load.ts'

/** A folder that user postgres may enter, gone when the test ends. */
function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-faults-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function startRedis(t: Test): Promise<RedisServer> {
  const redis = new RedisServer({ folder: folderFor(t) })
  await redis.start()
  t.teardown(() => redis.kill())
  return redis
}

/** What the meter has counted of all customers; null while it can't know. */
async function meteredTokens(system: FaultSystem): Promise<number | null> {
  const { REDIS_URL: url = '', METER_KEY_PREFIX: keyPrefix = '' } = system.environment
  const redis = connectRedis({ url, commandTimeoutMs: 2_000, autoPipelining: false })
  const shards = new Shards(redis, { keyPrefix, shards: 1, markBuckets: 1, markGenerationMs: 1, leadMs: 0 })
  const report = new RedisMeterReport(shards)
  try {
    let sum = 0
    for (let i = 0; i < CUSTOMERS; i++) {
      const customer = await report.customer(`customer-${i}`)
      if (customer === null) return null
      sum += customer.total
    }
    return sum
  } finally {
    redis.disconnect()
  }
}

async function moreRecords(system: FaultSystem, records: number): Promise<void> {
  const sent = system.load.acknowledged
  await until(`${records} more records`, () => system.load.acknowledged >= sent + records)
}

function newestTail(redis: RedisServer): string {
  const folder = join(redis.dataFolder, 'appendonlydir')
  const tails = readdirSync(folder).filter((name) => name.endsWith('.incr.aof'))
  const newest = tails.map((name) => join(folder, name)).sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
  return newest.at(-1) ?? ''
}

t.test('Redis killed, its tail cut, rolled back, emptied, and killed in the middle of a repair', async (t) => {
  const redis = await startRedis(t)
  const system = await FaultSystem.start(t, { services: { REDIS_URL: redis.url } })
  system.load.start()
  const faults: readonly (readonly [name: string, act: () => void | Promise<void>])[] = [
    ['killed', () => undefined],
    ['its tail cut', () => truncateSync(newestTail(redis), Math.max(0, statSync(newestTail(redis)).size - 100_000))],
    ['emptied', () => rmSync(join(redis.dataFolder, 'appendonlydir'), { recursive: true })]
  ]
  for (const [name, act] of faults) {
    await moreRecords(system, 800)
    const repairs = system.saw(/usable again/)
    await redis.kill()
    await act()
    await redis.start()
    await until(`a repair after Redis was ${name}`, () => system.saw(/usable again/) > repairs)
    await moreRecords(system, 400)
    t.same(await system.verdict(), [], `after Redis was ${name}`, { lines: system.lastLines() })
    system.load.start()
  }

  const kept = join(folderFor(t), 'kept')
  cpSync(redis.dataFolder, kept, { recursive: true })
  await moreRecords(system, 1_200)
  await redis.kill()
  rmSync(redis.dataFolder, { recursive: true })
  cpSync(kept, redis.dataFolder, { recursive: true })
  await redis.start()
  t.same(await system.verdict(), [], 'after Redis came back as it was some seconds before', {
    lines: system.lastLines()
  })

  system.load.start()
  await redis.kill()
  rmSync(join(redis.dataFolder, 'appendonlydir'), { recursive: true })
  for (const name of system.meters) system.killAtPoint(name, 'after:repair.build:1')
  await redis.start()
  await until('a repairer to die in the middle', () => system.kills() >= 3)
  await redis.kill()
  await redis.start()
  await moreRecords(system, 400)
  t.same(await system.verdict(), [], 'after Redis died in the middle of a repair', { lines: system.lastLines() })
  const forward = system.saw(/"mode":"roll-forward"/)
  const built = system.saw(/"mode":"build"/)
  t.comment(`repairs: ${forward} rolled forward, ${built} built from empty`)
  t.ok(forward > 0 && built > 1, 'both ways of repair were taken')
})

t.test('while Postgres is away quotas go on, and the ledger catches up; memory stays bounded', async (t) => {
  const postgres = new PostgresServer({ folder: folderFor(t) })
  await postgres.start()
  t.teardown(() => postgres.wipe())
  const system = await FaultSystem.start(t, { services: { DATABASE_URL: postgres.url }, meters: 1 })
  system.load.start()
  await moreRecords(system, 600)
  await postgres.kill()
  const before = (await meteredTokens(system)) ?? 0
  await moreRecords(system, 1_500)
  await until('the meter to count on without its ledger', async () => ((await meteredTokens(system)) ?? 0) > before)
  await postgres.start()
  t.same(await system.verdict(), [], 'after Postgres was back', { lines: system.lastLines() })
  const status = readFileSync(`/proc/${system.supervisor.pidOf('meter-1')}/status`, 'utf8')
  const peakMiB = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1_024
  t.ok(peakMiB < 600, `the consumer held ${Math.round(peakMiB)} MiB at most`)
})

t.test('while ClickHouse is away quotas and ledger go on, and each event is there once afterwards', async (t) => {
  const clickhouse = new ClickHouseServer({ folder: folderFor(t) })
  await clickhouse.start()
  t.teardown(() => clickhouse.kill())
  const system = await FaultSystem.start(t, { services: { CLICKHOUSE_URL: clickhouse.url }, meters: 1 })
  system.load.start()
  await moreRecords(system, 600)
  await clickhouse.kill()
  const before = await ledgerCursor(system)
  await moreRecords(system, 1_500)
  await until('the ledger to go on', async () => (await ledgerCursor(system)) > before + 500)
  await clickhouse.start()
  t.same(await system.verdict(), [], 'after ClickHouse was back', { lines: system.lastLines() })
})

async function ledgerCursor(system: FaultSystem): Promise<number> {
  const [row] = await system.database.query<{ sum: string }>('read the cursors', {
    text: 'select coalesce(sum(ledger_cursor), 0) as sum from usage_partition'
  })
  return Number(row?.sum ?? 0)
}
