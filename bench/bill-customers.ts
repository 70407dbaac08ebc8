/**
 * `npm run bench:billing [-- --customers 100000] [--json]`: bills so many customers for a month, through the gate, on the real services.
 * Customers, periods and usage are written straight into the stores, the same usage into ledger and ClickHouse. Measured is what
 * comes after: invoices a second, statements to Postgres for each invoice, and the memory of this process on the way.
 */
import { Command } from 'commander'
import { Client } from 'pg'
import { billDue } from '../billing-job/bill-due.ts'
import { billingTerms, connectBilling, loadBillingConfig } from '../billing-job/main.ts'
import { connectClickHouse } from '../clickhouse/connect.ts'
import { createLogger } from '../monitoring/logger.ts'
import { Database, LONG_STATEMENT_TIMEOUT_MS } from '../sql/connect.ts'
import { makeInstallation } from '../stack/installation/make-installation.ts'
import { createProgress } from '../stack/machine/progress.ts'
import { planProcesses } from '../stack/processes.ts'
import { startServices } from '../stack/services.ts'
import { type ProcessDefinition, Supervisor } from '../stack/supervisor.ts'

const NAME = 'tokenmeter-bench'
/** Of the period that is billed, which begins at this instant in UTC. */
const PERIOD = { start: '2026-09-01T00:00:00Z', end: '2026-10-01T00:00:00Z', next: '2026-11-01T00:00:00Z' }
const AS_OF = Date.parse('2026-10-01T06:00:00Z')
/** Of each customer: two models, three quarter-hours. */
const ROWS_EACH = 6
const SAMPLE_MS = 500
const MIB = 1024 ** 2

export async function benchBilling(): Promise<void> {
  const { customers, json } = new Command('bench:billing')
    .option('--customers <number>', 'how many are billed', (text) => Number.parseInt(text, 10), 100_000)
    .option('--json', 'one JSON object at the end')
    .parse()
    .opts<{ customers: number; json?: boolean }>()
  const progress = createProgress()
  const services = await startServices({ onProgress: progress })
  try {
    const installation = await makeInstallation(services.urls, 'bench')
    try {
      const { definitions } = await planProcesses(services.urls, installation.environment)
      const consumers = definitions.filter(({ name }) => name === 'meter' || name === 'analytics')
      const result = await measure({ environment: installation.environment, consumers, customers, progress })
      console.log(json ? JSON.stringify(result) : describe(result))
    } finally {
      await installation.remove()
    }
  } finally {
    await services.stop()
  }
}

interface Measuring {
  readonly environment: Readonly<Record<string, string>>
  /** What the gate needs besides stores: a meter that knows, analytics that has caught up. */
  readonly consumers: ProcessDefinition[]
  readonly customers: number
  readonly progress: (line: string) => void
}

type Result = Awaited<ReturnType<typeof measure>>

async function measure({ environment, consumers, customers, progress }: Measuring) {
  const supervisor = new Supervisor({ definitions: consumers, onLine: () => undefined })
  try {
    for (const { name } of consumers) supervisor.start(name)
    await Promise.all(consumers.map(({ name }) => supervisor.waitReady(name)))
    progress('meter and analytics run; writing the customers')
    await writeCustomers(environment, customers)
    progress(`${customers} customers with ${customers * ROWS_EACH} rows of the ledger; billing them`)
    return { customers, ...(await bill(environment)) }
  } finally {
    await supervisor.stopAll()
  }
}

async function bill(environment: Readonly<Record<string, string>>) {
  Object.assign(process.env, environment)
  const config = loadBillingConfig()
  const stores = connectBilling(config, { name: NAME, logger: createLogger({ name: NAME, level: 'error' }) })
  const statements = countStatements()
  const memory = sampleMemory()
  const startedAt = performance.now()
  try {
    const outcome = await billDue(
      { ...stores, terms: billingTerms(config), now: () => AS_OF },
      {
        batchSize: config.BILLING_BATCH_SIZE,
        concurrency: config.BILLING_CONCURRENCY,
        subscriptionId: null,
        onProgress: () => undefined,
        isStopped: () => false
      }
    )
    const seconds = (performance.now() - startedAt) / 1_000
    return {
      ...outcome,
      seconds: Math.round(seconds * 10) / 10,
      invoicesPerSecond: Math.round(outcome.invoiced / seconds),
      statementsPerInvoice: Math.round((statements() / outcome.invoiced) * 1_000) / 1_000,
      memoryMiB: memory()
    }
  } finally {
    await stores.close()
  }
}

/** Every statement of this process, begin and commit too. */
function countStatements(): () => number {
  let count = 0
  const { query } = Client.prototype
  Client.prototype.query = new Proxy(query, {
    apply(target, self, args) {
      count++
      return Reflect.apply(target, self, args)
    }
  })
  return () => {
    Client.prototype.query = query
    return count
  }
}

/** Resident memory at the first tenth, at the half and at the end of the way, and the most there was. */
function sampleMemory(): () => {
  readonly early: number
  readonly half: number
  readonly end: number
  readonly most: number
} {
  const samples: number[] = []
  const timer = setInterval(() => samples.push(Math.round(process.memoryUsage.rss() / MIB)), SAMPLE_MS)
  return () => {
    clearInterval(timer)
    const at = (share: number) => samples[Math.floor((samples.length - 1) * share)] ?? 0
    return { early: at(0.1), half: at(0.5), end: at(1), most: Math.max(...samples) }
  }
}

