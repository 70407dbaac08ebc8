/**
 * The ingest process: second stop on the way of one event. It runs the meter consumer (Redis and ledger), the analytics
 * consumer (ClickHouse), the audit consumer (the audit trail), or several; who is wired to whom stands here and nowhere else.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { connectClickHouse } from '../clickhouse/connect.ts'
import { migrate as migrateClickHouse } from '../clickhouse/migrate.ts'
import { ClickHouseUsageLog } from '../clickhouse/usage-log.ts'
import { SeenUsers } from '../domain/customers/user-activity.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import type { Decoded, UsageRecord } from '../domain/tokens/usage-event.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisConsumerMeter } from '../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../meter/meter-repair.ts'
import { RedisQuotaMeter } from '../meter/quota-meter.ts'
import { installationOf, Shards } from '../meter/shards.ts'
import { countAudit, createAuditMetrics } from '../monitoring/audit-metrics.ts'
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
import { ActivityNotes } from '../monitoring/note-activity.ts'
import { observePools } from '../monitoring/observe-pools.ts'
import { countPublished, createOutboxMetrics, setBacklog } from '../monitoring/outbox-metrics.ts'
import { Shutdown } from '../monitoring/shutdown.ts'
import { webhookVariables } from '../monitoring/webhooks/config.ts'
import { countsAttempts } from '../monitoring/webhooks/webhook-metrics.ts'
import { PostgresAnalyticsBlocks } from '../sql/analytics-blocks.ts'
import { PostgresAuditTrail } from '../sql/change/audit-trail.ts'
import { PostgresOutbox } from '../sql/change/outbox-store.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../sql/connect.ts'
import { EntityDatabase } from '../sql/connect-slonik.ts'
import { PostgresUserActivity } from '../sql/customers/user-activity.ts'
import { PostgresLedgerRepair } from '../sql/ledger-repair.ts'
import { migrate } from '../sql/migrate.ts'
import { PostgresQuotaNotices } from '../sql/quota-notices.ts'
import { PostgresUsageLedger } from '../sql/usage-ledger.ts'
import { PostgresDeliveryQueue } from '../sql/webhooks/delivery-queue.ts'
import { PostgresWebhookEndpointStore } from '../sql/webhooks/endpoint-store.ts'
import { runAnalyticsPartition } from './analytics-partition.ts'
import { runAuditPartition } from './audit/audit-partition.ts'
import { decodeAuditEvent } from './audit/decode-audit-event.ts'
import { KafkaDeadLetters } from './dead-letter-producer.ts'
import { decodeUsageEvent } from './decode-usage-event.ts'
import { createKafka, kafkaAddress } from './kafkajs/kafka-client.ts'
import { KafkaLogReader } from './kafkajs/log-reader.ts'
import { ensureTopics, planAuditTopic, planEventsTopic, planTopics } from './kafkajs/topics.ts'
import { runMeterPartition } from './meter-partition.ts'
import { observeIngest } from './observe.ts'
import { KafkaEventLog } from './outbox/event-producer.ts'
import { startRelay } from './outbox/run-relay.ts'
import { oncePerShard, repairShard } from './repair-shard.ts'
import { runThresholdWatch, watchedLedger } from './thresholds/run-threshold-watch.ts'
import { ThresholdWatch } from './thresholds/threshold-watch.ts'
import { runPartitions } from './usage-consumer.ts'
import { webhookPost } from './webhooks/post-webhook.ts'
import { startDeliveries } from './webhooks/run-deliveries.ts'

// ---- configuration
const config = loadConfig([
  processVariables,
  kafkaVariables,
  eventVariables,
  meterVariables,
  postgresVariables,
  clickhouseVariables,
  consumerVariables,
  webhookVariables
])
if (validateOnly()) process.exit(0)
const name = `ingest-${config.CONSUMERS.join('-')}`
const logger = createLogger({ name, level: config.LOG_LEVEL })
const registry = createRegistry(name)
const metrics = createIngestMetrics(registry)
const shutdown = new Shutdown({ logger })
const seenUsers = new SeenUsers()
observeIngest(metrics, logger, seenUsers)

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
observePools(registry, { ledger: () => database.state(), reading: () => readingDatabase.state() })
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

/** One transaction holds the trails of all customers of a batch; changes of theirs wait meanwhile, a tenth of a second at most. */
const AUDIT_BATCH_RECORDS_MAX = 500
/** A Postgres that does not answer must not keep all other figures from whoever scrapes them. */
const BACKLOG_WAIT_MS = 1_000

/** Attempts wait for receivers, not for Postgres. */
const WEBHOOK_CONNECTIONS_MAX = 2

