// The consumers of a topic of one's own, in this process, on real stores of one's own: what is sent ends in Redis, ledger and
// ClickHouse the way it does in production, and the gate is wired to those stores as billing wires it.

import { StoresGate, type StoresGateOptions } from '../../billing-job/gate/stores-gate.ts'
import { ClickHouseBillingUsage } from '../../clickhouse/billing-usage.ts'
import { ClickHouseUsageLog } from '../../clickhouse/usage-log.ts'
import type { PartitionStand } from '../../domain/billing/invoices/gate-ports.ts'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import type { CompiledLimits } from '../../domain/tokens/limit.ts'
import type { Decoded, UsageEvent, UsageRecord } from '../../domain/tokens/usage-event.ts'
import { runAnalyticsPartition } from '../../ingest/analytics-partition.ts'
import { KafkaDeadLetters } from '../../ingest/dead-letter-producer.ts'
import { decodeUsageEvent } from '../../ingest/decode-usage-event.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { KafkaLogArrivals } from '../../ingest/kafkajs/log-arrivals.ts'
import { KafkaLogReader } from '../../ingest/kafkajs/log-reader.ts'
import { runMeterPartition } from '../../ingest/meter-partition.ts'
import { oncePerShard, repairShard } from '../../ingest/repair-shard.ts'
import { type RunningPartitions, runPartitions } from '../../ingest/usage-consumer.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { PostgresAnalyticsBlocks } from '../../sql/analytics-blocks.ts'
import { PostgresGateLedger } from '../../sql/billing/gate-ledger.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresLedgerRepair } from '../../sql/ledger-repair.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type ClickHouseDatabase, freshClickHouse } from '../clickhouse-database.ts'
import { freshMeter, type MeterForTest, usageEvent } from '../meter-shard.ts'
import { freshDatabase } from '../services.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../topics.ts'
import { realClock, type Usage } from './counted-stores.ts'

/** A month may lie back, so that a test has whole days of the past to bill. */
const DECODE_LIMITS = { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: 31 * 86_400_000 }
const FLUSH_INTERVAL_MS = 50
const TIMEOUT_MS = 30_000

export interface CountingPipeline {
  readonly topic: FreshTopic
  readonly database: Database
  readonly clickhouse: ClickHouseDatabase
  readonly meter: MeterForTest
  readonly ledger: PostgresGateLedger
  readonly usage: ClickHouseBillingUsage
  readonly counters: RedisMeterReport
  readonly log: KafkaLogReader
  readonly arrivals: KafkaLogArrivals
  readonly decode: (record: UsageRecord) => Decoded
  gate(change?: Partial<StoresGateOptions>): StoresGate
  send(usage: readonly Usage[]): Promise<readonly UsageEvent[]>
  /** Resolves when the ledger has everything that was sent. */
  flushed(): Promise<void>
  /** Resolves when ledger and ClickHouse have. */
  drained(): Promise<void>
  /** Puts limits in force and waits until they are seeded. */
  setLimits(limits: CompiledLimits): Promise<void>
  startMeter(): Promise<RunningPartitions>
  startAnalytics(): Promise<RunningPartitions>
}

type Teardown = Pick<typeof import('tap').t, 'teardown'>

