/**
 * The billing process: a worker of the job queue, and the schedules of its jobs. Who is wired to whom stands here and nowhere else;
 * `npm run billing` is wired the same way. `--validate` checks the configuration and ends.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ClickHouseBillingUsage } from '../clickhouse/billing-usage.ts'
import { connectClickHouse } from '../clickhouse/connect.ts'
import { parseTaxTable } from '../domain/billing/tax-table.ts'
import { RetryableError } from '../domain/errors.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import { createKafka, kafkaAddress } from '../ingest/kafkajs/kafka-client.ts'
import { KafkaLogArrivals } from '../ingest/kafkajs/log-arrivals.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisMeterReport } from '../meter/meter-report.ts'
import { installationOf, Shards } from '../meter/shards.ts'
import {
  type BillingMetrics,
  countJob,
  createBillingMetrics,
  setBillingStatus
} from '../monitoring/billing/billing-metrics.ts'
import {
  billingJobVariables,
  billingVariables,
  issuerOf,
  issuerVariables,
  paymentVariables
} from '../monitoring/billing/config.ts'
import {
  clickhouseVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  processVariables
} from '../monitoring/config.ts'
import { withCrashPoints } from '../monitoring/crash-point.ts'
import { startHealthServer } from '../monitoring/health.ts'
import { ConfigError, loadConfig, validateOnly } from '../monitoring/load-config.ts'
import { createLogger } from '../monitoring/logger.ts'
import { createRegistry } from '../monitoring/metrics.ts'
import { observePools } from '../monitoring/observe-pools.ts'
import { Shutdown } from '../monitoring/shutdown.ts'
import { paymentProviderOf } from '../payments/configured-provider.ts'
import { PostgresBillingStore } from '../sql/billing/billing-store.ts'
import { PostgresGateLedger } from '../sql/billing/gate-ledger.ts'
import { PostgresCollectStore } from '../sql/billing/payments/collect-store.ts'
import { PostgresOverdueSubscriptions } from '../sql/billing/payments/overdue-subscriptions.ts'
import { PostgresRefundStore } from '../sql/billing/payments/refund-store.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../sql/connect.ts'
import { EntityDatabase } from '../sql/connect-slonik.ts'
import { migrate } from '../sql/migrate.ts'
import { PostgresSubscriptionStore } from '../sql/subscriptions/subscription-store.ts'
import type { BillingDependencies, BillingTerms, RunAsk } from './bill-due.ts'
import { type JobEnd, startBillingWorker } from './billing-worker.ts'
import type { CollectDependencies } from './collect/collect-due.ts'
import type { FinishDependencies } from './collect/finish-refunds.ts'
import type { PastDueDependencies } from './collect/mark-past-due.ts'
import { StoresGate } from './gate/stores-gate.ts'
import { collectWork, runWork } from './job-work.ts'
import {
  awaitQueue,
  type BillingQueue,
  type BillingQueues,
  lastRunOfAll,
  openBillingQueues,
  type QueueAddress
} from './queues.ts'
import { restoreSchedules, type Schedules, scheduleBilling } from './schedules.ts'

const NAME = 'tokenmeter-billing'
const DAY_MS = 86_400_000
/** The gate reads while a round holds its own connection: from one pool they could wait for each other for ever. */
const GATE_CONNECTIONS_MAX = 4
/** Invoices that are collected at once, and one more. */
const COLLECT_CONNECTIONS_MAX = 5
/** A Redis that came back empty has no schedules: so long, at most, nothing comes by itself. */
const SCHEDULES_INTERVAL_MS = 300_000
/** A store that does not answer must not keep all other figures from whoever scrapes them. */
const STATUS_WAIT_MS = 1_000

/** In the order of .env.example. */
const FRAGMENTS = [
  processVariables,
  kafkaVariables,
  eventVariables,
  meterVariables,
  postgresVariables,
  clickhouseVariables,
  billingVariables,
  issuerVariables,
  billingJobVariables,
  paymentVariables
] as const

export type BillingConfig = ReturnType<typeof loadBillingConfig>
type Logger = ReturnType<typeof createLogger>

export function loadBillingConfig() {
  return loadConfig(FRAGMENTS)
}

