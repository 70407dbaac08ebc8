// A meter of one's own on the real Redis, for tests: its own key prefix, opened and dropped with the test.

import { randomBytes } from 'node:crypto'
import { Cluster } from 'ioredis'
import type { MeteredEvent, ShardAt, ShardPosition, Verdict } from '../domain/ports.ts'
import type { CompiledLimit, CompiledLimits, Counter, LimitScope } from '../domain/tokens/limit.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPools } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisConsumerMeter } from '../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../meter/meter-repair.ts'
import { RedisQuotaMeter } from '../meter/quota-meter.ts'
import { type MeterInstallation, Shards } from '../meter/shards.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { serviceUrl } from '../stack/service-urls.ts'

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

export interface MeterForTestOptions {
  readonly partitions?: number
  readonly installation?: Partial<MeterInstallation>
  readonly staleAfterMs?: number
  /** The clock of the quota side; Redis's own when absent. */
  readonly now?: () => number
  readonly autoPipelining?: boolean
  /** Another Redis than the one of the services. */
  readonly url?: string
}

/** An empty meter; `partitions` 0 leaves it without a state. */
export async function freshMeter(
  t: { teardown(handler: () => Promise<void>): void },
  options: MeterForTestOptions = {}
): Promise<MeterForTest> {
  const redis = connectRedis({
    url: options.url ?? serviceUrl('REDIS_URL'),
    commandTimeoutMs: 5_000,
    autoPipelining: false
  })
  const keyPrefix = `test-${randomBytes(6).toString('hex')}`
  const shards = new Shards(redis, { ...TEST_INSTALLATION, keyPrefix, ...options.installation })
  t.teardown(async () => {
    for await (const keys of 'scanStream' in redis ? redis.scanStream({ match: `${keyPrefix}:*`, count: 1000 }) : []) {
      if (keys.length > 0) await redis.unlink(keys)
    }
    redis.disconnect()
  })
  // A cluster queues nothing: what comes before it knows its nodes is answered as unavailable.
  if (redis instanceof Cluster) {
    await waitUntil(async () => redis.status === 'ready', { what: 'the cluster to be known', timeoutMs: 10_000 })
  }
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
    quota: new RedisQuotaMeter(shards, {
      staleAfterMs: options.staleAfterMs ?? 60_000,
      ...(options.now === undefined ? {} : { now: options.now })
    })
  }
}

let made = 0

/** A usage event with an id of its own and 10 input tokens unless told otherwise, at the present time. */
export function usageEvent(
  change: Partial<Omit<UsageEvent, 'tokens'>> & { tokens?: Partial<TokenPools> } = {}
): UsageEvent {
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
export function twoDayLimits(
  change: { max?: number; scope?: LimitScope; version?: number; customerId?: string } = {}
): CompiledLimits {
  const now = quarterOf(Date.now())
  const scope = change.scope ?? { kind: 'customer' }
  const counter: Counter = {
    id: `${JSON.stringify(scope)}|total|window`,
    scope,
    weights: TOTAL_WEIGHTS,
    rollingHours: 0,
    windows: [[now - 96, now + 96]]
  }
  return {
    customerId: change.customerId ?? 'customer-1',
    version: change.version ?? 1,
    counters: [counter],
    limits: [
      {
        id: 'limit',
        counterId: counter.id,
        max: change.max ?? 1000,
        mode: 'hard',
        whenUnknown: 'deny',
        rollingHours: 0
      }
    ]
  }
}

/** What a limit is in these tests: on the total, hard, and denying while unknown, unless told otherwise. */
export interface LimitForTest extends Partial<Omit<CompiledLimit, 'counterId'>> {
  readonly id: string
  readonly scope?: LimitScope
  readonly weights?: Counter['weights']
  readonly windows?: Counter['windows']
}

/** Limits with a counter each, whose id tells scope, weights and rolling hours as a real one does. */
export function limitsOf(
  limits: readonly LimitForTest[],
  change: { version?: number; customerId?: string; windows?: Counter['windows'] } = {}
): CompiledLimits {
  const now = quarterOf(Date.now())
  const counters = new Map<string, Counter>()
  const compiled = limits.map((limit) => {
    const { scope = { kind: 'customer' }, weights = TOTAL_WEIGHTS, rollingHours = 0 } = limit
    const counterId = JSON.stringify([scope, weights, rollingHours])
    const windows = rollingHours > 0 ? [] : (limit.windows ?? change.windows ?? [[now - 96, now + 96]])
    counters.set(counterId, { id: counterId, scope, weights, rollingHours, windows })
    const { id, max = 1000, mode = 'hard', whenUnknown = 'deny' } = limit
    return { id, counterId, max, mode, whenUnknown, rollingHours }
  })
  return {
    customerId: change.customerId ?? 'customer-1',
    version: change.version ?? 1,
    counters: [...counters.values()],
    limits: compiled
  }
}

/** A partition's stand at generation 1 of a shard, as `freshMeter` makes it. */
export function standOf(partition: number, shard = 0): ShardAt {
  return { shard, partition, generation: 1 }
}

/** The partition's position, which the test relies on having. */
export async function positionOf(meter: MeterForTest, at: ShardAt): Promise<ShardPosition> {
  const opened = await meter.consumer.open(at)
  if (opened.refused) throw new Error(`shard ${at.shard} refused partition ${at.partition}`)
  return opened
}

/** Counts events where the partition stands; answers their verdicts. */
export async function count(
  meter: MeterForTest,
  events: readonly UsageEvent[],
  options: { at?: ShardAt; countedUpTo?: number } = {}
): Promise<readonly Verdict[]> {
  const at = options.at ?? standOf(0)
  const countedUpTo = options.countedUpTo ?? Date.now()
  const { cursor } = await positionOf(meter, at)
  const batch = { ...at, expectedCursor: cursor, end: cursor + events.length, countedUpTo }
  const applied = await meter.consumer.apply({ ...batch, events: metered(cursor, events, countedUpTo) })
  if (applied.refused) throw new Error('the batch was refused')
  return applied.verdicts
}

/** Sets limits and ends their cuts with nothing to add, as for a customer that never used anything; renews the heartbeat. */
export async function setSeeded(meter: MeterForTest, limits: CompiledLimits, countedUpTo = Date.now()): Promise<void> {
  await meter.quota.setLimits(limits)
  const shard = meter.shards.of(limits.customerId)
  const partitions = Number(await meter.shards.redis.hget(meter.shards.keys(shard, '').state, 'partitions'))
  const generation = Number(await meter.shards.redis.hget(meter.shards.keys(shard, '').state, 'generation'))
  for (let partition = 0; partition < partitions; partition++) {
    const at = { shard, partition, generation }
    const { cursor, cuts } = await positionOf(meter, at)
    for (const cut of cuts) await meter.consumer.seed(at, cut, { amounts: [], next: null })
    await meter.consumer.tick({ ...at, cursor, flushed: cursor, countedUpTo })
  }
}
