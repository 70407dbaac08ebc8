// What invoices of a batch of boundaries are made from, a statement for each kind of row, whatever the size of the batch.

import type {
  BilledPeriod,
  Boundary,
  BoundaryStory,
  Stretch,
  StretchUsage
} from '../../domain/billing/invoices/boundary-story.ts'
import { planOf, stretchesOf } from '../../domain/billing/invoices/boundary-story.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import type { SubscriptionChange } from '../../domain/subscriptions/subscription.ts'
import type { Grant } from '../../domain/tokens/grants/grant.ts'
import type { Run } from '../connect.ts'
import { CUSTOMER_ROW, toCustomer } from '../customers/customer-row.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'
import { msColumn } from '../encoding/instant.ts'
import { type LedgerColumns, toLedgerRows } from '../encoding/ledger-rows.ts'
import { GRANT_ROW, toGrant } from '../subscriptions/grant-row.ts'
import { PLAN_ROW, toPlan } from '../subscriptions/plan-row.ts'
import {
  advanceAt,
  loadInvoices,
  loadUsageLines,
  placeKey,
  type SubscriptionPeriods,
  toPlaces
} from './load-invoiced.ts'

/** A published plan never changes: one that was read once is not read again. */
export type PlanMemory = Map<string, PlanVersion>

export interface Loading {
  readonly run: Run
  readonly plans: PlanMemory
  readonly adjustmentWindowMs: number
}

/** In the order of the boundaries. */
export async function loadStories(
  loading: Loading,
  boundaries: readonly Boundary[]
): Promise<readonly BoundaryStory[]> {
  const { run, plans } = loading
  const periods = await loadPeriods(loading, boundaries)
  const changes = await loadChanges(run, boundaries)
  const named = [...[...periods.values()].flat(), ...[...changes.values()].flat()]
  await loadPlans(
    loading,
    named.flatMap((row) => ('planId' in row ? [row.planId] : [row.toPlanId]))
  )
  const customers = await loadCustomers(run, boundaries)
  const grants = await loadMoneyGrants(run, boundaries)
  const earlier = boundaries.map((boundary) => earlierOf(boundary, periods))
  const endedOf = ({ subscriptionId, at }: Boundary) =>
    periods.get(subscriptionId)?.find(({ end }) => end === at) ?? null
  const invoiced = await loadInvoices(run, [
    ...boundaries.flatMap((boundary) => toPlaces(boundary.subscriptionId, endedOf(boundary)?.start)),
    ...earlier.flatMap(({ subscriptionId, periods }) => periods.flatMap(({ end }) => toPlaces(subscriptionId, end)))
  ])
  const lines = await loadUsageLines(run, earlier)
  return boundaries.map((boundary, i) => {
    const { subscriptionId, customerId, at } = boundary
    const customer = customers.get(customerId)
    if (customer === undefined)
      throw new Error(`subscription ${subscriptionId} is of customer ${customerId}, who is not there`)
    const own = periods.get(subscriptionId) ?? []
    return {
      boundary,
      customer,
      ended: endedOf(boundary),
      begins: own.find(({ start }) => start === at) ?? null,
      advance: advanceAt(invoiced, subscriptionId, endedOf(boundary)?.start),
      earlier: (earlier[i]?.periods ?? []).map((period) => ({
        period,
        isVoid: invoiced.get(placeKey(subscriptionId, period.end))?.isVoid ?? false,
        lines: lines.get(placeKey(subscriptionId, period.start)) ?? []
      })),
      changes: changes.get(subscriptionId) ?? [],
      plans: plansOf(plans, own, changes.get(subscriptionId) ?? []),
      grants: grants.get(customerId) ?? []
    }
  })
}

function plansOf(
  plans: PlanMemory,
  periods: readonly BilledPeriod[],
  changes: readonly SubscriptionChange[]
): ReadonlyMap<string, PlanVersion> {
  const ids = new Set([...periods.map(({ planId }) => planId), ...changes.map(({ toPlanId }) => toPlanId)])
  return new Map([...ids].map((id) => [id, planOf(plans, id)]))
}

