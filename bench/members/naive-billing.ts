/**
 * The billing job that comes to mind first: what is due is listed once, and then each customer has its turn. Postgres is asked who it
 * is, for its plan and for what it used; ClickHouse is asked for the same sums; where they agree, an invoice and its lines are written in
 * a transaction with the boundary that they bill. So far it promises what the product does: each boundary once, gapless numbers,
 * nobody billed whose stores differ; and both rate by the same rules. It leaves out what the product does besides: whether the ledger
 * has everything that arrived, the meter's opinion, changes of plan, late usage, grants and credit, the audit trail and events.
 */
import { randomUUIDv7 } from 'node:crypto'
import { type ClickHouseClient, createClient } from '@clickhouse/client'
import { Client } from 'pg'
import type { RoundOutcome } from '../../domain/billing/invoices/billing-store.ts'
import type { BoundaryStory, StretchUsage } from '../../domain/billing/invoices/boundary-story.ts'
import { draftInvoice } from '../../domain/billing/invoices/draft-invoice.ts'
import type { Invoice, Issuer } from '../../domain/billing/invoices/invoice.ts'
import { invoiceToJson, lineToJson, totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { draftOf, finalizeInvoice, numberOf } from '../../domain/billing/invoices/issue-invoice.ts'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { CUSTOMER_ROW, toCustomer } from '../../sql/customers/customer-row.ts'
import { msColumn } from '../../sql/encoding/instant.ts'
import { type LedgerColumns, toLedgerRows } from '../../sql/encoding/ledger-rows.ts'
import { PLAN_ROW, toPlan } from '../../sql/subscriptions/plan-row.ts'
import type { BillingJob } from '../billing/monthly-run.ts'

export interface NaiveBilling {
  readonly databaseUrl: string
  readonly clickhouseUrl: string
  readonly clickhouseDatabase: string
  readonly numberPrefix: string
  readonly issuer: Issuer
  /** ms: when the invoices are issued. */
  readonly now: number
}

interface Stores {
  readonly postgres: Client
  readonly clickhouse: ClickHouseClient
}

/** It ends where the stores differ. */
export function openNaiveBilling(terms: NaiveBilling): BillingJob {
  const postgres = new Client({ connectionString: terms.databaseUrl, options: '-c role=tokenmeter_platform' })
  const clickhouse = createClient({ url: terms.clickhouseUrl, database: terms.clickhouseDatabase })
  return {
    bill: async () => {
      await postgres.connect()
      return billOneByOne({ postgres, clickhouse }, terms)
    },
    close: async () => {
      await Promise.all([postgres.end(), clickhouse.close()])
    }
  }
}

async function billOneByOne({ postgres, clickhouse }: Stores, terms: NaiveBilling): Promise<RoundOutcome> {
  const { rows } = await postgres.query<{ subscription_id: string; customer_id: string; at: number }>(
    `select subscription_id, customer_id, ${msColumn('at', 'boundary')}
       from billing_boundary where state = 'due' order by due_at, subscription_id`
  )
  for (const { subscription_id: subscriptionId, customer_id: customerId, at } of rows) {
    const story = await tellStory(postgres, { subscriptionId, customerId, at })
    const usage = [await readUsage({ postgres, clickhouse }, story)]
    const drafted = draftInvoice({ story, usage, taxRates: { 'base-fee': null, usage: null, minimum: null } })
    if (!('content' in drafted) || drafted.content === null) throw new Error(`nothing to invoice of ${customerId}`)
    await writeInvoice(postgres, draftOf({ id: randomUUIDv7(), content: drafted.content, now: terms.now }), terms)
  }
  return { invoiced: rows.length, empty: 0, parked: 0 }
}

async function tellStory(postgres: Client, boundary: BoundaryStory['boundary']): Promise<BoundaryStory> {
  const customers = await postgres.query(
    `select id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
            contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version,
            ${msColumn('created_at')}, ${msColumn('updated_at')}
       from customer where id = $1`,
    [boundary.customerId]
  )
  const plans = await postgres.query(
    `select plan.id, plan.code, plan.version, plan.status, plan.title, plan.currency, plan.billing_interval,
            plan.base_fee_minor::text as base_fee_minor, plan.trial_days, plan.only_for, plan.prices, plan.limits, plan.revision,
            ${msColumn('created_at', 'plan.created_at')}, ${msColumn('updated_at', 'plan.updated_at')},
            ${msColumn('published_at', 'plan.published_at')}
       from subscription join plan_version as plan on plan.id = subscription.plan_id
      where subscription.id = $1`,
    [boundary.subscriptionId]
  )
  const periods = await postgres.query<{ starts: number; ends: number; time_zone: string }>(
    `select ${msColumn('starts', 'starts_at')}, ${msColumn('ends', 'ends_at')}, time_zone
       from subscription_period where subscription_id = $1 order by starts_at`,
    [boundary.subscriptionId]
  )
  const plan = toPlan(PLAN_ROW.parse(plans.rows[0]))
  const [ended, begins] = periods.rows.map(({ starts, ends, time_zone: timeZone }) => {
    return { start: starts, end: ends, fullEnd: ends, planId: plan.id, timeZone, isTrial: false }
  })
  if (ended === undefined || begins === undefined) throw new Error(`no periods of ${boundary.subscriptionId}`)
  const held = { fromPlanId: plan.id, toPlanId: plan.id, toStatus: 'active', reason: 'created' } as const
  return {
    boundary,
    customer: toCustomer(CUSTOMER_ROW.parse(customers.rows[0])),
    ended,
    begins,
    advance: null,
    earlier: [],
    changes: [{ at: ended.start, ...held }],
    plans: new Map([[plan.id, plan]]),
    grants: []
  }
}

/** Throws when the stores differ. */
async function readUsage({ postgres, clickhouse }: Stores, { boundary, ended }: BoundaryStory): Promise<StretchUsage> {
  const { customerId } = boundary
  const [from, to] = [quarterOf(ended?.start ?? 0), quarterOf(ended?.end ?? 0)]
  const ledger = await postgres.query<LedgerColumns>(
    `select customer_id, '' as user_id, model, $2::integer as quarter, sum(input) as input, sum(cache_read) as cache_read,
            sum(cache_write) as cache_write, sum(output) as output, sum(reasoning) as reasoning, sum(events) as events
       from usage_ledger where customer_id = $1 and quarter >= $2 and quarter < $3
      group by customer_id, model order by model`,
    [customerId, from, to]
  )
  const answer = await clickhouse.query({
    query: `select model, toString(sum(input)) as input, toString(sum(cache_read)) as cache_read, toString(sum(cache_write)) as cache_write,
                   toString(sum(output)) as output, toString(sum(reasoning)) as reasoning
              from usage_quarter_hour
             where customer_id = {customerId:String}
               and quarter_start >= fromUnixTimestamp({from:Int64}) and quarter_start < fromUnixTimestamp({to:Int64})
             group by model order by model`,
    query_params: { customerId, from: quarterStartMs(from) / 1_000, to: quarterStartMs(to) / 1_000 },
    format: 'JSONEachRow'
  })
  const copy = await answer.json<Omit<LedgerColumns, 'customer_id' | 'user_id' | 'quarter' | 'events'>>()
  const told = ledger.rows.map(({ model, input, cache_read, cache_write, output, reasoning }) => {
    return { model, input, cache_read, cache_write, output, reasoning }
  })
  if (JSON.stringify(told) !== JSON.stringify(copy)) throw new Error(`the stores differ about ${customerId}`)
  return { from, to, rows: toLedgerRows(ledger.rows) }
}

async function writeInvoice(postgres: Client, draft: Invoice, terms: NaiveBilling): Promise<void> {
  await postgres.query('begin')
  const series = await postgres.query<{ last: string }>(
    `insert into invoice_series as kept (name, last_number) values ($1, 1)
     on conflict (name) do update set last_number = kept.last_number + 1 returning last_number::text as last`,
    [terms.numberPrefix]
  )
  const number = numberOf(terms.numberPrefix, BigInt(series.rows[0]?.last ?? 0))
  const invoice = finalizeInvoice(draft, { number, issuer: terms.issuer, creditMinor: 0n, now: terms.now })
  const told = invoiceToJson(invoice)
  await postgres.query(
    `insert into invoice
       (id, customer_id, subscription_id, boundary, status, number, currency, period_start, period_end, bill_to, issuer, payment_terms_days,
        totals, total_minor, credit_applied_minor, due_minor, finalized_at, due_at, closed_at, collect_at, version, created_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15, $16, $17, null, $17, 1, $18, $18)`,
    [
      told.id,
      told.customerId,
      told.subscriptionId,
      told.boundary,
      told.status,
      told.number,
      told.currency,
      told.periodStart,
      told.periodEnd,
      JSON.stringify(invoice.billTo),
      JSON.stringify(invoice.issuer),
      told.paymentTermsDays,
      JSON.stringify(totalsToJson(invoice)),
      told.totalMinor,
      told.dueMinor,
      told.finalizedAt,
      told.dueAt,
      told.createdAt
    ]
  )
  const lines = invoice.lines.map(lineToJson)
  const places = lines.map(
    (_, i) => `(${Array.from({ length: 10 }, (_, column) => `$${i * 10 + column + 1}`).join(', ')})`
  )
  await postgres.query(
    `insert into invoice_line
       (invoice_id, position, customer_id, subscription_id, kind, line_class, starts_at, ends_at, amount_minor, detail)
     values ${places.join(', ')}`,
    lines.flatMap(({ kind, lineClass, from, to, amountMinor, detail }, i) => {
      const ids = [told.id, i + 1, told.customerId, told.subscriptionId]
      return [...ids, kind, lineClass, from, to, amountMinor, JSON.stringify(detail)]
    })
  )
  await postgres.query(
    `update billing_boundary set state = 'billed', invoice_id = $1, attempted_at = $2 where subscription_id = $3 and boundary = $4`,
    [told.id, told.createdAt, told.subscriptionId, told.boundary]
  )
  await postgres.query('commit')
}