async function writeCustomers(
  { DATABASE_URL, CLICKHOUSE_URL, CLICKHOUSE_DATABASE }: Readonly<Record<string, string>>,
  customers: number
): Promise<void> {
  const database = new Database({
    databaseUrl: DATABASE_URL ?? '',
    applicationName: NAME,
    role: 'login',
    statementTimeoutMs: LONG_STATEMENT_TIMEOUT_MS
  })
  for (const text of POSTGRES_ROWS)
    await database.query('write customers', { text: text.replaceAll(':customers', String(customers)) })
  await database.close()
  const clickhouse = connectClickHouse({ url: CLICKHOUSE_URL ?? '', database: CLICKHOUSE_DATABASE ?? '' })
  await clickhouse.command({ query: CLICKHOUSE_ROWS.replaceAll(':customers', String(customers)) })
  await clickhouse.close()
}

const PRICES = JSON.stringify(
  ['input', 'output'].map((pool, i) => ({
    pool,
    model: '*',
    chargeModel: 'graduated',
    perTokens: 1_000_000,
    tiers: [
      { upTo: 1_000_000, amount: String(3 + i) },
      { upTo: null, amount: '2.5' }
    ],
    includedTokens: 100_000,
    minimumMinor: '0',
    effectiveFrom: null
  }))
)

const POSTGRES_ROWS = [
  `insert into plan_version (id, code, version, status, title, currency, billing_interval, base_fee_minor, trial_days, prices, limits,
                             revision, created_at, updated_at, published_at)
   values ('plan', 'bench', 1, 'published', 'Bench', 'EUR', 'month', 2900, 0, '${PRICES}', '[]', 1, now(), now(), now())`,
  `insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, payment_terms_days, contacts, metadata,
                         version, created_at, updated_at)
   select 'customer-' || n, 'sme', 'active', 'Customer ' || n, 'FR', 'EUR', 'UTC', 'fr', 'FR' || n, 30, '[]', '{}', 1, now(), now()
     from generate_series(1, :customers) as n`,
  `insert into subscription (id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start, period_end, renew_at, version,
                             created_at, updated_at)
   select 'subscription-' || n, 'customer-' || n, 'plan', 'active', '2026-09-01', 'month', 'UTC', '${PERIOD.end}', '${PERIOD.next}',
          '${PERIOD.next}', 2, '${PERIOD.start}', now()
     from generate_series(1, :customers) as n`,
  `insert into subscription_period (subscription_id, customer_id, starts_at, ends_at, full_end, follows, plan_id, time_zone, is_trial, status)
   select 'subscription-' || n, 'customer-' || n, '${PERIOD.start}', '${PERIOD.end}', '${PERIOD.end}', null, 'plan', 'UTC', false, 'closed'
     from generate_series(1, :customers) as n`,
  `insert into subscription_period (subscription_id, customer_id, starts_at, ends_at, full_end, follows, plan_id, time_zone, is_trial, status)
   select 'subscription-' || n, 'customer-' || n, '${PERIOD.end}', '${PERIOD.next}', '${PERIOD.next}', '${PERIOD.end}', 'plan', 'UTC',
          false, 'open'
     from generate_series(1, :customers) as n`,
  `insert into subscription_change (subscription_id, customer_id, changed_at, from_plan_id, to_plan_id, to_status, reason)
   select 'subscription-' || n, 'customer-' || n, '${PERIOD.start}', 'plan', 'plan', 'active', 'created'
     from generate_series(1, :customers) as n`,
  `insert into billing_boundary (subscription_id, boundary, customer_id, kind, state, due_at)
   select 'subscription-' || n, '${PERIOD.end}', 'customer-' || n, 'period', 'due', '${PERIOD.end}'
     from generate_series(1, :customers) as n`,
  `insert into usage_ledger (partition, customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events)
   select 0, 'customer-' || n, 'user', 'model-' || r % 2, ${Date.parse(PERIOD.start) / 900_000} + 100 * (r / 2 + 1), 1000 * n + r, 0, 0, 500 * n, 0, 1
     from generate_series(1, :customers) as n, generate_series(0, ${ROWS_EACH - 1}) as r`,
  'analyze'
]

const CLICKHOUSE_ROWS = `
  insert into usage_quarter_hour (customer_id, quarter_start, user_id, model, input, cache_read, cache_write, output, reasoning, events)
  select concat('customer-', toString(n)), toDateTime(${Date.parse(PERIOD.start) / 1_000} + 90000 * (intDiv(r, 2) + 1), 'UTC'), 'user',
         concat('model-', toString(r % 2)), 1000 * n + r, 0, 0, 500 * n, 0, 1
    from (select number % ${ROWS_EACH} as r, intDiv(number, ${ROWS_EACH}) + 1 as n from numbers(:customers * ${ROWS_EACH}))`

function describe({ memoryMiB, ...result }: Result): string {
  return [
    `${result.invoiced} of ${result.customers} customers invoiced in ${result.seconds} s: ${result.invoicesPerSecond} invoices/s`,
    `${result.empty} empty, ${result.parked} parked`,
    `${result.statementsPerInvoice} statements to Postgres an invoice`,
    `memory: ${memoryMiB.early} MiB early, ${memoryMiB.half} at the half, ${memoryMiB.end} at the end, ${memoryMiB.most} at most`
  ].join('\n')
}