let lagOfMeter = (): ReadonlyMap<number, number> => new Map()
let readBacklog = async (): Promise<void> => undefined
if (config.CONSUMERS.includes('meter')) await startMeter()
if (config.CONSUMERS.includes('analytics')) await startAnalytics()
if (config.CONSUMERS.includes('audit')) await startAudit()
if (config.CONSUMERS.includes('relay')) await startRelaying()
if (config.CONSUMERS.includes('webhooks')) startWebhooks()
const health = await startHealthServer({
  host: config.METRICS_HOST,
  port: config.METRICS_PORT,
  checks,
  metrics: {
    contentType: registry.contentType,
    metrics: async () => {
      for (const [partition, records] of lagOfMeter()) metrics.lagRecords.set({ partition: String(partition) }, records)
      await Promise.race([readBacklog(), delay(BACKLOG_WAIT_MS, undefined, { ref: false })])
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
    ledger: watchedLedger(
      withTimer(
        crashing('ledger', new PostgresUsageLedger(database, config.METER_SHARDS)),
        'flush',
        metrics.flushSeconds
      ),
      startThresholdWatch(shards)
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
  noteSeenUsers()
  lagOfMeter = () => running.lag()
  checks['meter partitions'] = () => running.assertOpen()
  checks.redis = () => redis.ping()
}

/** Of whom usage tells; the counts of active users are the API's to tell. */
function noteSeenUsers(): void {
  const entities = new EntityDatabase({ ...address, connectionsMax: 1 })
  const notes = new ActivityNotes({ seen: seenUsers, activity: new PostgresUserActivity(entities), logger })
  shutdown.add('seen users', () => notes.stop().then(() => entities.close()))
}

/** Stops before the clients it asks, and after the partitions that tell it of usage. */
function startThresholdWatch(shards: Shards): ThresholdWatch {
  const watch = new ThresholdWatch({
    meter: new RedisQuotaMeter(shards, { staleAfterMs: config.METER_STALE_AFTER_MS }),
    notices: crashing('notices', new PostgresQuotaNotices(database)),
    percents: config.QUOTA_THRESHOLDS.map(Number),
    now: Date.now
  })
  const running = runThresholdWatch(watch, logger)
  shutdown.add('thresholds', () => running.stop())
  return watch
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

async function startRelaying(): Promise<void> {
  const topic = planEventsTopic({
    name: config.EVENTS_TOPIC,
    partitions: config.USAGE_PARTITIONS,
    replicas: config.TOPIC_REPLICAS,
    retentionMs: config.EVENTS_RETENTION_MS
  })
  await ensureTopics(kafka, [topic])
  const outboxMetrics = createOutboxMetrics(registry)
  const store = new PostgresOutbox(database)
  const events = new KafkaEventLog({ kafka, topic: topic.name })
  shutdown.add('events', () => events.close())
  const running = startRelay({
    turns: { withTurn: (work) => store.withTurn((outbox) => work(crashing('outbox', outbox))) },
    events: crashing('events', events),
    logger,
    onPublished: (page) => countPublished(outboxMetrics, page),
    onError: (error) => shutdown.fail(error)
  })
  shutdown.add('relay', () => running.stop())
  checks.relay = () => running.assertWell()
  readBacklog = async () => {
    const backlog = await store.backlog().catch((error: Error) => {
      logger.debug({ err: error }, 'the backlog of the outbox is not known')
      return null
    })
    setBacklog(outboxMetrics, backlog, Date.now())
  }
}

function startWebhooks(): void {
  const entities = new EntityDatabase({ ...address, connectionsMax: WEBHOOK_CONNECTIONS_MAX })
  shutdown.add('webhook stores', () => entities.close())
  const running = startDeliveries({
    queue: crashing('webhooks', new PostgresDeliveryQueue(entities)),
    endpoints: new PostgresWebhookEndpointStore(entities),
    post: webhookPost({ allowPrivate: config.WEBHOOK_ALLOW_PRIVATE }),
    attemptsMax: config.WEBHOOK_ATTEMPTS_MAX,
    logger,
    onAttempt: countsAttempts(registry),
    onError: (error) => shutdown.fail(error)
  })
  shutdown.add('webhooks', () => running.stop())
  checks.webhooks = () => running.assertWell()
}

async function startAudit(): Promise<void> {
  const audit = planAuditTopic({
    name: config.AUDIT_TOPIC,
    partitions: config.USAGE_PARTITIONS,
    replicas: config.TOPIC_REPLICAS,
    retentionMs: config.AUDIT_RETENTION_MS
  })
  await ensureTopics(kafka, [audit])
  const letters = await KafkaDeadLetters.connect({ kafka, topic: deadLetters.name, usageTopic: audit.name })
  shutdown.add('audit dead letters', () => letters.close())
  const trail = crashing('audit-trail', new PostgresAuditTrail(database))
  const auditMetrics = createAuditMetrics(registry)
  const running = await runPartitions({
    ...consumer,
    topic: audit.name,
    groupId: `${config.KAFKA_GROUP_PREFIX}-audit`,
    tuning: { batchRecordsMax: AUDIT_BATCH_RECORDS_MAX },
    loop: (partition, source) =>
      runAuditPartition({
        partition,
        source,
        trail,
        deadLetters: crashing('audit-letters', letters),
        decode: decodeAuditEvent,
        report: (report) => {
          countAudit(auditMetrics, report)
          if (report.kind === 'left-out') logger.warn({ partition, reasons: report.reasons }, 'audit events left out')
          if (report.kind === 'overtaken') metrics.fenced.inc({ store: 'postgres' })
        }
      })
  })
  shutdown.add('audit consumer', () => running.stop())
  checks['audit partitions'] = () => running.assertOpen()
}
