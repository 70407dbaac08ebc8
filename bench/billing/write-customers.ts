/** Customers whose month is over, written straight into the stores: the same usage into ledger and ClickHouse, and nothing invoiced. */
import type { ClickHouseClient } from '@clickhouse/client'
import type { Database } from '../../sql/connect.ts'

export interface BilledStores {
  /** As who made the database, with time for statements over everybody. */
  readonly database: Database
  readonly clickhouse: ClickHouseClient
}

/** Customers that are billed together. Those of one place have the same usage in every crowd, and so the same invoice. */
export interface Crowd {
  /** Stands in their ids. */
  readonly name: string
  readonly customers: number
}

/** Of the period that is billed, which begins at this instant in UTC. */
const PERIOD = { start: '2026-09-01T00:00:00Z', end: '2026-10-01T00:00:00Z', next: '2026-11-01T00:00:00Z' }
/** Hours after its end: the grace is over. */
export const BILLED_AT = Date.parse('2026-10-01T06:00:00Z')
/** Of each customer: two models, three quarter-hours. */
export const LEDGER_ROWS_EACH = 6

export async function writeCustomers({ database, clickhouse }: BilledStores, crowd: Crowd): Promise<void> {
  await database.query('write the plan', { text: PLAN_ROW })
  const values = [crowd.name, crowd.customers]
  for (const text of CROWD_ROWS) await database.query(`write ${crowd.customers} customers`, { text, values })
  await database.query('tell the planner of them', { text: 'analyze' })
  await clickhouse.command({ query: CLICKHOUSE_ROWS, query_params: { ...crowd } })
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

const PLAN_ROW = `
  insert into plan_version (id, code, version, status, title, currency, billing_interval, base_fee_minor, trial_days, prices, limits,
                            revision, created_at, updated_at, published_at)
  values ('plan', 'bench', 1, 'published', 'Bench', 'EUR', 'month', 2900, 0, '${PRICES}', '[]', 1, now(), now(), now())
  on conflict do nothing`

const EACH = 'from generate_series(1, $2::integer) as n'
const CUSTOMER_ID = `'customer-' || $1::text || '-' || n`
const SUBSCRIPTION_ID = `'subscription-' || $1::text || '-' || n`

const CROWD_ROWS = [
  `insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, payment_terms_days, contacts, metadata,
                         version, created_at, updated_at)
   select ${CUSTOMER_ID}, 'sme', 'active', 'Customer ' || n, 'FR', 'EUR', 'UTC', 'fr', 'FR' || n, 30, '[]', '{}', 1, now(), now() ${EACH}`,
  `insert into subscription (id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start, period_end, renew_at, version,
                             created_at, updated_at)
   select ${SUBSCRIPTION_ID}, ${CUSTOMER_ID}, 'plan', 'active', '2026-09-01', 'month', 'UTC', '${PERIOD.end}', '${PERIOD.next}',
          '${PERIOD.next}', 2, '${PERIOD.start}', now() ${EACH}`,
  `insert into subscription_period (subscription_id, customer_id, starts_at, ends_at, full_end, follows, plan_id, time_zone, is_trial, status)
   select ${SUBSCRIPTION_ID}, ${CUSTOMER_ID}, '${PERIOD.start}', '${PERIOD.end}', '${PERIOD.end}', null, 'plan', 'UTC', false, 'closed' ${EACH}`,
  `insert into subscription_period (subscription_id, customer_id, starts_at, ends_at, full_end, follows, plan_id, time_zone, is_trial, status)
   select ${SUBSCRIPTION_ID}, ${CUSTOMER_ID}, '${PERIOD.end}', '${PERIOD.next}', '${PERIOD.next}', '${PERIOD.end}', 'plan', 'UTC', false,
          'open' ${EACH}`,
  `insert into subscription_change (subscription_id, customer_id, changed_at, from_plan_id, to_plan_id, to_status, reason)
   select ${SUBSCRIPTION_ID}, ${CUSTOMER_ID}, '${PERIOD.start}', 'plan', 'plan', 'active', 'created' ${EACH}`,
  `insert into billing_boundary (subscription_id, boundary, customer_id, kind, state, due_at)
   select ${SUBSCRIPTION_ID}, '${PERIOD.end}', ${CUSTOMER_ID}, 'period', 'due', '${PERIOD.end}' ${EACH}`,
  `insert into usage_ledger (partition, customer_id, user_id, model, quarter, input, cache_read, cache_write, output, reasoning, events)
   select 0, ${CUSTOMER_ID}, 'user', 'model-' || r % 2, ${Date.parse(PERIOD.start) / 900_000} + 100 * (r / 2 + 1), 1000 * n + r, 0, 0, 500 * n, 0, 1
     ${EACH}, generate_series(0, ${LEDGER_ROWS_EACH - 1}) as r`
]

const CLICKHOUSE_ROWS = `
  insert into usage_quarter_hour (customer_id, quarter_start, user_id, model, input, cache_read, cache_write, output, reasoning, events)
  select concat('customer-', {name:String}, '-', toString(n)),
         toDateTime(${Date.parse(PERIOD.start) / 1_000} + 90000 * (intDiv(r, 2) + 1), 'UTC'), 'user',
         concat('model-', toString(r % 2)), 1000 * n + r, 0, 0, 500 * n, 0, 1
    from (select number % ${LEDGER_ROWS_EACH} as r, intDiv(number, ${LEDGER_ROWS_EACH}) + 1 as n
            from numbers({customers:UInt64} * ${LEDGER_ROWS_EACH}))`
