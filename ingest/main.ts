/**
 * The ingest process: second stop on the way of one event. It runs the meter consumer (Redis and ledger), the analytics
 * consumer (ClickHouse), or both; who is wired to whom stands here and nowhere else.
 */
import { connectClickHouse } from '../clickhouse/connect.ts'
import { migrate as migrateClickHouse } from '../clickhouse/migrate.ts'
import { ClickHouseUsageLog } from '../clickhouse/usage-log.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import type { Decoded, UsageRecord } from '../domain/tokens/usage-event.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisConsumerMeter } from '../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../meter/meter-repair.ts'
import { installationOf, Shards } from '../meter/shards.ts'
import {
  clickhouseVariables,
  consumerVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  processVariables
} from '../monitoring/config.ts'
import { withCrashPoints } from '../monitoring/crash-point.ts'
import { startHealthServer } from '../monitoring/health.ts'
import { loadConfig, validateOnly } from '../monitoring/load-config.ts'
import { createLogger } from '../monitoring/logger.ts'
import { createIngestMetrics, createRegistry, forgetPartition, withTimer } from '../monitoring/metrics.ts'
import { Shutdown } from '../monitoring/shutdown.ts'
import { PostgresAnalyticsBlocks } from '../sql/analytics-blocks.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../sql/connect.ts'
import { PostgresLedgerRepair } from '../sql/ledger-repair.ts'
import { migrate } from '../sql/migrate.ts'
import { PostgresUsageLedger } from '../sql/usage-ledger.ts'
import { runAnalyticsPartition } from './analytics-partition.ts'
import { KafkaDeadLetters } from './dead-letter-producer.ts'
import { decodeUsageEvent } from './decode-usage-event.ts'
import { createKafka, kafkaAddress } from './kafkajs/kafka-client.ts'
import { KafkaLogReader } from './kafkajs/log-reader.ts'
import { ensureTopics, planTopics } from './kafkajs/topics.ts'
import { runMeterPartition } from './meter-partition.ts'
import { observeIngest } from './observe.ts'
import { repairShard } from './repair-shard.ts'
import { runPartitions } from './usage-consumer.ts'

// ---- configuration
const config = loadConfig([
  processVariables,
  kafkaVariables,
  eventVariables,
  meterVariables,
  postgresVariables,
  clickhouseVariables,
  consumerVariables
])
if (validateOnly()) process.exit(0)
const name = `ingest-${config.CONSUMERS.join('-')}`
const logger = createLogger({ name, level: config.LOG_LEVEL })
const registry = createRegistry(name)
const metrics = createIngestMetrics(registry)
const shutdown = new Shutdown({ logger })
observeIngest(metrics, logger)

// ---- clients
const kafka = createKafka(kafkaAddress(config), logger)
const { usage, deadLetters } = planTopics({
  usageTopic: config.USAGE_TOPIC,
  deadLetterTopic: config.DEAD_LETTER_TOPIC,
  partitions: config.USAGE_PARTITIONS,
  replicas: config.TOPIC_REPLICAS,
  duplicateWindowMs: config.DUPLICATE_WINDOW_MS,
  usageRetentionMs: config.USAGE_RETENTION_MS,
  deadLetterRetentionMs: config.DEAD_LETTER_RETENTION_MS
})
await migrate(config.DATABASE_URL)
const partitions = (await ensureTopics(kafka, [usage, deadLetters])).get(usage.name) ?? config.USAGE_PARTITIONS
const address = {
  databaseUrl: config.DATABASE_URL,
  applicationName: name,
  connectionsMax: config.DATABASE_CONNECTIONS_MAX
}
const database = new Database(address)
const readingDatabase = new Database({ ...address, connectionsMax: 2, statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS })
shutdown.add('postgres', () => Promise.all([database.close(), readingDatabase.close()]))
const decodeLimits = { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS }
const decode = (record: UsageRecord): Decoded => decodeUsageEvent(record, decodeLimits)
const consumer = {
  kafka,
  topic: usage.name,
  logger,
  sessionTimeoutMs: config.KAFKA_SESSION_TIMEOUT_MS,
  flushIntervalMs: config.FLUSH_INTERVAL_MS,
  tuning: { batchRecordsMax: config.BATCH_RECORDS_MAX },
  onError: (error: Error) => shutdown.fail(error)
}
const checks: Record<string, () => Promise<unknown>> = { postgres: () => database.query('ping', { text: 'select 1' }) }

/** A port that may be told to kill the process at one of its calls. */
function crashing<T extends object>(port: string, adapter: T): T {
  return withCrashPoints(port, adapter, config.CRASH_AT)
}

