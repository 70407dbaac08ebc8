// Composes what a customer may use from all that bears on it, in one transaction that holds the customer's row of customer_limits:
// whoever changes a source marks that row, and so waits for this or is seen by the next one.

import { isDeepStrictEqual } from 'node:util'
import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { EffectiveLimits } from '../../domain/api-ports.ts'
import { PLATFORM } from '../../domain/change.ts'
import { CUSTOMER_STATUSES } from '../../domain/customers/customer.ts'
import { periodBoundaries } from '../../domain/subscriptions/billing-period.ts'
import {
  composeLimits,
  type LimitSources,
  type RaisingGrant,
  unraisedLimits,
  usageSince
} from '../../domain/tokens/effective/compose-limits.ts'
import type { Grant } from '../../domain/tokens/grants/grant.ts'
import type { SettledGrant } from '../../domain/tokens/grants/reckon-grants.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { CUSTOMER_LIMITS_ROW, LIMITS, toCustomerLimits } from '../encoding/customer-limits-row.ts'
import { instant } from '../encoding/instant.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'
import { GRANT_COLUMNS, GRANT_ROW, toGrant } from './grant-row.ts'
import { PLAN_COLUMNS, PLAN_ROW, toPlan } from './plan-row.ts'
import { SUBSCRIPTION_COLUMNS, SUBSCRIPTION_ROW, toSubscription } from './subscription-row.ts'

const KEPT = rowParser(
  'customer_limits',
  Type.Object({
    time_zone: Type.String(),
    version: Type.Integer(),
    limits: Type.Union([LIMITS, Type.Null()]),
    own_limits: LIMITS,
    unraised: Type.Union([LIMITS, Type.Null()])
  })
)
const CUSTOMER = rowParser(
  'customer',
  Type.Object({ status: Type.Enum([...CUSTOMER_STATUSES]), time_zone: Type.String() })
)
const START = rowParser('subscription_period', Type.Object({ starts_at: Type.Number() }))
const USED = rowParser('usage_ledger', Type.Object({ quarter: Type.Integer(), tokens: Type.String() }))
const NO_ROWS = rowParser('customer_grant', Type.Never())
const KEPT_COLUMNS = sql.fragment`time_zone, version, limits, own_limits, unraised`

/** Of tokens, without those that were used up or had ended when they were settled. */
const MAY_GIVE = sql.fragment`
  amount_tokens > burnt and (settled_until is null or least(expires_at, revoked_at, 'infinity') > settled_until)`

/** Periods before the current one that are looked at for grants that are not settled: years of months. */
const PERIODS_MAX = 100

type Sources = Omit<LimitSources, 'usedBetween'>

export class PostgresEffectiveLimits implements EffectiveLimits {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async reckon(customerId: string, clock: () => number): ReturnType<EffectiveLimits['reckon']> {
    return this.#database.transaction(PLATFORM, `compose the limits of ${customerId}`, async (transaction) => {
      const kept = await transaction.maybeOne(sql.type(KEPT)`
        select ${KEPT_COLUMNS} from customer_limits where customer_id = ${customerId} for update`)
      if (kept === null) return null
      const now = clock()
      const sources = await loadSources(transaction, customerId, kept)
      const { timeZone } = sources
      const composed = composeLimits(await withUsage(transaction, sources, now), now)
      const { limits, unraised, nextAt } = composed
      for (const one of composed.settled) await settle(transaction, one)
      if (timeZone === kept.time_zone && isDeepStrictEqual([limits, unraised], [kept.limits, kept.unraised])) {
        return { effective: { customerId, timeZone, version: kept.version, limits }, nextAt }
      }
      const row = await transaction.one(sql.type(CUSTOMER_LIMITS_ROW)`
        update customer_limits
           set time_zone = ${timeZone}, limits = ${JSON.stringify(limits)}::jsonb,
               unraised = ${JSON.stringify(unraised)}::jsonb, version = version + 1, updated_at = now()
         where customer_id = ${customerId}
        returning customer_id, time_zone, version, limits`)
      return { effective: toCustomerLimits(row), nextAt }
    })
  }

  /** Whoever has no grants is answered after one look-up in an index. */
  async grants(customerId: string, now: number): Promise<readonly RaisingGrant[]> {
    const what = `reckon the grants of ${customerId}`
    const any = await this.#database.run(what, (pool) =>
      pool.any(sql.type(GRANT_ROW)`
        select ${GRANT_COLUMNS} from customer_grant where customer_id = ${customerId} and ${MAY_GIVE} limit 1`)
    )
    if (any.length === 0) return []
    return this.#database.transaction(PLATFORM, what, async (transaction) => {
      const kept = await findKept(transaction, customerId)
      if (kept === null) throw new Error(`${customerId} has grants, and no row of limits that they marked`)
      const sources = await loadSources(transaction, customerId, kept)
      return composeLimits(await withUsage(transaction, sources, now), now).standings
    })
  }

  async unraised(customerId: string): Promise<readonly Limit[]> {
    return this.#database.transaction(PLATFORM, `read the limits of ${customerId}`, async (transaction) => {
      const kept = await findKept(transaction, customerId)
      return kept === null ? [] : unraisedLimits(await loadSources(transaction, customerId, kept))
    })
  }
}

