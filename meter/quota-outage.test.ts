// The meter with many callers at once, and without its Redis: a server of one's own, so that it may be stopped.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { RedisServer } from '../stack/redis.ts'
import { count, freshMeter, limitsOf, type MeterForTest, setSeeded, usageEvent } from '../test/meter-shard.ts'
import { connectRedis } from './connect.ts'
import { RedisQuotaMeter } from './quota-meter.ts'
import { Shards } from './shards.ts'

const CUSTOMER = 'customer-1'
const ASK = { customerId: CUSTOMER, userId: 'ada', model: 'model-1', tokens: null }

/** The meter of another API process: connections and memory of its own, the same keys. */
function anotherQuotaMeter(t: Parameters<typeof freshMeter>[0], meter: MeterForTest, url: string): RedisQuotaMeter {
  const redis = connectRedis({ url, commandTimeoutMs: 5_000, autoPipelining: true })
  t.teardown(async () => redis.disconnect())
  return new RedisQuotaMeter(new Shards(redis, meter.shards.installation), { staleAfterMs: 60_000 })
}

async function ownRedis(t: Parameters<typeof freshMeter>[0]): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'meter-redis-'))
  const server = new RedisServer({ folder })
  t.teardown(async () => {
    await server.wipe()
    rmSync(folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

t.test('a thousand holds at once from two meters never pass a limit, and use it up', async (t) => {
  const server = await ownRedis(t)
  const meter = await freshMeter(t, { url: server.url })
  const [max, size] = [100_000, 330]
  await setSeeded(
    meter,
    limitsOf([
      { id: 'total', max },
      { id: 'each', max, scope: { kind: 'each-user' } }
    ])
  )
  const meters = [meter.quota, anotherQuotaMeter(t, meter, server.url)]
  const outcomes = await Promise.all(
    Array.from({ length: 1_000 }, (_, i) =>
      meters[i % 2]?.hold({ ...ASK, tokens: { ...NO_TOKENS, input: size }, holdId: `hold-${i}`, ttlMs: 60_000 })
    )
  )
  const admitted = outcomes.filter((reply) => reply?.outcome === 'held').length * size
  t.equal(outcomes.filter((reply) => reply?.outcome === 'refused').length, 1_000 - admitted / size)
  t.ok(admitted <= max, `${admitted} tokens were admitted, the limit is ${max}`)
  t.ok(admitted >= 0.99 * max, `${admitted} tokens were admitted, 99 % of the limit is ${0.99 * max}`)
  t.match(await meter.quota.check(ASK), { limits: [{ used: 0, held: admitted }, { held: admitted }] })
  const events = outcomes.flatMap((reply, i) =>
    reply?.outcome === 'held' ? [usageEvent({ userId: 'ada', tokens: { input: size }, holdId: `hold-${i}` })] : []
  )
  await count(meter, events)
  t.match(await meter.quota.check(ASK), {
    limits: [
      { used: admitted, held: 0 },
      { used: admitted, held: 0 }
    ]
  })
})

t.test('nothing stays held once a thousand holds have expired', async (t) => {
  const server = await ownRedis(t)
  let nowMs = Date.now()
  const meter = await freshMeter(t, { url: server.url, now: () => nowMs })
  await setSeeded(
    meter,
    limitsOf([
      { id: 'total', max: 1_000_000 },
      { id: 'each', scope: { kind: 'each-user' } }
    ])
  )
  await Promise.all(
    Array.from({ length: 1_000 }, (_, i) =>
      meter.quota.hold({
        ...ASK,
        userId: `user-${i}`,
        tokens: { ...NO_TOKENS, output: 7 },
        holdId: `hold-${i}`,
        ttlMs: 1_000 + i
      })
    )
  )
  t.match(await meter.quota.check(ASK), { limits: [{ held: 7_000 }, { held: 0 }] })
  nowMs += 1_500
  t.match(await meter.quota.check(ASK), { limits: [{ held: 499 * 7 }, {}] })
  nowMs += 1_500
  t.match(await meter.quota.check({ ...ASK, userId: 'user-7' }), { limits: [{ held: 0 }, { held: 0 }] })
  nowMs += 3_600_000
  await meter.quota.check(ASK)
  const keys = meter.shards.keys(0, '1')
  t.same(
    await meter.shards.redis.exists(keys.holds(CUSTOMER), keys.expiry(CUSTOMER)),
    0,
    'and in the end nothing is remembered'
  )
})

t.test('while Redis is away every answer is unavailable, at once; when it is back, unrepaired', async (t) => {
  const server = await ownRedis(t)
  const meter = await freshMeter(t, { url: server.url })
  const pooled = anotherQuotaMeter(t, meter, server.url)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  t.match(await pooled.check(ASK), { known: true })
  await server.kill()
  const hold = { ...ASK, tokens: NO_TOKENS, holdId: 'hold-1', ttlMs: 1_000 }
  for (const quota of [meter.quota, pooled]) {
    t.same(await quota.check(ASK), { known: false, why: 'unavailable', limits: [] })
    t.same(await quota.hold(hold), { outcome: 'unknown', why: 'unavailable' })
    await t.rejects(quota.setLimits(limitsOf([{ id: 'total' }])), { name: 'RetryableError', code: 'meter-unavailable' })
  }
  await t.rejects(meter.consumer.open({ shard: 0, partition: 0, generation: 1 }), { name: 'RetryableError' })
  await server.start()
  for (const quota of [meter.quota, pooled]) {
    const unavailable = { known: false, why: 'unavailable', limits: [] }
    const back = await waitUntil(
      async () => {
        const found = await quota.check(ASK)
        return JSON.stringify(found) !== JSON.stringify(unavailable) && found
      },
      { what: 'Redis to be back', timeoutMs: 10_000 }
    )
    t.same(back, { known: false, why: 'unrepaired', limits: [] })
  }
})

t.test('a server that forgot the scripts is given them again, whether commands are pooled or not', async (t) => {
  const server = await ownRedis(t)
  const meter = await freshMeter(t, { url: server.url })
  const pooled = anotherQuotaMeter(t, meter, server.url)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  for (const quota of [meter.quota, pooled]) {
    t.match(await quota.check(ASK), { known: true })
    await meter.shards.redis.script('FLUSH')
    const answers = await Promise.all(Array.from({ length: 5 }, () => quota.check(ASK)))
    t.match(
      answers,
      Array.from({ length: 5 }, () => ({ known: true }))
    )
  }
})
