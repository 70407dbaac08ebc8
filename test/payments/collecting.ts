// Invoices to collect on a database of their own, with Stripe's stand-in: rows are written straight, since how invoices come about is
// tested elsewhere. The clock stands still unless it is set.

import { randomUUIDv7 } from 'node:crypto'
import { type CollectCounts, type CollectDependencies, collectDue } from '../../billing-job/collect/collect-due.ts'
import { markPastDue, type PastDueCounts } from '../../billing-job/collect/mark-past-due.ts'
import { MANUAL, type Payment } from '../../domain/billing/payments/payment.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import { StripeProvider } from '../../payments/stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn } from '../../payments/stripe-stand-in.ts'
import { PostgresCollectStore } from '../../sql/billing/payments/collect-store.ts'
import { PostgresOverdueSubscriptions } from '../../sql/billing/payments/overdue-subscriptions.ts'
import { PostgresPaymentStore } from '../../sql/billing/payments/payment-store.ts'
import { Database } from '../../sql/connect.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresSubscriptionStore } from '../../sql/subscriptions/subscription-store.ts'
import { freshDatabase } from '../services.ts'

export const DAY_MS = 86_400_000
/** The due date of every invoice. */
export const DUE = Date.parse('2026-11-25T12:00:00Z')
const CONNECTIONS_MAX = 16
const PROVIDER_TIMEOUT_MS = 5_000

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

export interface InvoiceStanding {
  readonly id: string
  readonly customer_id: string
  readonly status: string
  readonly due: string
  readonly paid: string
  readonly charges: number
  readonly reminders: number
  /** ms. */
  readonly collect_at: number | null
}

export interface Collecting {
  readonly databaseUrl: string
  readonly database: Database
  readonly entities: EntityDatabase
  readonly stripe: StripeStandIn
  readonly provider: StripeProvider
  readonly collectStore: PostgresCollectStore
  readonly paymentStore: PostgresPaymentStore
  readonly subscriptionStore: PostgresSubscriptionStore
  /** Errors that rounds told of. */
  readonly faults: unknown[]
  now(): number
  setNow(ms: number): void
  collect(others?: Partial<CollectDependencies>, onBatch?: (counts: CollectCounts) => void): Promise<CollectCounts>
  markPastDue(): Promise<PastDueCounts>
  /** In the order of ids. */
  invoices(): Promise<readonly InvoiceStanding[]>
  payments(): Promise<readonly Payment[]>
  /** Types of the events in the outbox, in order. */
  events(): Promise<readonly string[]>
  /** Of all of them: `active`, or `active, past_due`. */
  subscriptionStatus(): Promise<string>
  payByHand(invoiceId: string, amountMinor: bigint): ReturnType<PostgresPaymentStore['record']>
}

/** So many customers with an invoice each of 1000 minor units, 1001 and so on. */
export async function startCollecting(
  t: Teardown,
  { invoices: count, isByHand = false }: { readonly invoices: number; readonly isByHand?: boolean }
): Promise<Collecting> {
  const databaseUrl = await freshDatabase(t)
  const database = new Database({ databaseUrl, applicationName: 'collect-test', role: 'login' })
  const entities = new EntityDatabase({
    databaseUrl,
    applicationName: 'collect-test',
    connectionsMax: CONNECTIONS_MAX
  })
  t.teardown(async () => {
    await Promise.all([database.close(), entities.close()])
  })
  await seed(database, { count, isByHand })
  const stripe = await startStripeStandIn(t)
  const provider = new StripeProvider({ ...stripe.connection, timeoutMs: PROVIDER_TIMEOUT_MS })
  let at = DUE
  const now = () => at
  const faults: unknown[] = []
  const collectStore = new PostgresCollectStore(entities)
  const paymentStore = new PostgresPaymentStore(entities)
  const subscriptionStore = new PostgresSubscriptionStore(entities)
  const overdueSubscriptions = new PostgresOverdueSubscriptions(entities)
  const onFault = ({ error }: { readonly error: unknown }) => void faults.push(error)
  return {
    databaseUrl,
    database,
    entities,
    stripe,
    provider,
    collectStore,
    paymentStore,
    subscriptionStore,
    faults,
    now,
    setNow(ms) {
      at = ms
    },
    collect: (others = {}, onBatch = () => undefined) =>
      collectDue(
        { collectStore, provider, now, onFault, ...others },
        { batchSize: 25, concurrency: 4, isStopped: () => false, onBatch }
      ),
    markPastDue: () => markPastDue({ overdueSubscriptions, subscriptionStore, now }, () => false),
    invoices: () => database.query('read invoices', { text: READ_INVOICES }),
    async payments() {
      const page = { limit: 10_000, cursor: '' }
      return (await paymentStore.list(PLATFORM, { customerId: null, invoiceId: null, status: null, ...page })).rows
    },
    async events() {
      const rows = await database.query<{ type: string }>('read events', {
        text: 'select type from outbox order by position'
      })
      return rows.map(({ type }) => type)
    },
    async subscriptionStatus() {
      const rows = await database.query<{ status: string }>('read subscriptions', {
        text: 'select distinct status from subscription order by status'
      })
      return rows.map(({ status }) => status).join(', ')
    },
    payByHand: (invoiceId, amountMinor) => {
      const customerId = invoiceId.replace('invoice', 'customer')
      const payment = paymentOf({ customerId, invoiceId, amountMinor, at })
      return paymentStore.record(payment, recordedBy(payment))
    }
  }
}

