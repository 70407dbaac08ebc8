/** A system whose processes carry a planted defect, on a Redis server of its own; and what is done to it. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { RedisServer } from '../../stack/redis.ts'
import { FaultSystem, type FaultSystemOptions, until } from './fault-system.ts'

const PRELOAD = join(import.meta.dirname, 'plant-preload.ts')

/** What `npm run test:faults` does and `npm test` leaves to the simulation, which plants the same rules at every run and faster. */
export function inFullRuns<Planted>(planted: readonly Planted[]): readonly Planted[] {
  return process.env.FAULT_ROUNDS === undefined ? [] : planted
}

/** What happens to the system, under load, that a defect can't stand. */
export type Schedule = (system: FaultSystem, redis: RedisServer) => Promise<void>

/** Runs the schedule and answers what the oracle finds. A defect that stops the pipeline for good is found as well: nothing drains any more. */
export async function findDefect(
  t: Test,
  { defect, act, ...options }: { readonly defect: string; readonly act: Schedule } & FaultSystemOptions
): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-planted-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const redis = new RedisServer({ folder })
  await redis.start()
  t.teardown(() => redis.kill())
  const system = await FaultSystem.start(t, {
    meters: 1,
    ...options,
    services: { REDIS_URL: redis.url },
    environment: { ...options.environment, PLANT: defect, NODE_OPTIONS: `--import=${PRELOAD}` }
  })
  system.load.start()
  await until('some load', () => system.load.acknowledged > 400)
  await act(system, redis)
  const sent = system.load.acknowledged
  system.load.start()
  await until('some more load', () => system.load.acknowledged > sent + 200)
  try {
    const findings = await system.verdict()
    const unasked = system.ends.filter((end) => !/ (SIGKILL|code 0)$/.test(end)).map((end) => `ended by itself: ${end}`)
    return [...findings.map(({ promise, what }) => `${promise}: ${what}`), ...unasked]
  } catch (error) {
    return [String(error)]
  }
}

/** Redis comes back as it was before the last records were counted and flushed. */
export async function rollRedisBack(system: FaultSystem, redis: RedisServer): Promise<void> {
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

export async function emptyRedis(system: FaultSystem, redis: RedisServer): Promise<void> {
  await system.verdict()
  await redis.kill()
  rmSync(redis.dataFolder, { recursive: true })
  await redis.start()
}
