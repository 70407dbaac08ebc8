/** `npm run reconcile [-- --json]`: holds log, ledger, ClickHouse and Redis against each other. Exit code 1 on drift. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { ClickHouseUsageReport } from '../../clickhouse/usage-report.ts'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { installationOf, Shards } from '../../meter/shards.ts'
import {
  clickhouseVariables,
  eventVariables,
  kafkaVariables,
  meterVariables,
  postgresVariables,
  processVariables
} from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../../sql/connect.ts'
import { PostgresReconciliation } from '../../sql/reconciliation.ts'
import { decodeUsageEvent } from '../decode-usage-event.ts'
import { createKafka, kafkaAddress } from '../kafkajs/kafka-client.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'
import { type CustomerSums, type Reconciliation, reconcile } from '../reconcile.ts'

const APPLICATION = 'tokenmeter-reconcile'
/** How long ClickHouse may take to catch up with the ledger before its lag is reported as such. */
const ANALYTICS_TIMEOUT_MS = 60_000
const LOOK_INTERVAL_MS = 500

/** The stores as the environment says where they are. */
export async function reconcileStores(environment: NodeJS.ProcessEnv = process.env): Promise<Reconciliation> {
  const config = loadConfig(
    [processVariables, kafkaVariables, eventVariables, meterVariables, postgresVariables, clickhouseVariables],
    environment
  )
  const logger = createLogger({ name: APPLICATION, level: 'error' })
  const kafka = createKafka(kafkaAddress(config), logger)
  const log = new KafkaLogReader({ kafka, topic: config.USAGE_TOPIC, groupIdPrefix: APPLICATION, logger })
  const database = new Database({
    databaseUrl: config.DATABASE_URL,
    applicationName: APPLICATION,
    statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
  })
  const clickhouse = connectClickHouse({ url: config.CLICKHOUSE_URL, database: config.CLICKHOUSE_DATABASE })
  const redis = connectRedis({
    url: config.REDIS_URL,
    commandTimeoutMs: config.REDIS_COMMAND_TIMEOUT_MS,
    autoPipelining: true
  })
  const ledger = new PostgresReconciliation(database)
  const analytics = new ClickHouseUsageReport(clickhouse)
  const meter = new RedisMeterReport(new Shards(redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs)))
  const decodeLimits = { ...DEFAULT_DECODE_LIMITS, acceptanceWindowMs: config.ACCEPTANCE_WINDOW_MS }
  try {
    return await reconcile({
      log,
      decode: (record) => decodeUsageEvent(record, decodeLimits),
      ledgerAndLog: (sumLog) => ledger.ledgerAndLog(sumLog),
      awaitAnalytics: (cursors) => awaitAnalytics(ledger, cursors),
      clickHouseDays: (cursors) => analytics.usageDaysThrough(byPartition(cursors)),
      meterCustomer: (customerId) => meter.customer(customerId),
      ledgerRows: (customerId) => ledger.customerRows(customerId),
      pause: () => sleep(LOOK_INTERVAL_MS),
      now: Date.now
    })
  } finally {
    redis.disconnect()
    await Promise.all([log.close(), database.close(), clickhouse.close()])
  }
}

async function awaitAnalytics(ledger: PostgresReconciliation, cursors: ReadonlyMap<number, number>): Promise<boolean> {
  const deadline = Date.now() + ANALYTICS_TIMEOUT_MS
  for (;;) {
    const done = await ledger.analyticsDone()
    if ([...cursors].every(([partition, cursor]) => (done.get(partition) ?? 0) >= cursor)) return true
    if (Date.now() > deadline) return false
    await sleep(LOOK_INTERVAL_MS)
  }
}

function byPartition(cursors: ReadonlyMap<number, number>): readonly number[] {
  const last = Math.max(-1, ...cursors.keys())
  return Array.from({ length: last + 1 }, (_, partition) => cursors.get(partition) ?? 0)
}

export async function runReconcileCommand(args: readonly string[]): Promise<void> {
  const program = new Command('reconcile')
    .description('hold log, ledger, ClickHouse and Redis against each other; exit code 1 on drift')
    .option('--json', 'one JSON object instead of a table')
    .action(async ({ json }: { json?: boolean }) => {
      const result = await reconcileStores()
      console.log(json ? JSON.stringify(toJson(result)) : describe(result).join('\n'))
      if (result.differences.length > 0 || !result.analyticsCaughtUp) process.exitCode = 1
    })
  await program.parseAsync([...args], { from: 'user' })
}

/** Sums are decimal digits: they may pass 2^53. */
function toJson(result: Reconciliation): object {
  return {
    drift: result.differences.length,
    differences: result.differences,
    customers: result.customers.map((customer) => ({
      customerId: customer.customerId,
      log: String(customer.log),
      ledger: String(customer.ledger),
      clickhouse: String(customer.clickhouse),
      redis: customer.redis === null ? null : String(customer.redis)
    })),
    seeding: result.seeding,
    withoutLimits: result.withoutLimits,
    analyticsCaughtUp: result.analyticsCaughtUp
  }
}

function describe(result: Reconciliation): string[] {
  const lines = [row('customer', ['log', 'ledger', 'clickhouse', 'redis'])]
  for (const customer of result.customers) lines.push(row(customer.customerId, sumsOf(customer)))
  if (result.withoutLimits.length > 0)
    lines.push('', `without limits, so unknown to checks: ${result.withoutLimits.join(', ')}`)
  if (result.seeding.length > 0) lines.push('', `still seeding, not compared with Redis: ${result.seeding.join(', ')}`)
  if (!result.analyticsCaughtUp) lines.push('', 'ClickHouse lags behind the ledger: what differs there may be lag')
  lines.push('', `${result.customers.length} customers, ${result.differences.length} differences`)
  for (const { customerId, day, what, ledger, other } of result.differences) {
    lines.push(`  ${customerId} ${day ?? 'all time'}: ledger ${ledger}, ${what} ${other}`)
  }
  return lines
}

function sumsOf({ log, ledger, clickhouse, redis }: CustomerSums): string[] {
  return [String(log), String(ledger), String(clickhouse), redis === null ? 'unknown' : String(redis)]
}

function row(name: string, cells: readonly string[]): string {
  return [name.padEnd(28), ...cells.map((cell) => cell.padStart(16))].join(' ')
}