function findKept(transaction: DatabaseTransactionConnection, customerId: string): Promise<Row<typeof KEPT> | null> {
  return transaction.maybeOne(sql.type(KEPT)`
    select ${KEPT_COLUMNS} from customer_limits where customer_id = ${customerId}`)
}

async function loadSources(
  transaction: DatabaseTransactionConnection,
  customerId: string,
  kept: Row<typeof KEPT>
): Promise<Sources> {
  const customer = await transaction.maybeOne(sql.type(CUSTOMER)`
    select status, time_zone from customer where id = ${customerId}`)
  const timeZone = customer?.time_zone ?? kept.time_zone
  const grants = customer === null ? [] : await loadGrants(transaction, customerId)
  return {
    customerId,
    timeZone,
    status: customer?.status ?? null,
    subscription: customer === null ? null : await loadSubscription(transaction, { customerId, timeZone, grants }),
    ownLimits: kept.own_limits,
    grants,
    before: kept.unraised === null ? null : { timeZone: kept.time_zone, limits: kept.unraised }
  }
}

async function loadSubscription(
  transaction: DatabaseTransactionConnection,
  of: { readonly customerId: string; readonly timeZone: string; readonly grants: readonly Grant[] }
): Promise<LimitSources['subscription']> {
  const row = await transaction.maybeOne(sql.type(SUBSCRIPTION_ROW)`
    select ${SUBSCRIPTION_COLUMNS} from subscription
     where customer_id = ${of.customerId} and status not in ('canceled', 'ended')`)
  if (row === null) return null
  const { id, planId, status, anchor, interval, currentPeriod } = toSubscription(row)
  const plan = await transaction.one(sql.type(PLAN_ROW)`
    select ${PLAN_COLUMNS} from plan_version where id = ${planId}`)
  // The one before the current one is always listed: late usage still counts in it.
  const since = Math.min(currentPeriod.start, ...of.grants.map((grant) => grant.settledUntil ?? grant.effectiveAt))
  const past = await transaction.any(sql.type(START)`
    select starts_at from subscription_period
     where subscription_id = ${id} and starts_at < ${instant(currentPeriod.start)} and ends_at >= ${instant(since)}
     order by starts_at desc limit ${PERIODS_MAX}`)
  const [last, ...earlier] = past.map(({ starts_at }) => starts_at)
  const ahead = periodBoundaries({ anchor, interval, timeZone: of.timeZone }, { from: currentPeriod.end })
  return {
    status,
    planLimits: toPlan(plan).limits,
    boundaries: [...(last === undefined ? [] : [last]), currentPeriod.start, ...ahead],
    earlier: earlier.reverse()
  }
}

async function loadGrants(transaction: DatabaseTransactionConnection, customerId: string): Promise<readonly Grant[]> {
  const rows = await transaction.any(sql.type(GRANT_ROW)`
    select ${GRANT_COLUMNS} from customer_grant where customer_id = ${customerId} and ${MAY_GIVE} order by id`)
  return rows.map(toGrant)
}

/** With the ledger's sums by quarter, as far back as any grant needs them. */
async function withUsage(
  transaction: DatabaseTransactionConnection,
  sources: Sources,
  now: number
): Promise<LimitSources> {
  const since = usageSince(sources, now)
  if (since === null) return { ...sources, usedBetween: () => 0 }
  const rows = await transaction.any(sql.type(USED)`
    select quarter, sum(input + cache_read + cache_write + output + reasoning)::text as tokens
      from usage_ledger where customer_id = ${sources.customerId} and quarter >= ${quarterOf(since)}
     group by quarter`)
  const used = rows.map(({ quarter, tokens }) => ({ at: quarterStartMs(quarter), tokens: Number(tokens) }))
  return {
    ...sources,
    usedBetween: (from, to) => {
      let sum = 0
      for (const { at, tokens } of used) if (at >= from && at < to) sum += tokens
      return sum
    }
  }
}

/** Raises no version of the grant: it is nobody's change, and takes no one's If-Match away. */
async function settle(
  transaction: DatabaseTransactionConnection,
  { grantId, burnt, settledUntil }: SettledGrant
): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    update customer_grant
       set burnt = ${burnt}, settled_until = ${instant(settledUntil)}
     where id = ${grantId}`)
}
