import { sql } from 'slonik'
import { Type } from 'typebox'
import { SUBSCRIPTION_STATUSES, type Subscription } from '../../domain/subscriptions/subscription.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableNumber = Type.Union([Type.Number(), Type.Null()])

export const SUBSCRIPTION_COLUMNS = sql.fragment`
  id, customer_id, plan_id, status, anchor, billing_interval, time_zone, period_start, period_end, trial_end,
  scheduled_change, paused_at, canceled_at, version, created_at, updated_at`

export const SUBSCRIPTION_ROW = rowParser(
  'subscription',
  Type.Object({
    id: Type.String(),
    customer_id: Type.String(),
    plan_id: Type.String(),
    status: Type.Enum([...SUBSCRIPTION_STATUSES]),
    anchor: Type.String(),
    billing_interval: Type.Enum(['month', 'year']),
    time_zone: Type.String(),
    period_start: Type.Number(),
    period_end: Type.Number(),
    trial_end: NullableNumber,
    scheduled_change: Type.Union([
      Type.Object({
        kind: Type.Enum(['change-plan', 'cancel']),
        planId: Type.Union([Type.String(), Type.Null()]),
        at: Type.Integer()
      }),
      Type.Null()
    ]),
    paused_at: NullableNumber,
    canceled_at: NullableNumber,
    version: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)

export function toSubscription(row: Row<typeof SUBSCRIPTION_ROW>): Subscription {
  return {
    id: row.id,
    customerId: row.customer_id,
    planId: row.plan_id,
    status: row.status,
    anchor: row.anchor,
    interval: row.billing_interval,
    timeZone: row.time_zone,
    currentPeriod: { start: row.period_start, end: row.period_end },
    trialEnd: row.trial_end,
    scheduledChange: row.scheduled_change,
    pausedAt: row.paused_at,
    canceledAt: row.canceled_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}
