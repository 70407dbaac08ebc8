// A row of customer_limits, checked as it comes out: what the meter compiles is never half a limit, even when somebody
// wrote to the table by hand.

import { Type } from 'typebox'
import type { CustomerLimits } from '../../domain/tokens/limit.ts'
import { type Row, rowParser } from './row-parser.ts'

const CostWeights = Type.Object({
  input: Type.Integer(),
  cacheRead: Type.Integer(),
  cacheWrite: Type.Integer(),
  output: Type.Integer(),
  reasoning: Type.Integer()
})

const Scope = Type.Union([
  Type.Object({ kind: Type.Literal('customer') }),
  Type.Object({ kind: Type.Literal('user'), userId: Type.String() }),
  Type.Object({ kind: Type.Literal('each-user') }),
  Type.Object({ kind: Type.Literal('model'), model: Type.String() }),
  Type.Object({ kind: Type.Literal('each-model') }),
  Type.Object({ kind: Type.Literal('user-model'), userId: Type.String(), model: Type.String() })
])

const Measure = Type.Union([
  Type.Object({ kind: Type.Literal('total') }),
  Type.Object({
    kind: Type.Literal('pool'),
    pool: Type.Union([
      Type.Literal('input'),
      Type.Literal('cacheRead'),
      Type.Literal('cacheWrite'),
      Type.Literal('output'),
      Type.Literal('reasoning')
    ])
  }),
  Type.Object({ kind: Type.Literal('cost'), unit: Type.String(), weights: Type.Record(Type.String(), CostWeights) })
])

/** Windows that a plan's limits may have as well as a customer's. */
export const TIMELESS_WINDOWS = [
  Type.Object({
    kind: Type.Union([Type.Literal('month'), Type.Literal('week'), Type.Literal('day'), Type.Literal('hour')])
  }),
  Type.Object({ kind: Type.Literal('rolling'), hours: Type.Integer() })
] as const

/** What a limit states beside its window. */
export const LIMIT_FIELDS = {
  id: Type.String(),
  scope: Scope,
  measure: Measure,
  max: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  mode: Type.Union([Type.Literal('hard'), Type.Literal('soft')]),
  whenUnknown: Type.Union([Type.Literal('deny'), Type.Literal('allow')])
}

const Limit = Type.Object({
  ...LIMIT_FIELDS,
  window: Type.Union([
    ...TIMELESS_WINDOWS,
    Type.Object({ kind: Type.Literal('period'), boundaries: Type.Array(Type.Integer()) })
  ])
})

export const LIMITS = Type.Array(Limit)

/** A row as it must be; slonik asks it of each row, and `parse` does for those that pg reads. */
export const CUSTOMER_LIMITS_ROW = rowParser(
  'customer_limits',
  Type.Object({
    customer_id: Type.String(),
    time_zone: Type.String(),
    version: Type.Integer({ minimum: 0 }),
    limits: LIMITS
  })
)

export function toCustomerLimits(row: Row<typeof CUSTOMER_LIMITS_ROW>): CustomerLimits {
  return { customerId: row.customer_id, timeZone: row.time_zone, version: row.version, limits: row.limits }
}
