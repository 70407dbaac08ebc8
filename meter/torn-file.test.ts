// Redis's append-only file may end in the middle of a script's transaction. Redis 7.0 then loads the rest, but leaves the beginning of
// that transaction in the file, and runs it at the next load. The meter must not take it for its own.

import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { RedisServer } from '../stack/redis.ts'
import { freshMeter, metered, usageEvent } from '../test/meter-shard.ts'

/** Within the last command of the last transaction, EXEC and what stands before it. */
const TORN_BYTES = 40

function tear(redis: RedisServer): void {
  const folder = join(redis.dataFolder, 'appendonlydir')
  const file = join(folder, readdirSync(folder).find((name) => name.endsWith('.incr.aof')) ?? '')
  truncateSync(file, statSync(file).size - TORN_BYTES)
}

t.test(
  'what a torn file held back and runs at a later load makes the shard half-written, never counts twice',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-torn-'))
    const redis = new RedisServer({ folder })
    await redis.start()
    t.teardown(async () => {
      await redis.kill()
      rmSync(folder, { recursive: true, force: true })
    })
    const { consumer, repair, quota, shards } = await freshMeter(t, { url: redis.url, partitions: 1 })
    const events = metered(0, [usageEvent(), usageEvent()])
    const batch = { shard: 0, partition: 0, generation: 1, expectedCursor: 0, end: 2, countedUpTo: Date.now(), events }
    t.match(await consumer.apply(batch), { refused: false })
    const crash = async (act: () => void = () => undefined): Promise<void> => {
      await redis.kill()
      act()
      await redis.start()
      while (shards.redis.status !== 'ready') await new Promise((resolve) => shards.redis.once('ready', resolve))
    }

    await crash(() => tear(redis))
    t.match(await repair.begin(0, 2, 1), { cursors: [0] }, 'the batch is gone: the shard is rolled forward')
    t.ok(await repair.rollForward(0, 2, { partition: 0, from: 0, to: 2, events }))
    t.ok(await repair.finish(0, 2, null))
    t.match(await consumer.open({ shard: 0, partition: 0, generation: 2 }), { refused: false, cursor: 2 })

    await crash()
    t.match(await quota.check({ customerId: 'customer-1', userId: '', model: 'model-1', tokens: null }), {
      known: false
    })
    t.match(await repair.begin(0, 3, 1), { cursors: null }, 'the beginning of the batch came back: built from empty')
  }
)