/** Those that ended before the boundary, in the time for which periods are rated again. */
function earlierOf(
  { subscriptionId, at }: Boundary,
  periods: ReadonlyMap<string, readonly BilledPeriod[]>
): SubscriptionPeriods {
  const own = periods.get(subscriptionId) ?? []
  return { subscriptionId, periods: own.filter(({ end, isTrial }) => end < at && !isTrial) }
}

interface PeriodColumns {
  readonly subscription_id: string
  readonly starts_at: number
  readonly ends_at: number
  readonly full_end: number
  readonly plan_id: string
  readonly time_zone: string
  readonly is_trial: boolean
}

async function loadPeriods(
  { run, adjustmentWindowMs }: Loading,
  boundaries: readonly Boundary[]
): Promise<ReadonlyMap<string, readonly BilledPeriod[]>> {
  const rows = await run<PeriodColumns>({
    name: 'load-billed-periods',
    // Counted from the boundary before: what came late after that run waits for this one. A settlement counts from the last period's end.
    text: `select period.subscription_id, ${msColumn('starts_at', 'period.starts_at')}, ${msColumn('ends_at', 'period.ends_at')},
                  ${msColumn('full_end', 'period.full_end')}, period.plan_id, period.time_zone, period.is_trial
             from unnest($1::text[], $2::bigint[]) as asked (id, ms)
            cross join lateral (select to_timestamp(asked.ms::double precision / 1000) as at) as boundary
             left join subscription_period as ended on ended.subscription_id = asked.id and ended.ends_at = boundary.at
             join subscription_period as period on period.subscription_id = asked.id
              and period.starts_at <= boundary.at
              and (period.starts_at = boundary.at
                   or period.ends_at >= $3::bigint * interval '-1 millisecond' + coalesce(ended.starts_at,
                        (select max(last.ends_at) from subscription_period as last where last.subscription_id = asked.id)))
            order by period.subscription_id, period.starts_at`,
    values: [
      textArrayLiteral(boundaries.map(({ subscriptionId }) => subscriptionId)),
      numberArrayLiteral(boundaries.map(({ at }) => at)),
      adjustmentWindowMs
    ]
  })
  return groupRows(
    rows,
    ({ subscription_id }) => subscription_id,
    (row) => ({
      start: row.starts_at,
      end: row.ends_at,
      fullEnd: row.full_end,
      planId: row.plan_id,
      timeZone: row.time_zone,
      isTrial: row.is_trial
    })
  )
}

interface ChangeColumns {
  readonly subscription_id: string
  readonly changed_at: number
  readonly from_plan_id: string
  readonly to_plan_id: string
  readonly to_status: SubscriptionChange['toStatus']
  readonly reason: SubscriptionChange['reason']
}

async function loadChanges(
  run: Run,
  boundaries: readonly Boundary[]
): Promise<ReadonlyMap<string, readonly SubscriptionChange[]>> {
  const rows = await run<ChangeColumns>({
    name: 'load-subscription-changes',
    text: `select subscription_id, ${msColumn('changed_at')}, from_plan_id, to_plan_id, to_status, reason
             from subscription_change
            where subscription_id = any($1::text[])
            order by subscription_id, changed_at, position`,
    values: [textArrayLiteral(boundaries.map(({ subscriptionId }) => subscriptionId))]
  })
  return groupRows(
    rows,
    ({ subscription_id }) => subscription_id,
    (row) => ({
      at: row.changed_at,
      fromPlanId: row.from_plan_id,
      toPlanId: row.to_plan_id,
      toStatus: row.to_status,
      reason: row.reason
    })
  )
}

async function loadPlans({ run, plans }: Loading, ids: readonly string[]): Promise<void> {
  const missing = [...new Set(ids)].filter((id) => !plans.has(id))
  if (missing.length === 0) return
  const rows = await run({
    text: `select id, code, version, status, title, currency, billing_interval, base_fee_minor::text as base_fee_minor, trial_days,
                  only_for, prices, limits, revision, ${msColumn('created_at')}, ${msColumn('updated_at')}, ${msColumn('published_at')}
             from plan_version where id = any($1::text[])`,
    values: [textArrayLiteral(missing)]
  })
  for (const row of rows) {
    const plan = toPlan(PLAN_ROW.parse(row))
    plans.set(plan.id, plan)
  }
}

