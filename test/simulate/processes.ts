/** The product's processes as a history starts them: each with ports of its own, all of them on the same stores. */
import type { Redis } from 'ioredis'
import { RetryableError } from '../../domain/errors.ts'
import type { Decoded, UsageRecord } from '../../domain/tokens/usage-event.ts'
import { runAnalyticsPartition } from '../../ingest/analytics-partition.ts'
import { decodeUsageEvent } from '../../ingest/decode-usage-event.ts'
import { runMeterPartition } from '../../ingest/meter-partition.ts'
import { type RepairPorts, repairShard } from '../../ingest/repair-shard.ts'
import { RedisConsumerMeter } from '../../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../../meter/meter-repair.ts'
import { Shards } from '../../meter/shards.ts'
import { type ClickHouse, simulatedBlocks, simulatedUsageLog } from './analytics-models.ts'
import { type Postgres, simulatedLedger, simulatedLedgerRepair } from './ledger-model.ts'
import { SimulatedSource, simulatedDeadLetters, simulatedLogReader, type UsageTopic } from './log-models.ts'
import { DECODE_LIMITS, MARK_GENERATION_MS, type Truth } from './make-log.ts'
import { redisOf } from './redis-steps.ts'
import type { SimulatedProcess, World } from './world.ts'

export const SHARDS = 2
export const PARTITIONS = 2
const RESTART_STEPS = 12

/** Where the processes of one history work. */
export interface Site {
  readonly world: World
  readonly topic: UsageTopic
  readonly truths: readonly Truth[]
  readonly postgres: Postgres
  readonly clickhouse: ClickHouse
  readonly redis: Redis
  readonly keyPrefix: string
}

export function shardsOf(site: Site, redis: Redis): Shards {
  return new Shards(redis, {
    keyPrefix: site.keyPrefix,
    shards: SHARDS,
    markBuckets: 2,
    markGenerationMs: MARK_GENERATION_MS,
    leadMs: DECODE_LIMITS.leadMs
  })
}

export function decode(record: UsageRecord): Decoded {
  return decodeUsageEvent(record, DECODE_LIMITS)
}

export function startMeter(site: Site, partition: number): SimulatedProcess {
  const { world, topic, postgres } = site
  return world.start(`meter ${partition}`, (process) => {
    const shards = shardsOf(site, redisOf(process, site.redis))
    const repairPorts = repairPortsOf(site, process, { fromEmpty: false })
    const ports = {
      source: new SimulatedSource(process, topic, { partition, idleSteps: 8 }),
      meter: new RedisConsumerMeter(shards),
      ledger: simulatedLedger(process, postgres),
      deadLetters: simulatedDeadLetters(process, topic),
      decode,
      repair: (shard: number, generation: number) => repairShard(shard, generation, repairPorts)
    }
    return again(process, () => runMeterPartition(ports, { partition, shards: SHARDS, pendingRecordsMax: 9 }))
  })
}

function repairPortsOf(site: Site, process: SimulatedProcess, { fromEmpty }: { fromEmpty: boolean }): RepairPorts {
  const { world, topic, postgres } = site
  return {
    meter: new RedisMeterRepair(shardsOf(site, redisOf(process, site.redis)), { now: () => world.now, fromEmpty }),
    ledger: simulatedLedgerRepair(process, postgres),
    log: simulatedLogReader(process, topic),
    decode,
    now: () => world.now,
    shards: SHARDS,
    partitions: PARTITIONS
  }
}

/** An operator builds a shard anew under traffic, once; a store that is away ends it half-way. */
export function startRebuild(site: Site, shard: number): SimulatedProcess {
  return site.world.start(`rebuild ${shard}`, async (process) => {
    const seen = await process.call('generation', () => site.postgres.generation(shard), { failure: null })
    try {
      await repairShard(shard, seen, repairPortsOf(site, process, { fromEmpty: true }))
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error
    }
  })
}

export function startAnalytics(site: Site, partition: number): SimulatedProcess {
  const { world, topic, postgres, clickhouse } = site
  return world.start(`analytics ${partition}`, (process) => {
    const source = new SimulatedSource(process, topic, { partition, idleSteps: 25 })
    const blocks = simulatedBlocks(process, postgres)
    const log = simulatedUsageLog(process, clickhouse)
    return again(process, () => runAnalyticsPartition({ partition, source, blocks, log, decode, blockEventsMax: 5 }))
  })
}

/** A loop that a store's absence ended is begun again, as ingest/main.ts does it. */
async function again(process: SimulatedProcess, loop: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await loop()
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error
      process.world.tell(`${process.name}: begins again, ${error.message}`)
      await process.rest(RESTART_STEPS)
    }
  }
}
