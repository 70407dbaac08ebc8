// Writes what a batch came to, a statement for each kind of row. Rows travel as one JSON list: of nineteen columns, many of them
// null or JSON themselves, an array each would be quoted text within quoted text.

import type { Customer } from '../../domain/customers/customer.ts'
import type { JudgedBatch, Written } from '../../domain/customers/import/customer-import.ts'
import type { User } from '../../domain/customers/user.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { Transition } from '../../domain/subscriptions/subscription-life-cycle.ts'
import { appendEvents, appendToTrails, holdTrails, trailOf } from '../change/trail-batch.ts'
import type { Run } from '../connect.ts'

export async function writeJudged(run: Run, batch: JudgedBatch): Promise<void> {
  await writeCustomers(run, batch.customers)
  await writeUsers(run, batch.users)
  await writeSubscriptions(run, batch.subscriptions)
  // Trails are held before events get their positions, so that events of one customer are in the order of commits.
  const heads = await holdTrails(run, batch.audit.map(trailOf))
  await appendToTrails(run, heads, batch.audit)
  await appendEvents(run, batch.events)
}

/** All rows of a list, or the batch fails: a user was changed after it was read, which holding its customer does not prevent. */
async function writeRows(run: Run, text: string, rows: readonly object[]): Promise<void> {
  if (rows.length === 0) return
  const written = await run({ text, values: [JSON.stringify(rows)] })
  if (written.length === rows.length) return
  throw new RetryableError('postgres-conflict', `${written.length} of ${rows.length} rows stood as they were read`)
}

async function writeCustomers(run: Run, customers: readonly Written<Customer>[]): Promise<void> {
  const rowOf = ({ next }: Written<Customer>) => ({
    ...next,
    legal_name: next.legalName,
    external_id: next.externalId,
    time_zone: next.timeZone,
    tax_id: next.taxId,
    registration_number: next.registrationNumber,
    contract_reference: next.contractReference,
    purchase_order_number: next.purchaseOrderNumber,
    payment_terms_days: next.paymentTermsDays,
    created_ms: next.createdAt,
    updated_ms: next.updatedAt
  })
  await writeRows(run, INSERT_CUSTOMERS, customers.filter(isNew).map(rowOf))
  const changed = customers.filter((written) => !isNew(written))
  await writeRows(run, UPDATE_CUSTOMERS, changed.map(rowOf))
  const ids = changed.filter(isOtherwiseLimited).map(({ next }) => next.id)
  if (ids.length > 0) await run({ text: MARK_LIMITS_DUE, values: [ids] })
}

function isNew({ before }: Written<unknown>): boolean {
  return before === null
}

/** What limits are composed of beside plans and grants. Without limits there is nothing to compose. */
function isOtherwiseLimited({ before, next }: Written<Customer>): boolean {
  return before?.status !== next.status || before.timeZone !== next.timeZone
}

const CUSTOMER_COLUMNS = `
  id text, kind text, status text, legal_name text, external_id text, country text, currency text, time_zone text, locale text,
  tax_id text, registration_number text, contract_reference text, purchase_order_number text, payment_terms_days integer,
  contacts jsonb, metadata jsonb, version integer, created_ms double precision, updated_ms double precision`

const INSERT_CUSTOMERS = `
  insert into customer
    (id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
     contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version, created_at, updated_at)
  select id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
         contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version,
         to_timestamp(created_ms / 1000), to_timestamp(updated_ms / 1000)
    from json_to_recordset($1::json) as row (${CUSTOMER_COLUMNS})
  returning id`

const UPDATE_CUSTOMERS = `
  update customer as kept
     set status = row.status, legal_name = row.legal_name, country = row.country, currency = row.currency,
         time_zone = row.time_zone, locale = row.locale, tax_id = row.tax_id, registration_number = row.registration_number,
         contract_reference = row.contract_reference, purchase_order_number = row.purchase_order_number,
         payment_terms_days = row.payment_terms_days, contacts = row.contacts, metadata = row.metadata,
         version = row.version, updated_at = to_timestamp(row.updated_ms / 1000)
    from json_to_recordset($1::json) as row (${CUSTOMER_COLUMNS})
   where kept.id = row.id and kept.version = row.version - 1
  returning kept.id`

const MARK_LIMITS_DUE = `
  update customer_limits set version = version + 1, renew_at = 0 where customer_id = any($1::text[])`