async function loadCustomers(run: Run, boundaries: readonly Boundary[]): Promise<ReadonlyMap<string, Customer>> {
  const rows = await run({
    name: 'load-billed-customers',
    text: `select id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
                  contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version,
                  ${msColumn('created_at')}, ${msColumn('updated_at')}
             from customer where id = any($1::text[])`,
    values: [textArrayLiteral(boundaries.map(({ customerId }) => customerId))]
  })
  return new Map(rows.map((row) => toCustomer(CUSTOMER_ROW.parse(row))).map((customer) => [customer.id, customer]))
}

/** Tokens raise limits, money lowers invoices. */
export async function loadMoneyGrants(
  run: Run,
  boundaries: readonly Pick<Boundary, 'customerId'>[]
): Promise<ReadonlyMap<string, readonly Grant[]>> {
  const rows = await run({
    name: 'load-money-grants',
    text: `select id, customer_id, amount_tokens::text as amount_tokens, amount_minor::text as amount_minor, currency, priority, source,
                  ${msColumn('effective_at')}, ${msColumn('expires_at')}, limit_id, ${msColumn('revoked_at')}, burnt::text as burnt,
                  ${msColumn('settled_until')}, version, ${msColumn('created_at')}, ${msColumn('updated_at')}
             from customer_grant
            where customer_id = any($1::text[]) and amount_minor > burnt`,
    values: [textArrayLiteral(boundaries.map(({ customerId }) => customerId))]
  })
  const grants = rows.map((row) => toGrant(GRANT_ROW.parse(row)))
  return Map.groupBy(grants, ({ customerId }) => customerId)
}

/** Usage of each story's stretches, in the order of the stories. One statement: a stretch is a range of one index. */
export async function loadUsage(
  run: Run,
  stories: readonly BoundaryStory[]
): Promise<readonly (readonly StretchUsage[])[]> {
  const stretches = stories.map((story) => stretchesOf(story))
  const places = stories.flatMap(({ boundary }, i) =>
    (stretches[i] ?? []).map((stretch) => ({ customerId: boundary.customerId, stretch }))
  )
  const sums = places.length === 0 ? new Map<number, LedgerColumns[]>() : await sumLedger(run, places)
  let place = 0
  const withRows = (stretch: Stretch): StretchUsage => ({ ...stretch, rows: toLedgerRows(sums.get(place++) ?? []) })
  return stretches.map((ofStory) => ofStory.map(withRows))
}

async function sumLedger(
  run: Run,
  places: readonly { readonly customerId: string; readonly stretch: Stretch }[]
): Promise<ReadonlyMap<number, readonly LedgerColumns[]>> {
  const rows = await run<LedgerColumns & { readonly place: number }>({
    name: 'sum-ledger-stretches',
    text: `select asked.place, asked.id as customer_id, '' as user_id, model, asked.from_quarter as quarter, sum(input) as input,
                  sum(cache_read) as cache_read, sum(cache_write) as cache_write, sum(output) as output,
                  sum(reasoning) as reasoning, sum(events) as events
             from unnest($1::integer[], $2::text[], $3::integer[], $4::integer[]) as asked (place, id, from_quarter, to_quarter)
             join usage_ledger on customer_id = asked.id and quarter >= asked.from_quarter and quarter < asked.to_quarter
            group by asked.place, asked.id, model, asked.from_quarter`,
    values: [
      numberArrayLiteral(places.map((_, place) => place)),
      textArrayLiteral(places.map(({ customerId }) => customerId)),
      numberArrayLiteral(places.map(({ stretch }) => stretch.from)),
      numberArrayLiteral(places.map(({ stretch }) => stretch.to))
    ]
  })
  return Map.groupBy(rows, (row) => row.place)
}

function groupRows<Row, Key, T>(
  rows: readonly Row[],
  keyOf: (row: Row) => Key,
  tell: (row: Row) => T
): ReadonlyMap<Key, T[]> {
  const groups = new Map<Key, T[]>()
  for (const row of rows) {
    const key = keyOf(row)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [tell(row)])
    else group.push(tell(row))
  }
  return groups
}
