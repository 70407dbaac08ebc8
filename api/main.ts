/**
 * The API process: configuration, clients, adapters, app, listen. Nothing is connected to before it is needed, so that the
 * process starts and tells of itself while a service is away. `--validate` checks the configuration and ends.
 */
import { openBillingQueues } from '../billing-job/queues.ts'
import { connectClickHouse } from '../clickhouse/connect.ts'
import { ClickHouseLineEvents } from '../clickhouse/line-events.ts'
import { ClickHouseUsageQueries } from '../clickhouse/usage-queries.ts'
import { parseTaxTable } from '../domain/billing/tax-table.ts'
import { SeenUsers } from '../domain/customers/user-activity.ts'
import { DEFAULT_DECODE_LIMITS } from '../domain/tokens/decode-cloud-event.ts'
import { encodeUsageEvent } from '../ingest/encode-usage-event.ts'
import { createKafka, kafkaAddress } from '../ingest/kafkajs/kafka-client.ts'
import { KafkaUsageEventLog } from '../ingest/usage-producer.ts'
import { resolveBySystem } from '../ingest/webhooks/post-webhook.ts'
import { connectRedis } from '../meter/connect.ts'
import { RedisQuotaMeter } from '../meter/quota-meter.ts'
import { installationOf, Shards } from '../meter/shards.ts'
import { accessVariables } from '../monitoring/access/config.ts'
import { billingVariables, issuerOf, issuerVariables, paymentVariables } from '../monitoring/billing/config.ts'
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
import {
  countInFlight,
  createApiMetrics,
  createRegistry,
  observeAnswer,
  setActiveUsers
} from '../monitoring/metrics.ts'
import { ActivityNotes } from '../monitoring/note-activity.ts'
import { observePools } from '../monitoring/observe-pools.ts'
import { Shutdown } from '../monitoring/shutdown.ts'
import { webhookVariables } from '../monitoring/webhooks/config.ts'
import packageJson from '../package.json' with { type: 'json' }
import { paymentProviderOf } from '../payments/configured-provider.ts'
import { PostgresBillingStore } from '../sql/billing/billing-store.ts'
import { PostgresCreditNoteStore } from '../sql/billing/credit-note-store.ts'
import { PostgresInvoiceStore } from '../sql/billing/invoice-store.ts'
import { PostgresLineLedger } from '../sql/billing/line-ledger.ts'
import { PostgresCollectStore } from '../sql/billing/payments/collect-store.ts'
import { PostgresPaymentAccountStore } from '../sql/billing/payments/payment-account-store.ts'
import { PostgresPaymentStore } from '../sql/billing/payments/payment-store.ts'
import { PostgresRefundStore } from '../sql/billing/payments/refund-store.ts'
import { PostgresAuditStore } from '../sql/change/audit-store.ts'
import { PostgresIdempotencyStore } from '../sql/change/idempotency-store.ts'
import { Database } from '../sql/connect.ts'
import { EntityDatabase } from '../sql/connect-slonik.ts'
import { PostgresApiKeyStore } from '../sql/customers/api-key-store.ts'
import { PostgresCustomerStore } from '../sql/customers/customer-store.ts'
import { PostgresUserActivity } from '../sql/customers/user-activity.ts'
import { PostgresUserStore } from '../sql/customers/user-store.ts'
import { PostgresLimitStore } from '../sql/limit-store.ts'
import { PostgresEffectiveLimits } from '../sql/subscriptions/effective-limits.ts'
import { PostgresGrantStore } from '../sql/subscriptions/grant-store.ts'
import { PostgresPlanStore } from '../sql/subscriptions/plan-store.ts'
import { PostgresSubscriptionStore } from '../sql/subscriptions/subscription-store.ts'
import { PostgresWebhookDeliveryLog } from '../sql/webhooks/delivery-log.ts'
import { PostgresWebhookEndpointStore } from '../sql/webhooks/endpoint-store.ts'
import { parseApiKeys } from './access/configured-keys.ts'
import { tokenRulesOf, tokenVerifier } from './access/verify-token.ts'
import type { AccessSettings, ApiDependencies, ApiObserver, InvoicingTerms } from './api-dependencies.ts'
import { buildApp } from './app.ts'
import { answerForgetting } from './changes/forget-answers.ts'
import { LateUsageEventLog } from './late-usage-event-log.ts'
import { readinessOf } from './readiness.ts'
import { limitRefresh, limitRenewal } from './renew-limits.ts'
import { subscriptionRenewal } from './subscriptions/renew-subscriptions.ts'