async function writeUsers(run: Run, users: readonly Written<User>[]): Promise<void> {
  const rowOf = ({ next }: Written<User>) => ({
    ...next,
    customer_id: next.customerId,
    created_ms: next.createdAt,
    updated_ms: next.updatedAt
  })
  await writeRows(run, INSERT_USERS, users.filter(isNew).map(rowOf))
  await writeRows(run, UPDATE_USERS, users.filter((written) => !isNew(written)).map(rowOf))
}

const USER_COLUMNS = `
  id text, customer_id text, email text, name text, role text, status text, version integer, created_ms double precision,
  updated_ms double precision`

const INSERT_USERS = `
  insert into customer_user (id, customer_id, email, name, role, status, version, created_at, updated_at)
  select id, customer_id, email, name, role, status, version, to_timestamp(created_ms / 1000), to_timestamp(updated_ms / 1000)
    from json_to_recordset($1::json) as row (${USER_COLUMNS})
  returning id`

const UPDATE_USERS = `
  update customer_user as kept
     set name = row.name, role = row.role, status = row.status, version = row.version,
         updated_at = to_timestamp(row.updated_ms / 1000)
    from json_to_recordset($1::json) as row (${USER_COLUMNS})
   where kept.id = row.id and kept.version = row.version - 1
  returning kept.id`

/** An import begins subscriptions and changes none. */
async function writeSubscriptions(run: Run, transitions: readonly Transition[]): Promise<void> {
  const rows = transitions.map(({ next, opened, change }) => {
    if (opened === null || change === null)
      throw new Error(`subscription ${next.id} begins without a period or a change`)
    return {
      ...next,
      customer_id: next.customerId,
      plan_id: next.planId,
      billing_interval: next.interval,
      time_zone: next.timeZone,
      start_ms: opened.start,
      end_ms: opened.end,
      trial_end_ms: next.trialEnd,
      is_trial: opened.isTrial,
      changed_ms: change.at,
      created_ms: next.createdAt
    }
  })
  await writeRows(run, INSERT_SUBSCRIPTIONS, rows)
  await writeRows(run, INSERT_PERIODS, rows)
  await writeRows(run, INSERT_CHANGES, rows)
  await writeRows(run, BEGIN_LIMITS, rows)
}

const SUBSCRIPTION_COLUMNS = `
  id text, customer_id text, plan_id text, status text, anchor text, billing_interval text, time_zone text,
  start_ms double precision, end_ms double precision, trial_end_ms double precision, is_trial boolean,
  changed_ms double precision, version integer, created_ms double precision`

const INSERT_SUBSCRIPTIONS = `
  insert into subscription
    (id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start, period_end, trial_end, renew_at, version,
     created_at, updated_at)
  select id, customer_id, plan_id, status, anchor, billing_interval, time_zone, to_timestamp(start_ms / 1000),
         to_timestamp(end_ms / 1000), to_timestamp(trial_end_ms / 1000), to_timestamp(end_ms / 1000), version,
         to_timestamp(created_ms / 1000), to_timestamp(created_ms / 1000)
    from json_to_recordset($1::json) as row (${SUBSCRIPTION_COLUMNS})
  returning id`

/** Where it began is not billed: the former service has asked for the fee of the period that runs. */
const INSERT_PERIODS = `
  insert into subscription_period
    (subscription_id, customer_id, starts_at, ends_at, full_end, plan_id, time_zone, is_trial, status)
  select id, customer_id, to_timestamp(start_ms / 1000), to_timestamp(end_ms / 1000), to_timestamp(end_ms / 1000), plan_id,
         time_zone, is_trial, 'open'
    from json_to_recordset($1::json) as row (${SUBSCRIPTION_COLUMNS})
  returning subscription_id`

const INSERT_CHANGES = `
  insert into subscription_change (subscription_id, customer_id, changed_at, from_plan_id, to_plan_id, to_status, reason)
  select id, customer_id, to_timestamp(changed_ms / 1000), plan_id, plan_id, status, 'created'
    from json_to_recordset($1::json) as row (${SUBSCRIPTION_COLUMNS})
  returning position`

/** As mark-limits-due.ts does for one: whoever renews limits composes them and sets them in the meter. */
const BEGIN_LIMITS = `
  insert into customer_limits as kept (customer_id, time_zone, version)
  select customer_id, time_zone, 1 from json_to_recordset($1::json) as row (${SUBSCRIPTION_COLUMNS})
   order by customer_id collate "C"
  on conflict (customer_id) do update set version = kept.version + 1, renew_at = 0
  returning customer_id`
