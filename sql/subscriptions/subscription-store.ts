// Subscriptions, one a row, with the periods and changes that billing reads. A row's version decides between two writers; the
// tables themselves refuse a gap, an overlap, a second open period, and a second live subscription of a customer.

import { type DatabaseTransactionConnection, type ListSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import { type Change, PLATFORM, type Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import type { Period } from '../../domain/subscriptions/billing-period.ts'
import {
  isLive,
  type Subscription,
  type SubscriptionChange,
  type SubscriptionPeriod
} from '../../domain/subscriptions/subscription.ts'
import type { Transition } from '../../domain/subscriptions/subscription-life-cycle.ts'
import type { SubscriptionFilter, SubscriptionStore } from '../../domain/subscriptions/subscription-store.ts'
import { snapToQuarter } from '../../domain/tokens/quarter-hour.ts'
import { refusable } from '../change/refusable.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { markLimitsDue } from './mark-limits-due.ts'
import { SUBSCRIPTION_COLUMNS, SUBSCRIPTION_ROW, toSubscription } from './subscription-row.ts'

/** Subscriptions that `takeDue` gives out at once, at most. */
const DUE_MAX = 100
const BEFORE_ALL_IDS = [''] as const

const NO_ROWS = rowParser('subscription_change', Type.Never())
const WRITTEN = rowParser('subscription', Type.Object({ id: Type.String() }))
const PERIOD_WRITTEN = rowParser('subscription_period', Type.Object({ subscription_id: Type.String() }))

export class PostgresSubscriptionStore implements SubscriptionStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<Subscription | null> {
    const row = await this.#database.transaction(reach, `find the subscription ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(SUBSCRIPTION_ROW)`
        select ${SUBSCRIPTION_COLUMNS} from subscription where id = ${id}`)
    )
    return row === null ? null : toSubscription(row)
  }

  async list(reach: Reach, filter: SubscriptionFilter): Promise<Page<Subscription>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, 'list subscriptions', (transaction) =>
      transaction.any(sql.type(SUBSCRIPTION_ROW)`
        select ${SUBSCRIPTION_COLUMNS} from subscription
         where id > ${afterId} and ${conditions(filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toSubscription)
  }

  async insert({ next, opened, change: made }: Transition, change: Change): ReturnType<SubscriptionStore['insert']> {
    return refusable((refuse) =>
      this.#database.change(change, `insert the subscription ${next.id}`, async (transaction) => {
        const { currentPeriod } = next
        if (!(await holdFitting(transaction, next))) throw refuse('customer-changed')
        const inserted = await transaction.maybeOne(sql.type(WRITTEN)`
          insert into subscription (id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start,
                                    period_end, trial_end, scheduled_change, paused_at, canceled_at, renew_at, version,
                                    created_at, updated_at)
          values (${next.id}, ${next.customerId}, ${next.planId}, ${next.status}, ${next.anchor}, ${next.interval},
                  ${next.timeZone}, ${instant(currentPeriod.start)}, ${instant(currentPeriod.end)},
                  ${instantOrNull(next.trialEnd)}, ${scheduledJson(next)}::jsonb, ${instantOrNull(next.pausedAt)},
                  ${instantOrNull(next.canceledAt)}, ${instantOrNull(renewAt(next))}, ${next.version},
                  ${instant(next.createdAt)}, ${instant(next.updatedAt)})
          on conflict (customer_id) where status not in ('canceled', 'ended') do nothing
          returning id`)
        if (inserted === null) throw refuse('another-is-live')
        if (made !== null && (await overlaps(transaction, next, made.at))) throw refuse('overlaps')
        if (opened !== null) await openPeriod(transaction, next, { opened, follows: null })
        if (opened !== null)
          await markBillingDue(transaction, next, { boundary: opened.start, changedAt: made?.at ?? opened.start })
        if (made !== null) await appendChange(transaction, next, made)
        await markLimitsDue(transaction, next.customerId)
        return 'inserted' as const
      })
    )
  }

  async update(transition: Transition, change: Change): Promise<'updated' | 'other-version'> {
    const { next, closed, opened, change: made } = transition
    return refusable((refuse) =>
      this.#database.change(
        change,
        `update the subscription ${next.id} to version ${next.version}`,
        async (transaction) => {
          const updated = await transaction.maybeOne(sql.type(WRITTEN)`
          update subscription
             set plan_id = ${next.planId}, status = ${next.status}, anchor = ${next.anchor},
                 billing_interval = ${next.interval}, time_zone = ${next.timeZone},
                 period_start = ${instant(next.currentPeriod.start)}, period_end = ${instant(next.currentPeriod.end)},
                 trial_end = ${instantOrNull(next.trialEnd)}, scheduled_change = ${scheduledJson(next)}::jsonb,
                 paused_at = ${instantOrNull(next.pausedAt)}, canceled_at = ${instantOrNull(next.canceledAt)},
                 renew_at = ${instantOrNull(renewAt(next))}, version = ${next.version},
                 updated_at = ${instant(next.updatedAt)}
           where id = ${next.id} and version = ${next.version - 1}
          returning id`)
          if (updated === null) throw refuse('other-version')
          if (closed !== null) await closePeriod(transaction, next, closed)
          if (opened !== null) await openPeriod(transaction, next, { opened, follows: closed?.end ?? null })
          const boundary = closed?.end ?? opened?.start
          if (boundary !== undefined)
            await markBillingDue(transaction, next, { boundary, changedAt: made?.at ?? boundary })
          if (made !== null) await appendChange(transaction, next, made)
          await markLimitsDue(transaction, next.customerId)
          return 'updated' as const
        }
      )
    )
  }

  /** Whoever dies with one in hand leaves it due again after the lease; a renewal that lands says when it is due next. */
  async takeDue(now: number, leaseMs: number): Promise<readonly Subscription[]> {
    const rows = await this.#database.transaction(PLATFORM, 'take the subscriptions that are due', (transaction) =>
      transaction.any(sql.type(SUBSCRIPTION_ROW)`
        with due as (
          select id from subscription
           where renew_at <= ${instant(now)}
           order by renew_at, id
           limit ${DUE_MAX}
             for update skip locked
        ), taken as (
          update subscription as kept set renew_at = ${instant(now + leaseMs)}
            from due where kept.id = due.id
          returning kept.*
        )
        select ${SUBSCRIPTION_COLUMNS} from taken order by period_end, id`)
    )
    return rows.map(toSubscription)
  }
}