async function seed(
  database: Database,
  { count, isByHand }: { readonly count: number; readonly isByHand: boolean }
): Promise<void> {
  await database.query('make customers', { text: SEED_CUSTOMERS, values: [count, DUE] })
  await database.query('make subscriptions', { text: SEED_SUBSCRIPTIONS, values: [DUE] })
  await database.query('make invoices', { text: SEED_INVOICES, values: [DUE] })
  if (!isByHand) await database.query('make accounts', { text: SEED_ACCOUNTS, values: [DUE] })
}

function paymentOf({
  at,
  ...stated
}: Pick<Payment, 'customerId' | 'invoiceId' | 'amountMinor'> & { at: number }): Payment {
  return {
    id: randomUUIDv7(),
    ...stated,
    provider: MANUAL,
    method: 'bank_transfer',
    status: 'succeeded',
    currency: 'EUR',
    reference: null,
    failureCode: null,
    refundedMinor: 0n,
    refundingMinor: 0n,
    refunds: 0,
    excessMinor: 0n,
    charged: null,
    receivedAt: at,
    createdAt: at,
    updatedAt: at
  }
}

function recordedBy({ id, customerId, createdAt: at }: Payment): Change {
  const actor = { kind: 'service', id: 'test', address: null, requestId: null } as const
  const entity = { kind: 'payment', id }
  const audit = [
    { id: randomUUIDv7(), customerId, actor, action: 'payment.recorded', entity, before: null, after: null, at }
  ]
  return { reach: PLATFORM, audit, events: [], request: null }
}

/** `$1`: how many; `$2`, or else `$1`: the due date, ms. */
const AT = 'to_timestamp($1::double precision / 1000)'
const SEED_CUSTOMERS = `
  insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, payment_terms_days, contacts,
                        metadata, version, created_at, updated_at)
  select 'customer-' || lpad(n::text, 4, '0'), 'sme', 'active', 'Clinic ' || n, 'FR', 'EUR', 'UTC', 'fr', 'FR' || n, 0, '[]', '{}', 1, at, at
    from generate_series(1, $1::integer) as n, to_timestamp($2::double precision / 1000) as at`
const SEED_SUBSCRIPTIONS = `
  with plan as (
    insert into plan_version (id, code, version, status, title, currency, billing_interval, base_fee_minor, trial_days, prices, limits,
                              revision, created_at, updated_at, published_at)
    values ('plan', 'plan', 1, 'published', 'Plan', 'EUR', 'month', 1000, 0, '[]', '[]', 1, ${AT}, ${AT}, ${AT})
    returning id
  )
  insert into subscription (id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start, period_end, renew_at,
                            version, created_at, updated_at)
  select replace(customer.id, 'customer', 'subscription'), customer.id, plan.id, 'active', '2026-11-25', 'month', 'UTC', ${AT},
         ${AT} + interval '1000 days', ${AT} + interval '1000 days', 1, ${AT}, ${AT}
    from customer, plan`
const TOTALS = {
  subtotalMinor: '1000',
  grants: [],
  grantsMinor: '0',
  taxes: [],
  taxMinor: '0',
  includedTaxMinor: '0',
  totalMinor: '1000'
}
const ISSUER = { name: 'Tokenmeter', address: [], taxId: null, paymentInstructions: null }
const SEED_INVOICES = `
  insert into invoice (id, customer_id, subscription_id, boundary, status, number, currency, bill_to, issuer, payment_terms_days, totals,
                       total_minor, due_minor, finalized_at, due_at, collect_at, version, created_at, updated_at)
  select replace(customer_id, 'customer', 'invoice'), customer_id, id, ${AT}, 'finalized', 'INV-' || n, 'EUR', '{}', '${JSON.stringify(ISSUER)}', 0,
         '${JSON.stringify(TOTALS)}', 999 + n, 999 + n, ${AT}, ${AT}, ${AT}, 1, ${AT}, ${AT}
    from (select *, row_number() over (order by id) as n from subscription) as numbered`
const SEED_ACCOUNTS = `
  insert into payment_account (customer_id, provider, provider_customer, provider_method, updated_at)
  select id, 'stripe', 'cus_' || id, 'pm_' || id, ${AT} from customer`
const READ_INVOICES = `
  select id, customer_id, status, due_minor::text as due, paid_minor::text as paid, charges, reminders,
         (extract(epoch from collect_at) * 1000)::double precision as collect_at
    from invoice order by id`
