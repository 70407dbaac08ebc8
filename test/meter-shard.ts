// A meter of one's own on the real Redis, for tests: its own key prefix, opened and dropped with the test.

import { randomBytes } from 'node:crypto'
import { connectRedis } from '../meter/connect.ts'
import { RedisConsumerMeter } from '../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../meter/meter-repair.ts'
import { RedisQuotaMeter } from '../meter/quota-meter.ts'
import { type MeterInstallation, Shards } from '../meter/shards.ts'
import type { CompiledLimits, Counter, LimitScope } from '../domain/tokens/limit.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPools } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import type { MeteredEvent } from '../domain/ports.ts'
import { serviceUrl } from './services.ts'

const DAY_MS = 86_400_000
export const TEST_INSTALLATION: Omit<MeterInstallation, 'keyPrefix'> = {
  shards: 1,
  markBuckets: 16,
  markGenerationMs: DAY_MS,
  leadMs: 300_000
}

export interface MeterForTest {
  readonly shards: Shards
  readonly consumer: RedisConsumerMeter
  readonly repair: RedisMeterRepair
  readonly quota: RedisQuotaMeter
}

/** An empty meter; `partitions` 0 leaves it without a state. */
export async function freshMeter(
  t: { teardown(handler: () => Promise<void>): void },
  options: { partitions?: number; installation?: Partial<MeterInstallation>; staleAfterMs?: number } = {}
): Promise<MeterForTest> {
  const redis = connectRedis({ url: serviceUrl('REDIS_URL'), commandTimeoutMs: 5_000, autoPipelining: false })
  const keyPrefix = `test-${randomBytes(6).toString('hex')}`
  const shards = new Shards(redis, { ...TEST_INSTALLATION, keyPrefix, ...options.installation })
  t.teardown(async () => {
    if (!('scanStream' in redis)) return
    for await (const keys of redis.scanStream({ match: `${keyPrefix}:*`, count: 1000 })) {
      if (keys.length > 0) await redis.unlink(keys)
    }
    redis.disconnect()
  })
  const repair = new RedisMeterRepair(shards)
  const partitions = options.partitions ?? 2
  for (let shard = 0; shard < shards.installation.shards && partitions > 0; shard++) {
    await repair.begin(shard, 1, partitions)
    await repair.finish(shard, 1, new Array(partitions).fill(0))
  }
  return {
    shards,
    repair,
    consumer: new RedisConsumerMeter(shards),
    quota: new RedisQuotaMeter(shards, { staleAfterMs: options.staleAfterMs ?? 60_000 })
  }
}

let made = 0

/** A usage event with an id of its own and 10 input tokens unless told otherwise, at the present time. */
export function usageEvent(change: Partial<Omit<UsageEvent, 'tokens'>> & { tokens?: Partial<TokenPools> } = {}): UsageEvent {
  return {
    kind: 'used',
    id: `event-${made++}`,
    source: 'test',
    customerId: 'customer-1',
    occurredAt: Date.now(),
    userId: '',
    model: 'model-1',
    provider: 'test',
    operation: '',
    requestId: '',
    holdId: '',
    metadata: {},
    ...change,
    tokens: { ...NO_TOKENS, ...(change.tokens ?? { input: 10 }) }
  }
}

/** Events at consecutive offsets, arrived now. */
export function metered(firstOffset: number, events: readonly UsageEvent[], arrivedAt = Date.now()): MeteredEvent[] {
  return events.map((event, i) => ({ offset: firstOffset + i, arrivedAt, event }))
}

export const TOTAL_WEIGHTS = { '*': [1, 1, 1, 1, 1] }

/** A limit on the total over two days around now, of one scope. */
export function twoDayLimits(change: { max?: number; scope?: LimitScope; version?: number; customerId?: string } = {}): CompiledLimits {
  const now = quarterOf(Date.now())
  const scope = change.scope ?? { kind: 'customer' }
  const counter: Counter = { id: `${JSON.stringify(scope)}|total|window`, scope, weights: TOTAL_WEIGHTS, rollingHours: 0, windows: [[now - 96, now + 96]] }
  return {
    customerId: change.customerId ?? 'customer-1',
    version: change.version ?? 1,
    counters: [counter],
    limits: [{ id: 'limit', counterId: counter.id, max: change.max ?? 1000, mode: 'hard', whenUnknown: 'deny', rollingHours: 0 }]
  }
}
