// The meter on a Redis Cluster of three nodes: every key of a shard on one node, every script declaring what it touches.

import { Redis } from 'ioredis'
import t from 'tap'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import {
  count,
  freshMeter,
  limitsOf,
  type MeterForTest,
  metered,
  positionOf,
  setSeeded,
  usageEvent
} from '../test/meter-shard.ts'
import { agreed, type RedisClusterForTest, startRedisCluster } from '../test/redis-cluster.ts'
import { RedisMeterReport } from './meter-report.ts'
import { loadScripts } from './scripts.ts'

const SHARDS = 6
const PARTITIONS = 6
const TTL_MS = 60_000

/** One customer of each shard, by shard. */
function customersOf(meter: MeterForTest): string[] {
  const customers: string[] = []
  for (let i = 0; customers.filter(Boolean).length < SHARDS; i++) {
    const shard = meter.shards.of(`customer-${i}`)
    customers[shard] ??= `customer-${i}`
  }
  return customers
}

const limitsFor = (customerId: string, version = 1) =>
  limitsOf([{ id: 'total' }, { id: 'each', scope: { kind: 'each-user' } }, { id: 'hour', rollingHours: 1 }], {
    customerId,
    version
  })

function check(meter: MeterForTest, customerId: string) {
  return meter.quota.check({ customerId, userId: 'ada', model: 'model-1', tokens: null })
}

/** Everything that consumer, API and repairer ask of a shard, once. */
async function useShard(meter: MeterForTest, customerId: string, generation: number): Promise<void> {
  const at = { shard: meter.shards.of(customerId), partition: 1, generation }
  const hold = { customerId, userId: 'ada', model: 'model-1', tokens: { ...NO_TOKENS, input: 5 }, ttlMs: TTL_MS }
  await setSeeded(meter, limitsFor(customerId, generation))
  await meter.quota.hold({ ...hold, holdId: `counted-${generation}` })
  await meter.quota.hold({ ...hold, holdId: `released-${generation}` })
  await meter.quota.extend({ customerId, holdId: `counted-${generation}`, tokens: null, ttlMs: TTL_MS })
  const repeated = usageEvent({ customerId, userId: 'ada', holdId: `counted-${generation}` })
  await count(meter, [repeated, repeated, usageEvent({ customerId })], { at })
  await meter.quota.end({ customerId, holdId: `released-${generation}`, how: 'settle', tokens: NO_TOKENS })
  await meter.quota.end({ customerId, holdId: `released-${generation}`, how: 'release', tokens: null })
  await meter.quota.recount(customerId)
  const { cursor, cuts } = await positionOf(meter, at)
  for (const cut of cuts) await meter.consumer.cutAgain(at, cut)
  await meter.consumer.tick({ ...at, cursor, flushed: cursor, countedUpTo: Date.now() })
  await setSeeded(meter, limitsFor(customerId, generation))
  await meter.quota.balance(customerId, '', '')
  await new RedisMeterReport(meter.shards).customer(customerId)
}

async function rollForward(meter: MeterForTest, customerId: string, generation: number): Promise<void> {
  const shard = meter.shards.of(customerId)
  const begun = await meter.repair.begin(shard, generation, PARTITIONS)
  if (begun.refused || begun.cursors === null) throw new Error(`shard ${shard} is not to be rolled forward`)
  const from = begun.cursors[0] ?? 0
  const events = metered(from, [usageEvent({ customerId })])
  if (!(await meter.repair.rollForward(shard, generation, { partition: 0, from, to: from + 1, events })))
    throw new Error('the repairer was overtaken')
  if (!(await meter.repair.finish(shard, generation, null))) throw new Error('the repairer was overtaken')
}

/** Waits for an answer other than that the meter can't be reached. */
async function reachable(meter: MeterForTest, customerId: string) {
  return waitUntil(
    async () => {
      const found = await check(meter, customerId)
      return (found.known || found.why !== 'unavailable') && found
    },
    { what: `the shard of ${customerId} to be reachable`, timeoutMs: 20_000 }
  )
}