const NAME = 'tokenmeter-api'
const DAY_MS = 86_400_000
/** Mean delay of the event loop within a second; beyond it, a request would wait longer than its caller. */
const EVENT_LOOP_DELAY_MAX_MS = 1_000
/** Previews and explanations of lines: reads of one subscription each. */
const BILLING_CONNECTIONS_MAX = 2
const FRAGMENTS = [
  processVariables,
  apiVariables,
  accessVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  clickhouseVariables,
  webhookVariables,
  billingVariables,
  issuerVariables,
  paymentVariables
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
  const rounds = {
    'renewal of limits': limitRenewal(dependencies),
    'renewal of subscriptions': subscriptionRenewal(dependencies),
    'forgetting of answers': answerForgetting(dependencies)
  }
  for (const [name, running] of Object.entries(rounds)) {
    running.start()
    shutdown.add(name, () => running.stop())
  }
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
  const stores = storesOn(database, meter)
  const billing = billingOn(config, shutdown)
  const clickhouse = connectClickHouse({ url: config.CLICKHOUSE_URL, database: config.CLICKHOUSE_DATABASE })
  shutdown.add('clickhouse', () => clickhouse.close())
  const kafka = createKafka(kafkaAddress(config), logger)
  const usageEventLog = new LateUsageEventLog(() =>
    KafkaUsageEventLog.connect({ kafka, topic: config.USAGE_TOPIC, encode: encodeUsageEvent })
  )
  shutdown.add('kafka', () => usageEventLog.close())
  const jobQueues = jobQueuesOn(config, { logger, shutdown })
  const registry = createRegistry('api')
  const metrics = createApiMetrics(registry)
  const seenUsers = new SeenUsers()
  const notes = new ActivityNotes({
    seen: seenUsers,
    activity: new PostgresUserActivity(database),
    logger,
    tell: (users) => setActiveUsers(metrics, users)
  })
  shutdown.add('seen users', () => notes.stop())
  observePools(registry, { entities: () => database.state(), billing: billing.state })
  const checks = {
    redis: () => redis.ping(),
    // A look-up by key of a customer nobody can have.
    postgres: () => stores.limitStore.find(''),
    clickhouse: () => answered(clickhouse.ping()),
    kafka: () => usageEventLog.connected()
  }
  return {
    version: packageJson.version,
    quotaMeter: meter,
    limitMeter: meter,
    ...stores,
    seenUsers,
    jobQueues,
    billingStories: billing.stories,
    lineEvents: new ClickHouseLineEvents(clickhouse),
    invoicing: invoicingOf(config),
    paymentProvider: paymentProviderOf(config),
    usageQueries: new ClickHouseUsageQueries(clickhouse),
    usageEventLog,
    access: accessOf(config),
    webhookUrls: { allowPrivate: config.WEBHOOK_ALLOW_PRIVATE, resolveHost: resolveBySystem },
    decodeLimits: { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS },
    now: Date.now,
    logger,
    readiness: readinessOf(checks, () => shutdown.isBegun),
    metrics: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    observer: observerOf(metrics),
    corsOrigins: config.API_CORS_ORIGINS,
    eventLoopDelayMaxMs: EVENT_LOOP_DELAY_MAX_MS
  }
}

function jobQueuesOn(config: Config, { logger, shutdown }: Process) {
  const { run, collect } = openBillingQueues(
    { redisUrl: config.BILLING_REDIS_URL, prefix: config.BILLING_QUEUE_PREFIX },
    // It is there to be looked at: nothing of the API waits for it.
    (error) => logger.debug({ err: error }, 'a job queue is away')
  )
  shutdown.add('job queues', () => Promise.all([run.close(), collect.close()]))
  return [run, collect]
}

function billingOn({ DATABASE_URL: databaseUrl }: Config, shutdown: Shutdown) {
  const database = new Database({
    databaseUrl,
    applicationName: NAME,
    connectionsMax: BILLING_CONNECTIONS_MAX,
    role: 'tokenmeter_platform'
  })
  shutdown.add('postgres for billing', () => database.close())
  return { stories: new PostgresBillingStore(database), state: () => database.state() }
}

function storesOn(database: EntityDatabase, limitMeter: RedisQuotaMeter) {
  const limitStore = new PostgresLimitStore(database)
  const effectiveLimits = new PostgresEffectiveLimits(database)
  const auditStore = new PostgresAuditStore(database)
  return {
    limitStore,
    effectiveLimits,
    limitRefresh: limitRefresh({ effectiveLimits, limitMeter, limitStore, now: Date.now }),
    grantStore: new PostgresGrantStore(database),
    customerStore: new PostgresCustomerStore(database),
    userStore: new PostgresUserStore(database),
    planStore: new PostgresPlanStore(database),
    subscriptionStore: new PostgresSubscriptionStore(database),
    invoiceStore: new PostgresInvoiceStore(database),
    creditNoteStore: new PostgresCreditNoteStore(database),
    lineLedger: new PostgresLineLedger(database),
    paymentStore: new PostgresPaymentStore(database),
    refundStore: new PostgresRefundStore(database),
    paymentAccountStore: new PostgresPaymentAccountStore(database),
    collectStore: new PostgresCollectStore(database),
    apiKeyStore: new PostgresApiKeyStore(database),
    auditSearch: auditStore,
    auditEraser: auditStore,
    webhookEndpointStore: new PostgresWebhookEndpointStore(database),
    webhookDeliveryLog: new PostgresWebhookDeliveryLog(database),
    idempotencyStore: new PostgresIdempotencyStore(database)
  }
}

function accessOf(config: Config): AccessSettings {
  const rules = tokenRulesOf(config)
  return {
    configuredKeys: parseApiKeys(config.API_KEYS),
    tokens: rules === null ? null : tokenVerifier(rules),
    cacheMs: config.AUTH_CACHE_MS,
    keyEnvironment: config.API_KEY_ENVIRONMENT,
    requestsPerMinute: config.API_RATE_LIMIT_PER_MINUTE,
    trustedProxies: config.API_TRUSTED_PROXIES
  }
}

function invoicingOf(config: Config): InvoicingTerms {
  return {
    issuer: issuerOf(config),
    numberPrefix: config.INVOICE_NUMBER_PREFIX,
    creditNoteNumberPrefix: config.CREDIT_NOTE_NUMBER_PREFIX,
    taxes: parseTaxTable(config.BILLING_TAX_RATES),
    adjustmentWindowMs: config.BILLING_ADJUSTMENT_DAYS * DAY_MS
  }
}

function observerOf(metrics: ReturnType<typeof createApiMetrics>): ApiObserver {
  return {
    arrived: (response) => countInFlight(metrics, response),
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