function conditions({ customerId, status }: SubscriptionFilter): ListSqlToken {
  return sql.join(
    [
      sql.fragment`true`,
      ...(customerId === null ? [] : [sql.fragment`customer_id = ${customerId}`]),
      ...(status === null ? [] : [sql.fragment`status = ${status}`])
    ],
    sql.fragment` and `
  )
}

function scheduledJson({ scheduledChange }: Subscription): string | null {
  return scheduledChange === null ? null : JSON.stringify(scheduledChange)
}

function renewAt(next: Subscription): number | null {
  return isLive(next) ? next.currentPeriod.end : null
}

async function closePeriod(
  transaction: DatabaseTransactionConnection,
  { id }: Subscription,
  closed: Period
): Promise<void> {
  await transaction.one(sql.type(PERIOD_WRITTEN)`
    update subscription_period set ends_at = ${instant(closed.end)}, status = 'closed'
     where subscription_id = ${id} and starts_at = ${instant(closed.start)} and status = 'open'
    returning subscription_id`)
}

/** What was judged before may have changed since: the customer stays as it is until the subscription is there. */
async function holdFitting(transaction: DatabaseTransactionConnection, next: Subscription): Promise<boolean> {
  const fitting = await transaction.maybeOne(sql.type(WRITTEN)`
    select customer.id from customer join plan_version on plan_version.id = ${next.planId}
     where customer.id = ${next.customerId} and customer.status = 'active' and customer.currency = plan_version.currency
       and plan_version.status = 'published' and coalesce(plan_version.only_for, customer.kind) = customer.kind
       for share of customer`)
  return fitting !== null
}

/**
 * Whether one that began before it was made would have usage that another of the customer's is billed for. Made now it has not: what
 * is canceled holds until the quarter-hour in which this one begins.
 */
async function overlaps(
  transaction: DatabaseTransactionConnection,
  { customerId, createdAt }: Subscription,
  startsAt: number
): Promise<boolean> {
  if (startsAt === snapToQuarter(createdAt)) return false
  const found = await transaction.maybeOne(sql.type(PERIOD_WRITTEN)`
    select subscription_id from subscription_period
     where customer_id = ${customerId} and ends_at > ${instant(startsAt)} limit 1`)
  return found !== null
}

/** In the place of the open period when that begins at the same time: a trial that ended on its first day has none. */
async function openPeriod(
  transaction: DatabaseTransactionConnection,
  { id, customerId }: Subscription,
  { opened, follows }: { readonly opened: SubscriptionPeriod; readonly follows: number | null }
): Promise<void> {
  const { start, end, planId, timeZone, isTrial } = opened
  await transaction.one(sql.type(PERIOD_WRITTEN)`
    insert into subscription_period (subscription_id, customer_id, starts_at, ends_at, full_end, follows, plan_id, time_zone, is_trial, status)
    values (${id}, ${customerId}, ${instant(start)}, ${instant(end)}, ${instant(end)}, ${instantOrNull(follows)}, ${planId},
            ${timeZone}, ${isTrial}, 'open')
    on conflict (subscription_id, starts_at) do update
       set ends_at = excluded.ends_at, full_end = excluded.full_end, plan_id = excluded.plan_id, time_zone = excluded.time_zone, is_trial = excluded.is_trial
     where subscription_period.status = 'open'
    returning subscription_id`)
}

/**
 * Where a period begins or ends is billed. A subscription that began later on its first day is billed after that: within its
 * quarter-hour another change may take the place of the first. A trial that ended on its first day had nothing to bill where it began, and perhaps was
 * looked at already: what took its place has.
 */
async function markBillingDue(
  transaction: DatabaseTransactionConnection,
  { id, customerId }: Subscription,
  { boundary, changedAt }: { readonly boundary: number; readonly changedAt: number }
): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    insert into billing_boundary (subscription_id, boundary, customer_id, kind, state, due_at)
    values (${id}, ${instant(boundary)}, ${customerId}, 'period', 'due', ${instant(Math.max(boundary, changedAt))})
    on conflict (subscription_id, boundary) do update
       set state = 'due', due_at = greatest(billing_boundary.due_at, excluded.due_at), reason = null
     where billing_boundary.state in ('due', 'parked', 'empty')`)
}

async function appendChange(
  transaction: DatabaseTransactionConnection,
  { id, customerId }: Subscription,
  { at, fromPlanId, toPlanId, toStatus, reason }: SubscriptionChange
): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    insert into subscription_change (subscription_id, customer_id, changed_at, from_plan_id, to_plan_id, to_status, reason)
    values (${id}, ${customerId}, ${instant(at)}, ${fromPlanId}, ${toPlanId}, ${toStatus}, ${reason})`)
}
