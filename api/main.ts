/**
 * The API process: configuration, clients, adapters, app, listen. Nothing is connected to before it is needed, so that the
 * process starts and tells of itself while a service is away. `--validate` checks the configuration and ends.
 */
import { connectClickHouse } from '../clickhouse/connect.ts'
import { ClickHouseUsageQueries } from '../clickhouse/usage-queries.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import { encodeUsageEvent } from '../ingest/encode-usage-event.ts'
import { createKafka, kafkaAddress } from '../ingest/kafkajs/kafka-client.ts'
import { KafkaUsageEventLog } from '../ingest/usage-producer.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisQuotaMeter } from '../meter/quota-meter.ts'
import { installationOf, Shards } from '../meter/shards.ts'
import {
  apiVariables,
  clickhouseVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  processVariables
} from '../monitoring/config.ts'
import { ConfigError, loadConfig, validateOnly } from '../monitoring/load-config.ts'
import { createLogger } from '../monitoring/logger.ts'
import { createApiMetrics, createRegistry, observeAnswer } from '../monitoring/metrics.ts'
import { Shutdown } from '../monitoring/shutdown.ts'
import packageJson from '../package.json' with { type: 'json' }
import { EntityDatabase } from '../sql/connect-slonik.ts'
import { PostgresLimitStore } from '../sql/limit-store.ts'
import type { ApiDependencies, ApiObserver } from './api-dependencies.ts'
import { buildApp } from './app.ts'
import { parseApiKeys } from './authenticate.ts'
import { LateUsageEventLog } from './late-usage-event-log.ts'
import { readinessOf } from './readiness.ts'
import { LimitRenewal } from './renew-limits.ts'

const NAME = 'tokenmeter-api'
/** Mean delay of the event loop within a second; beyond it, a request would wait longer than its caller. */
const EVENT_LOOP_DELAY_MAX_MS = 1_000
const FRAGMENTS = [
  processVariables,
  apiVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  clickhouseVariables
] as const

type Config = ReturnType<typeof readConfig>

function readConfig() {
  return loadConfig(FRAGMENTS)
}

async function main(): Promise<void> {
  const config = readConfig()
  if (validateOnly()) return
  const logger = createLogger({ name: NAME, level: config.LOG_LEVEL })
  const shutdown = new Shutdown({ logger })
  const dependencies = connect(config, { logger, shutdown })
  const app = await buildApp(dependencies)
  const renewal = new LimitRenewal(dependencies)
  renewal.start()
  shutdown.add('renewal of limits', () => renewal.stop())
  await app.listen({ host: config.API_HOST, port: config.API_PORT })
  shutdown.add('http', () => app.close())
}

interface Process {
  readonly logger: ReturnType<typeof createLogger>
  readonly shutdown: Shutdown
}

function connect(config: Config, { logger, shutdown }: Process): ApiDependencies {
  const redis = connectRedis({
    url: config.REDIS_URL,
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    autoPipelining: true
  })
  shutdown.add('redis', () => redis.disconnect())
  const meter = new RedisQuotaMeter(new Shards(redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs)), {
    staleAfterMs: config.METER_STALE_AFTER_MS
  })
  const database = new EntityDatabase({
    databaseUrl: config.DATABASE_URL,
    applicationName: NAME,
    connectionsMax: config.DATABASE_CONNECTIONS_MAX
  })
  shutdown.add('postgres', () => database.close())
  const limitStore = new PostgresLimitStore(database)
  const clickhouse = connectClickHouse({ url: config.CLICKHOUSE_URL, database: config.CLICKHOUSE_DATABASE })
  shutdown.add('clickhouse', () => clickhouse.close())
  const kafka = createKafka(kafkaAddress(config), logger)
  const usageEventLog = new LateUsageEventLog(() =>
    KafkaUsageEventLog.connect({ kafka, topic: config.USAGE_TOPIC, encode: encodeUsageEvent })
  )
  shutdown.add('kafka', () => usageEventLog.close())
  const registry = createRegistry('api')
  const checks = {
    redis: () => redis.ping(),
    // A look-up by key of a customer nobody can have.
    postgres: () => limitStore.find(''),
    clickhouse: () => answered(clickhouse.ping()),
    kafka: () => usageEventLog.connected()
  }
  return {
    version: packageJson.version,
    quotaMeter: meter,
    limitMeter: meter,
    limitStore,
    usageQueries: new ClickHouseUsageQueries(clickhouse),
    usageEventLog,
    apiKeys: parseApiKeys(config.API_KEYS),
    decodeLimits: { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS },
    now: Date.now,
    logger,
    readiness: readinessOf(checks, () => shutdown.isBegun),
    metrics: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    observer: observerOf(createApiMetrics(registry)),
    corsOrigins: config.API_CORS_ORIGINS,
    eventLoopDelayMaxMs: EVENT_LOOP_DELAY_MAX_MS
  }
}

function observerOf(metrics: ReturnType<typeof createApiMetrics>): ApiObserver {
  return {
    answered: (answer) => observeAnswer(metrics, answer),
    checked: (outcome) => metrics.checks.inc({ outcome }),
    held: (outcome) => metrics.holds.inc({ outcome })
  }
}

/** ClickHouse's client answers a failed ping as a value. */
async function answered(
  ping: Promise<{ readonly success: true } | { readonly success: false; readonly error: Error }>
): Promise<void> {
  const answer = await ping
  if (!answer.success) throw answer.error
}

try {
  await main()
} catch (error) {
  console.error(error instanceof ConfigError ? error.message : error)
  process.exit(1)
}
