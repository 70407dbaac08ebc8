// A row of plan_version, checked as it comes out: prices and limits are JSON, in the form that answers and audit records have.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { CUSTOMER_KINDS } from '../../domain/customers/customer.ts'
import { CHARGE_MODELS, PLAN_STATUSES, type PlanVersion } from '../../domain/subscriptions/plan.ts'
import { planContentFromJson } from '../../domain/subscriptions/plan-json.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import { LIMIT_FIELDS, TIMELESS_WINDOWS } from '../encoding/customer-limits-row.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableText = Type.Union([Type.String(), Type.Null()])
const NullableNumber = Type.Union([Type.Number(), Type.Null()])

const Price = Type.Object({
  pool: Type.Enum([...TOKEN_POOLS]),
  model: Type.String(),
  chargeModel: Type.Enum([...CHARGE_MODELS]),
  perTokens: Type.Union([Type.Literal(1_000), Type.Literal(1_000_000)]),
  tiers: Type.Array(
    Type.Object({
      upTo: Type.Union([Type.Integer(), Type.Null()]),
      amount: Type.String({ pattern: String.raw`^\d+(\.\d+)?$` })
    }),
    { minItems: 1 }
  ),
  includedTokens: Type.Integer({ minimum: 0 }),
  minimumMinor: Type.String({ pattern: String.raw`^\d+$` }),
  effectiveFrom: NullableText
})

const PlanLimit = Type.Object({
  ...LIMIT_FIELDS,
  window: Type.Union([...TIMELESS_WINDOWS, Type.Object({ kind: Type.Literal('plan-period') })])
})

export const PLAN_COLUMNS = sql.fragment`
  id, code, version, status, title, currency, billing_interval, base_fee_minor::text as base_fee_minor, trial_days, only_for,
  prices, limits, revision, created_at, updated_at, published_at`

export const PLAN_ROW = rowParser(
  'plan_version',
  Type.Object({
    id: Type.String(),
    code: Type.String(),
    version: Type.Integer({ minimum: 1 }),
    status: Type.Enum([...PLAN_STATUSES]),
    title: Type.String(),
    currency: Type.String(),
    billing_interval: Type.Enum(['month', 'year']),
    // As text: slonik makes a number of a bigint, which drops digits beyond 2^53.
    base_fee_minor: Type.String({ pattern: String.raw`^\d+$` }),
    trial_days: Type.Integer(),
    only_for: Type.Union([Type.Enum([...CUSTOMER_KINDS]), Type.Null()]),
    prices: Type.Array(Price),
    limits: Type.Array(PlanLimit),
    revision: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number(),
    published_at: NullableNumber
  })
)

export function toPlan(row: Row<typeof PLAN_ROW>): PlanVersion {
  return {
    id: row.id,
    code: row.code,
    version: row.version,
    status: row.status,
    ...planContentFromJson({
      title: row.title,
      currency: row.currency,
      interval: row.billing_interval,
      baseFeeMinor: row.base_fee_minor,
      trialDays: row.trial_days,
      onlyFor: row.only_for,
      prices: row.prices,
      limits: row.limits
    }),
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    publishedAt: row.published_at
  }
}