async function main(): Promise<void> {
  const config = loadBillingConfig()
  const terms = billingTerms(config)
  if (validateOnly()) return
  const logger = createLogger({ name: NAME, level: config.LOG_LEVEL })
  const shutdown = new Shutdown({ logger })
  const registry = createRegistry('billing')
  const metrics = createBillingMetrics(registry)

  // ---- clients and adapters
  await migrate(config.DATABASE_URL)
  const stores = connectBilling(config, { name: NAME, logger })
  shutdown.add('stores', () => stores.close())
  observePools(registry, { rounds: () => stores.rounds.state(), gate: () => stores.reading.state() })
  const dependencies = { ...stores, terms, now: Date.now }
  const queues = openBillingQueues(queueAddress(config), (error) => logger.warn({ err: error }, 'a job queue is away'))
  shutdown.add('queues', () => Promise.all([queues.run.close(), queues.collect.close()]))

  // ---- schedules and worker
  await keepSchedules(queues, config, { logger, shutdown })
  await noteLastRun(queues.run, metrics)
  const worker = startBillingWorker({
    ...queueAddress(config),
    lockMs: config.BILLING_LOCK_MS,
    work: {
      run: runWork(dependencies, roundsOf(config), metrics),
      collect: collectWork({ ...connectCollecting(config, { logger, shutdown }), now: Date.now }, metrics)
    },
    onEnd: (end) => noteEnd(end, metrics, logger),
    onError: (error) => logger.warn({ err: error }, 'the worker meets an error and goes on')
  })
  shutdown.add('worker', () => worker.stop())

  // ---- what is told of it
  const health = await startHealthServer({
    host: config.METRICS_HOST,
    port: config.METRICS_PORT,
    checks: {
      postgres: () => stores.rounds.query('ping', { text: 'select 1' }),
      queue: () => queues.run.getWaitingCount(),
      worker: () => worker.assertWell()
    },
    metrics: {
      contentType: registry.contentType,
      metrics: async () => {
        const reading = readStatus(dependencies, metrics, logger)
        await Promise.race([reading, delay(STATUS_WAIT_MS, undefined, { ref: false })])
        return registry.metrics()
      }
    }
  })
  shutdown.add('health', () => health.close())
  logger.info(
    { schedule: config.BILLING_SCHEDULE, timeZone: config.BILLING_TIME_ZONE, metricsPort: health.port },
    'ready'
  )
}

export function billingTerms(config: BillingConfig): BillingTerms {
  return {
    graceMs: config.BILLING_GRACE_MS,
    adjustmentWindowMs: config.BILLING_ADJUSTMENT_DAYS * DAY_MS,
    numberPrefix: config.INVOICE_NUMBER_PREFIX,
    issuer: issuerOf(config),
    asDrafts: config.BILLING_AS_DRAFTS,
    taxes: parseTaxTable(config.BILLING_TAX_RATES)
  }
}

export function queueAddress(config: BillingConfig): QueueAddress {
  return { redisUrl: config.BILLING_REDIS_URL, prefix: config.BILLING_QUEUE_PREFIX }
}

/** What billing needs of the stores and the log; connects when first asked. */
export function connectBilling(
  config: BillingConfig,
  { name, logger }: { readonly name: string; readonly logger: Logger }
) {
  const address = {
    databaseUrl: config.DATABASE_URL,
    applicationName: name,
    statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
  }
  const rounds = new Database({
    ...address,
    role: 'tokenmeter_platform',
    // One more than rounds at once, of the one run that a process has in hand: status and readiness are asked meanwhile.
    connectionsMax: config.BILLING_CONCURRENCY + 1
  })
  const reading = new Database({ ...address, connectionsMax: GATE_CONNECTIONS_MAX })
  const clickhouse = connectClickHouse({ url: config.CLICKHOUSE_URL, database: config.CLICKHOUSE_DATABASE })
  const redis = connectRedis({
    url: config.REDIS_URL,
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    autoPipelining: true
  })
  const kafka = createKafka(kafkaAddress(config), logger)
  const analytics = new ClickHouseBillingUsage(clickhouse)
  const arrivals = new KafkaLogArrivals({ kafka, topic: config.USAGE_TOPIC })
  const gate = new StoresGate({
    log: arrivals,
    ledger: new PostgresGateLedger(reading),
    analytics,
    meter: new RedisMeterReport(new Shards(redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs))),
    clock: { now: Date.now, sleep: (ms) => delay(ms) }
  })
  return {
    store: withCrashPoints('billing', new PostgresBillingStore(rounds), config.CRASH_AT),
    gate: withCrashPoints('gate', gate, config.CRASH_AT),
    analytics,
    arrivals,
    kafka,
    rounds,
    reading,
    close: async () => {
      redis.disconnect()
      await Promise.all([rounds.close(), reading.close(), clickhouse.close()])
    }
  }
}