t.test('a meter on a cluster', async (t) => {
  const cluster = await startRedisCluster(t)
  const meter = await freshMeter(t, { url: cluster.url, partitions: PARTITIONS, installation: { shards: SHARDS } })
  const customers = customersOf(meter)

  await t.test('counts, checks, holds, sets limits and is repaired on every node', async (t) => {
    for (const customerId of customers) {
      await useShard(meter, customerId, 1)
      t.match(await check(meter, customerId), {
        known: true,
        total: 0,
        limits: [{ held: 0 }, { held: 0 }, { held: 0 }]
      })
      await rollForward(meter, customerId, 2)
      await count(meter, [usageEvent({ customerId, userId: 'ada' })], {
        at: { shard: meter.shards.of(customerId), partition: 0, generation: 2 }
      })
      t.match(await check(meter, customerId), {
        known: true,
        total: 20,
        limits: [{ used: 20 }, { used: 10 }, { used: 20 }]
      })
    }
    const sizes = await Promise.all(cluster.nodes.map((_, i) => cluster.onNode(i, 'DBSIZE')))
    t.ok(
      sizes.every((size) => Number(size) > 0),
      `every node has keys: ${sizes.join(', ')}`
    )
  })

  await t.test('a shard whose slot moved to another node is refused until it is repaired', async (t) => {
    const [customerId = ''] = customers
    await moveSlot(cluster, meter.shards.keys(0, '').state)
    t.same(await reachable(meter, customerId), { known: false, why: 'unrepaired', limits: [] })
    await rollForward(meter, customerId, 3)
    t.match(await check(meter, customerId), { known: true, total: 30 })
  })

  await t.test(
    'the shards of a node that restarted are refused until they are repaired, the others are not',
    async (t) => {
      const before = await Promise.all(customers.map((customerId) => check(meter, customerId)))
      t.ok(before.every(({ known }) => known))
      await cluster.nodes[1]?.kill()
      await cluster.nodes[1]?.start()
      await agreed(cluster)
      const found = await Promise.all(customers.map((customerId) => reachable(meter, customerId)))
      const refused = customers.filter((_, i) => found[i]?.known === false)
      t.ok(refused.length > 0 && refused.length < SHARDS, `${refused.length} of ${SHARDS} shards were on that node`)
      for (const customerId of refused) await rollForward(meter, customerId, 4)
      for (const customerId of customers) t.match(await check(meter, customerId), { known: true })
    }
  )

  await t.test(
    'while the whole cluster is away every answer is unavailable, and none is waited for long',
    async (t) => {
      await Promise.all(cluster.nodes.map((node) => node.kill()))
      const begun = performance.now()
      for (const customerId of customers) {
        t.match(await check(meter, customerId), { known: false, why: 'unavailable' })
      }
      t.ok(performance.now() - begun < 30_000, `${Math.round(performance.now() - begun)} ms for ${SHARDS} checks`)
    }
  )
})

/** Moves a key's slot, keys and all, from the node that has it to another, as an operator does. */
async function moveSlot(cluster: RedisClusterForTest, key: string): Promise<void> {
  const slot = Number(await cluster.onNode(0, 'CLUSTER', 'KEYSLOT', key))
  const ids = await Promise.all(cluster.nodes.map(async (_, i) => String(await cluster.onNode(i, 'CLUSTER', 'MYID'))))
  const from = Math.floor((slot * cluster.nodes.length) / 16_384)
  const to = (from + 1) % cluster.nodes.length
  await cluster.onNode(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from] ?? '')
  await cluster.onNode(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to] ?? '')
  const found = await cluster.onNode(from, 'CLUSTER', 'GETKEYSINSLOT', slot, 10_000)
  const keys = Array.isArray(found) ? found.map(String) : []
  await cluster.onNode(from, 'MIGRATE', '127.0.0.1', cluster.nodes[to]?.port ?? 0, '', 0, 5_000, 'KEYS', ...keys)
  for (const i of [to, from, 3 - to - from]) await cluster.onNode(i, 'CLUSTER', 'SETSLOT', slot, 'NODE', ids[to] ?? '')
}

t.test('every script declares every key that it touches', async (t) => {
  const cluster = await startRedisCluster(t)
  const meter = await freshMeter(t, { url: cluster.url, partitions: PARTITIONS, installation: { shards: SHARDS } })
  const connections = cluster.nodes.map(({ url }) => new Redis(url))
  const monitors = await Promise.all(connections.map((redis) => redis.monitor()))
  const scripts = new Set<string>()
  const undeclared: string[] = []
  let touched = 0
  for (const monitor of monitors) {
    let declared = new Set<string>()
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      const [command = '', script = '', keys = '0'] = args
      if (/^eval/i.test(command)) {
        if (/^[0-9a-f]{40}$/.test(script)) scripts.add(script)
        declared = new Set(args.slice(3, 3 + Number(keys)))
      } else if (source === 'lua' && !/^(info|time)$/i.test(command)) {
        touched++
        if (!declared.has(args[1] ?? '')) undeclared.push(`${command} ${args[1]}`)
      }
    })
  }
  for (const customerId of customersOf(meter)) {
    await useShard(meter, customerId, 1)
    await rollForward(meter, customerId, 2)
    await useShard(meter, customerId, 2)
    const shard = meter.shards.of(customerId)
    await meter.shards.redis.hset(meter.shards.keys(shard, '').state, 'dirty', '1')
    await meter.repair.begin(shard, 3, PARTITIONS)
    await meter.repair.outdated(shard, 3, [{ customerId, version: 9 }])
    await meter.repair.setLimits(shard, 3, limitsFor(customerId, 9))
    const built = { customerId, total: 1n, limits: limitsFor(customerId), amounts: [] }
    await meter.repair.build(shard, 3, { customers: [built], marks: metered(0, [usageEvent({ customerId })]) })
    await meter.repair.finish(shard, 3, new Array(PARTITIONS).fill(0))
  }
  await Promise.all(cluster.nodes.map((_, i) => cluster.onNode(i, 'ECHO', 'the end')))
  t.same(undeclared, [])
  t.ok(touched > 1_000, `${touched} commands of scripts were looked at`)
  t.equal(scripts.size, Object.keys(loadScripts()).length, 'every script was run')
  for (const redis of [...monitors, ...connections]) redis.disconnect()
})
