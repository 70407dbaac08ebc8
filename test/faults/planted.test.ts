// The fault tests can fail: each planted defect, switched on here alone, is found by the oracle.

import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { RedisServer } from '../../stack/redis.ts'
import { FaultSystem, until } from './fault-system.ts'

const PRELOAD = join(import.meta.dirname, 'plant-preload.ts')

interface Schedule {
  readonly defect: string
  /** What happens to the system, under load, that the defect can't stand. */
  readonly act: (system: FaultSystem, redis: RedisServer) => Promise<void>
}

/** The meter dies when it has counted a batch and not yet written it to the ledger; what comes meanwhile makes the replay span it. */
async function dieBeforeFlush(system: FaultSystem): Promise<void> {
  const before = system.kills()
  system.killAtPoint('meter-1', 'after:meter.apply:2')
  await until('the meter to die twice', () => system.kills() >= before + 2)
}

/** Redis comes back as it was before the last records were counted and flushed. */
async function rollRedisBack(system: FaultSystem, redis: RedisServer): Promise<void> {
  await system.verdict()
  const kept = `${redis.dataFolder}-kept`
  await redis.stop()
  cpSync(redis.dataFolder, kept, { recursive: true })
  await redis.start()
  await system.load.send(400)
  await system.verdict()
  await redis.kill()
  rmSync(redis.dataFolder, { recursive: true })
  cpSync(kept, redis.dataFolder, { recursive: true })
  await redis.start()
}

async function emptyRedis(system: FaultSystem, redis: RedisServer): Promise<void> {
  await system.verdict()
  await redis.kill()
  rmSync(redis.dataFolder, { recursive: true })
  await redis.start()
}

const SCHEDULES: readonly Schedule[] = [
  { defect: 'judge-again', act: dieBeforeFlush },
  { defect: 'no-record', act: dieBeforeFlush },
  { defect: 'no-trim', act: dieBeforeFlush },
  { defect: 'no-roll-forward', act: rollRedisBack },
  { defect: 'flip-early', act: emptyRedis },
  { defect: 'no-dead-letters', act: async () => undefined },
  {
    defect: 'no-block-token',
    act: async (system) => {
      const before = system.kills()
      system.killAtPoint('analytics', 'after:usage-log.append:2')
      await until('analytics to die twice', () => system.kills() >= before + 2)
    }
  }
]

for (const { defect, act } of SCHEDULES) {
  t.test(`the planted defect ${defect} is found`, async (t) => {
    const system = await startPlanted(t, defect)
    await system.run(act)
    const found = await system.found()
    t.not(found.length, 0, 'the oracle finds it')
    t.comment(`${defect}: ${found[0] instanceof Error ? found[0].message : JSON.stringify(found[0])}`)
  })
}

async function startPlanted(t: Test, defect: string) {
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-planted-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const redis = new RedisServer({ folder })
  await redis.start()
  t.teardown(() => redis.kill())
  const system = await FaultSystem.start(t, {
    meters: 1,
    services: { REDIS_URL: redis.url },
    environment: { PLANT: defect, NODE_OPTIONS: `--import=${PRELOAD}` }
  })
  return {
    run: async (act: Schedule['act']): Promise<void> => {
      system.load.start()
      await until('some load', () => system.load.acknowledged > 400)
      await act(system, redis)
      const sent = system.load.acknowledged
      system.load.start()
      await until('some more load', () => system.load.acknowledged > sent + 200)
    },
    /** A defect that stops the pipeline for good is found as well: nothing drains any more. */
    found: async (): Promise<readonly unknown[]> => {
      try {
        return await system.verdict()
      } catch (error) {
        return [error]
      }
    }
  }
}