export function roundsOf(config: BillingConfig): Pick<RunAsk, 'batchSize' | 'concurrency'> {
  return { batchSize: config.BILLING_BATCH_SIZE, concurrency: config.BILLING_CONCURRENCY }
}

async function keepSchedules(
  queues: BillingQueues,
  config: BillingConfig,
  { logger, shutdown }: { readonly logger: Logger; readonly shutdown: Shutdown }
): Promise<void> {
  const schedules: Schedules = {
    runPattern: config.BILLING_SCHEDULE,
    timeZone: config.BILLING_TIME_ZONE,
    collectIntervalMs: config.COLLECT_INTERVAL_MS
  }
  await Promise.all([awaitQueue(queues.run), awaitQueue(queues.collect)])
  await scheduleBilling(queues, schedules)
  const timer = setInterval(async () => {
    try {
      if (await restoreSchedules(queues, schedules))
        logger.warn({}, 'the queue had lost its schedules; they stand again')
    } catch (error) {
      logger.warn({ err: error }, 'schedules could not be looked after; they are looked at again')
    }
  }, SCHEDULES_INTERVAL_MS)
  shutdown.add('schedules', () => clearInterval(timer))
}

function connectCollecting(
  config: BillingConfig,
  { logger, shutdown }: { readonly logger: Logger; readonly shutdown: Shutdown }
): Omit<CollectDependencies & FinishDependencies & PastDueDependencies, 'now'> {
  const entities = new EntityDatabase({
    databaseUrl: config.DATABASE_URL,
    applicationName: NAME,
    connectionsMax: COLLECT_CONNECTIONS_MAX
  })
  shutdown.add('stores of collecting', () => entities.close())
  return {
    collectStore: withCrashPoints('collect', new PostgresCollectStore(entities), config.CRASH_AT),
    overdueSubscriptions: new PostgresOverdueSubscriptions(entities),
    subscriptionStore: new PostgresSubscriptionStore(entities),
    refundStore: new PostgresRefundStore(entities),
    provider: paymentProviderOf(config),
    creditNoteNumberPrefix: config.CREDIT_NOTE_NUMBER_PREFIX,
    onFault: ({ invoiceId, error }) => {
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ invoiceId, err: error }, 'an invoice could not be collected; it comes up again')
    },
    onRefundFault: ({ paymentId, error }) => {
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ paymentId, err: error }, 'a refund could not be finished; it is tried again')
    }
  }
}

function noteEnd(
  { kind, jobId, subscriptionId, outcome, counts, seconds, error }: JobEnd,
  metrics: BillingMetrics,
  logger: Logger
): void {
  countJob(metrics, { kind, outcome, seconds, isOfAll: subscriptionId === null }, Date.now())
  const told = { jobId, ...(subscriptionId === null ? {} : { subscriptionId }), ...counts, seconds }
  if (outcome === 'failed') logger.error({ ...told, err: error }, `a ${kind} job failed; it is not tried again`)
  else if (outcome === 'retried') logger.warn({ ...told, err: error }, `a ${kind} job is tried again after a pause`)
  else if (kind === 'run')
    logger.info(told, outcome === 'returned' ? 'a run is given back, to go on elsewhere' : 'a run has ended')
  else logger.debug(told, 'collected')
}

/** A start is no run: how long ago the last one was outlives this process. */
async function noteLastRun(queue: BillingQueue, metrics: BillingMetrics): Promise<void> {
  const last = await lastRunOfAll(queue)
  metrics.lastRun.set((last?.at ?? Date.now()) / 1_000)
}

async function readStatus(
  { store, terms }: BillingDependencies,
  metrics: BillingMetrics,
  logger: Logger
): Promise<void> {
  const now = Date.now()
  try {
    setBillingStatus(metrics, await store.status(now - terms.graceMs), now)
  } catch (error) {
    logger.debug({ err: error }, 'what is due is not known')
    setBillingStatus(metrics, null, now)
  }
}

if (import.meta.main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : error)
    process.exit(1)
  }
}
