// What a duplicate mark costs, beside a key per event with an expiry, both measured on a server of one's own.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { identityOf, type UsageEvent } from '../domain/tokens/usage-event.ts'
import { RedisServer } from '../stack/redis.ts'
import { count, freshMeter, usageEvent } from '../test/meter-shard.ts'

const MARKS = 200_000
const BATCH = 5_000
/** So that a bucket holds some four hundred marks: more than 512 in one would cost several times as much. */
const BUCKETS = 500
const RATIO_MAX = 0.125

/** Without the buffers of connections, which a batch leaves large. */
async function usedMemory(redis: Redis): Promise<number> {
  const text = await redis.info('memory')
  const field = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1])
  return field('used_memory') - field('mem_clients_normal')
}

t.test(`a duplicate mark takes at most ${RATIO_MAX} of what a key per event takes`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'meter-memory-'))
  const server = new RedisServer({ folder, extraArguments: ['--appendonly', 'no'] })
  t.teardown(async () => {
    await server.wipe()
    rmSync(folder, { recursive: true, force: true })
  })
  await server.start()
  const redis = new Redis(server.url)
  t.teardown(async () => redis.disconnect())
  const meter = await freshMeter(t, { url: server.url, installation: { markBuckets: BUCKETS } })
  const batches: UsageEvent[][] = []
  for (let i = 0; i < MARKS; i += BATCH) {
    batches.push(
      Array.from({ length: BATCH }, () => usageEvent({ customerId: `customer-${i % 100}`, source: 'gateway' }))
    )
  }
  await count(meter, [usageEvent()])
  const empty = await usedMemory(redis)
  for (const events of batches) await count(meter, events)
  const marks = (await usedMemory(redis)) - empty
  const [sample] = await redis.keys('*:mark:*:7')
  const encoding = await redis.object('ENCODING', sample ?? '')
  await redis.flushall('SYNC')
  const flushed = await usedMemory(redis)
  for (const events of batches) {
    const pipeline = redis.pipeline()
    for (const event of events) pipeline.set(`mark:${identityOf(event)}`, '1', 'EX', 172_800, 'NX')
    await pipeline.exec()
  }
  const keys = (await usedMemory(redis)) - flushed
  const ratio = marks / keys
  t.comment(
    `${(marks / MARKS).toFixed(1)} bytes a mark (${encoding}), ${(keys / MARKS).toFixed(1)} a key: ${ratio.toFixed(3)}`
  )
  t.ok(ratio <= RATIO_MAX, `the ratio is ${ratio.toFixed(3)}`)
})