let lagOfMeter = (): ReadonlyMap<number, number> => new Map()
if (config.CONSUMERS.includes('meter')) await startMeter()
if (config.CONSUMERS.includes('analytics')) await startAnalytics()
const health = await startHealthServer({
  host: config.METRICS_HOST,
  port: config.METRICS_PORT,
  checks,
  metrics: {
    contentType: registry.contentType,
    metrics: async () => {
      for (const [partition, records] of lagOfMeter()) metrics.lagRecords.set({ partition: String(partition) }, records)
      return registry.metrics()
    }
  }
})
shutdown.add('health', () => health.close())
logger.info({ consumers: config.CONSUMERS, topic: usage.name, partitions, metricsPort: health.port }, 'ready')

async function startMeter(): Promise<void> {
  // ---- adapters
  const redis = connectRedis({
    url: config.REDIS_URL,
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    autoPipelining: false
  })
  shutdown.add('redis', () => redis.disconnect())
  const shards = new Shards(redis, installationOf(config, decodeLimits.leadMs))
  const letters = await KafkaDeadLetters.connect({ kafka, topic: deadLetters.name, usageTopic: usage.name })
  shutdown.add('dead letters', () => letters.close())
  const log = new KafkaLogReader({
    kafka,
    topic: usage.name,
    groupIdPrefix: `${config.KAFKA_GROUP_PREFIX}-reader`,
    logger
  })
  shutdown.add('log reader', () => log.close())

  // ---- use cases
  const repair = {
    meter: crashing('repair', new RedisMeterRepair(shards)),
    ledger: new PostgresLedgerRepair({ database: readingDatabase, shards: config.METER_SHARDS, partitions }),
    log,
    decode,
    now: Date.now,
    shards: config.METER_SHARDS,
    partitions
  }
  const ports = {
    meter: withTimer(crashing('meter', new RedisConsumerMeter(shards)), 'apply', metrics.applySeconds),
    ledger: withTimer(
      crashing('ledger', new PostgresUsageLedger(database, config.METER_SHARDS)),
      'flush',
      metrics.flushSeconds
    ),
    deadLetters: crashing('dead-letters', letters),
    decode,
    repair: oncePerShard((shard, generation) => repairShard(shard, generation, repair))
  }

  // ---- drivers
  const running = await runPartitions({
    ...consumer,
    groupId: `${config.KAFKA_GROUP_PREFIX}-meter`,
    loop: (partition, source) =>
      runMeterPartition(
        { ...ports, source },
        { partition, shards: config.METER_SHARDS, pendingRecordsMax: config.PENDING_EVENTS_MAX }
      ).finally(() => forgetPartition(metrics, partition))
  })
  shutdown.add('meter consumer', () => running.stop())
  lagOfMeter = () => running.lag()
  checks['meter partitions'] = () => running.assertOpen()
  checks.redis = () => redis.ping()
}

/** The partitions of one process find a shard unusable at the same moment: they wait for one repair. */
function oncePerShard(
  act: (shard: number, generation: number) => Promise<unknown>
): (shard: number, generation: number) => Promise<unknown> {
  const running = new Map<number, Promise<unknown>>()
  return async (shard, generation) => {
    const repair = running.get(shard) ?? act(shard, generation).finally(() => running.delete(shard))
    running.set(shard, repair)
    await repair
  }
}

async function startAnalytics(): Promise<void> {
  await migrateClickHouse(config.CLICKHOUSE_URL, config.CLICKHOUSE_DATABASE)
  const client = connectClickHouse({ url: config.CLICKHOUSE_URL, database: config.CLICKHOUSE_DATABASE })
  shutdown.add('clickhouse', () => client.close())
  const blocks = crashing('blocks', new PostgresAnalyticsBlocks(database))
  const log = crashing('usage-log', new ClickHouseUsageLog({ client, topic: usage.name }))
  const running = await runPartitions({
    ...consumer,
    groupId: `${config.KAFKA_GROUP_PREFIX}-analytics`,
    loop: (partition, source) =>
      runAnalyticsPartition({
        partition,
        source,
        blocks,
        log,
        decode,
        blockEventsMax: config.BLOCK_EVENTS_MAX,
        report: (report) => {
          if (report.kind === 'appended') metrics.blockEvents.observe(report.events)
          if (report.kind === 'overtaken') metrics.fenced.inc({ store: 'clickhouse' })
          if (report.kind === 'delayed') logger.warn({ partition, err: report.error }, 'analytics waits for a store')
        }
      })
  })
  shutdown.add('analytics consumer', () => running.stop())
  checks['analytics partitions'] = () => running.assertOpen()
}