/** Empty stores; consumers run once they are started. */
export async function preparePipeline(t: Teardown, partitions = 2): Promise<CountingPipeline> {
  const topic = await freshTopic(t, partitions)
  const { kafka } = topic
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'gate-test' })
  t.teardown(() => database.close())
  const clickhouse = await freshClickHouse(t)
  const meter = await freshMeter(t, { partitions: 0 })
  const log = new KafkaLogReader({
    kafka,
    topic: topic.topic,
    groupIdPrefix: `reader-${topic.topic}`,
    logger: silentLogger
  })
  t.teardown(() => log.close())
  const decode = (record: UsageRecord): Decoded => decodeUsageEvent(record, DECODE_LIMITS)
  const ledger = new PostgresGateLedger(database)
  const usage = new ClickHouseBillingUsage(clickhouse.client)
  const counters = new RedisMeterReport(meter.shards)
  const arrivals = new KafkaLogArrivals(topic)
  const haveAll = async (followers: readonly (keyof PartitionStand)[]): Promise<void> => {
    const goal = await log.ends()
    const isThere = async (): Promise<boolean> => {
      const stands = await ledger.stands()
      return goal.every(({ end }, partition) => followers.every((name) => (stands.get(partition)?.[name] ?? 0) >= end))
    }
    await waitUntil(isThere, { what: `${followers.join(' and ')} to have everything`, timeoutMs: TIMEOUT_MS })
  }
  const stores = { topic, database, clickhouse, meter, log, decode }
  return {
    ...stores,
    ledger,
    usage,
    counters,
    arrivals,
    gate: (change = {}) =>
      new StoresGate({
        log: arrivals,
        ledger,
        analytics: usage,
        meter: counters,
        clock: realClock,
        ...change
      }),
    send: async (changes) => {
      const events = changes.map((change) => usageEvent(change))
      await topic.send(events.map((event) => ({ key: event.customerId, ...encodeUsageEvent(event) })))
      return events
    },
    flushed: () => haveAll(['ledger']),
    drained: () => haveAll(['ledger', 'analytics']),
    setLimits: async (limits) => {
      await meter.quota.setLimits(limits)
      const isSeeded = async (): Promise<boolean> => (await counters.customer(limits.customerId))?.seeding === false
      await waitUntil(isSeeded, { what: `the limits of ${limits.customerId} to be seeded`, timeoutMs: TIMEOUT_MS })
    },
    startMeter: () => startMeter(t, stores),
    startAnalytics: () => startAnalytics(t, stores)
  }
}

/** With both consumers running. */
export async function startPipeline(t: Teardown, partitions = 2): Promise<CountingPipeline> {
  const pipeline = await preparePipeline(t, partitions)
  await Promise.all([pipeline.startMeter(), pipeline.startAnalytics()])
  return pipeline
}

type Stores = Pick<CountingPipeline, 'topic' | 'database' | 'clickhouse' | 'meter' | 'log' | 'decode'>

async function startMeter(t: Teardown, { topic, database, meter, log, decode }: Stores): Promise<RunningPartitions> {
  const { kafka, partitions } = topic
  const shards = meter.shards.installation.shards
  const deadLetters = await KafkaDeadLetters.connect({ kafka, topic: topic.deadLetterTopic, usageTopic: topic.topic })
  t.teardown(() => deadLetters.close())
  const repairPorts = {
    meter: meter.repair,
    ledger: new PostgresLedgerRepair({ database, shards, partitions }),
    log,
    decode,
    now: Date.now,
    shards,
    partitions
  }
  const ports = {
    meter: meter.consumer,
    ledger: new PostgresUsageLedger(database, shards),
    deadLetters,
    decode,
    repair: oncePerShard((shard, generation) => repairShard(shard, generation, repairPorts))
  }
  return run(t, topic, 'meter', (partition, source) =>
    runMeterPartition({ ...ports, source }, { partition, shards, pendingRecordsMax: 100_000 })
  )
}

async function startAnalytics(
  t: Teardown,
  { topic, database, clickhouse, decode }: Stores
): Promise<RunningPartitions> {
  const blocks = new PostgresAnalyticsBlocks(database)
  const log = new ClickHouseUsageLog({ client: clickhouse.client, topic: topic.topic })
  return run(t, topic, 'analytics', (partition, source) =>
    runAnalyticsPartition({ partition, source, blocks, log, decode, blockEventsMax: 10_000 })
  )
}

async function run(
  t: Teardown,
  { kafka, topic }: FreshTopic,
  ...[name, loop]: [name: string, loop: Parameters<typeof runPartitions>[0]['loop']]
): Promise<RunningPartitions> {
  const running = await runPartitions({
    kafka,
    topic,
    groupId: `${name}-of-${topic}`,
    logger: silentLogger,
    sessionTimeoutMs: 5_000,
    flushIntervalMs: FLUSH_INTERVAL_MS,
    tuning: { fetchWaitMs: 50 },
    onError: (error) => {
      throw error
    },
    loop
  })
  t.teardown(() => running.stop())
  const isOpen = async (): Promise<boolean> => running.assertOpen().then(() => true)
  await waitUntil(isOpen, { what: `the ${name} consumer to be open`, timeoutMs: TIMEOUT_MS })
  return running
}
