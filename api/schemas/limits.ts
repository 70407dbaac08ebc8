/**
 * A customer's limits as the OpenAPI document shows them. The rules themselves are `validateLimits` of the domain, whose messages
 * name the field; these schemas describe the same shape to readers and generators, and check nothing.
 */
import Type, { type TProperties, type TSchema } from 'typebox'
import type { Limit as CustomerLimit } from '../../domain/tokens/limit.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import {
  COST_WEIGHT_MAX,
  LIMITS_MAX,
  PERIOD_BOUNDARIES_MAX,
  ROLLING_HOURS_MAX
} from '../../domain/tokens/validate-limits.ts'
import * as schemas from './shared.ts'

export const kind = <const K extends string, P extends TProperties>(name: K, properties: P, description: string) =>
  Type.Object({ kind: Type.Literal(name), ...properties }, { ...schemas.strict, description })

const Scope = Type.Union(
  [
    kind('customer', {}, 'Everything the customer uses.'),
    kind('user', { userId: schemas.UserId }, 'One user.'),
    kind('each-user', {}, 'Each user apart, every one with this max.'),
    kind('model', { model: schemas.Model }, 'One model.'),
    kind('each-model', {}, 'Each model apart, every one with this max.'),
    kind('user-model', { userId: schemas.UserId, model: schemas.Model }, 'One user with one model.')
  ],
  { description: 'Whose usage is summed.' }
)

const Weight = Type.Integer({ minimum: 0, maximum: COST_WEIGHT_MAX })
const Weights = Type.Object(
  { input: Weight, cacheRead: Weight, cacheWrite: Weight, output: Weight, reasoning: Weight },
  { ...schemas.strict, description: 'Integer price of one token, by pool.' }
)

const Measure = Type.Union(
  [
    kind('total', {}, 'All tokens.'),
    kind('pool', { pool: schemas.oneOf(TOKEN_POOLS, 'The pool.') }, 'One pool.'),
    kind(
      'cost',
      {
        unit: Type.String({ description: 'Fraction of a currency that a weight of 1 is.', examples: ['EUR/1000000'] }),
        weights: Type.Record(Type.String(), Weights, {
          description: 'By exact model name; `*` is every model not named, and must be there.'
        })
      },
      'Σ tokens × weight.'
    )
  ],
  { description: 'What is summed.' }
)

/** Windows that a plan's limits may have as well as a customer's. */
export const TIMELESS_WINDOWS = [
  Type.Object(
    { kind: schemas.oneOf(['month', 'week', 'day', 'hour'], 'Which calendar window.') },
    { ...schemas.strict, description: "A calendar window in the customer's zone." }
  ),
  kind(
    'rolling',
    { hours: Type.Integer({ minimum: 1, maximum: ROLLING_HOURS_MAX }) },
    'The last hours, moving by the quarter-hour.'
  )
]

const PeriodWindow = kind(
  'period',
  {
    boundaries: Type.Array(Type.Integer(), {
      minItems: 2,
      maxItems: PERIOD_BOUNDARIES_MAX,
      description: 'Milliseconds since the epoch, full quarters of an hour, ascending.'
    })
  },
  'Billing periods.'
)

export const limitOver = (title: string, windows: TSchema[]) =>
  Type.Object(
    {
      id: Type.String({ description: 'Unique for the customer.', pattern: '^[A-Za-z0-9._-]{1,64}$' }),
      scope: Scope,
      measure: Measure,
      window: Type.Union(windows, { description: 'Over which time.' }),
      max: Type.Integer({
        description: 'The most in one window: tokens, or the unit of a cost.',
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER
      }),
      mode: schemas.oneOf(['hard', 'soft'], 'A hard limit refuses, a soft one only tells.'),
      whenUnknown: schemas.oneOf(['deny', 'allow'], 'What a hard limit answers while the meter can not know.')
    },
    { ...schemas.strict, title }
  )

const Limit = limitOver('Limit', [...TIMELESS_WINDOWS, PeriodWindow])

const timeZone = Type.String({ description: 'IANA time zone of the calendar windows.', examples: ['Africa/Dakar'] })

const LIMITS_EXAMPLE = {
  timeZone: 'Africa/Dakar',
  limits: [
    {
      id: 'month-total',
      scope: { kind: 'customer' },
      measure: { kind: 'total' },
      window: { kind: 'month' },
      max: 2_000_000,
      mode: 'hard',
      whenUnknown: 'deny'
    },
    {
      id: 'each-user-day',
      scope: { kind: 'each-user' },
      measure: { kind: 'pool', pool: 'output' },
      window: { kind: 'day' },
      max: 50_000,
      mode: 'soft',
      whenUnknown: 'allow'
    }
  ]
}

export const LimitsBody = Type.Object(
  {
    timeZone,
    limits: Type.Unsafe<readonly CustomerLimit[]>(
      Type.Array(Limit, { maxItems: LIMITS_MAX, description: 'All limits of the customer; those left out are gone.' })
    )
  },
  { ...schemas.strict, title: 'LimitsPut', examples: [LIMITS_EXAMPLE] }
)

/** Limits as stored: what a client put, so they are told as they are. */
export const LimitsAnswer = Type.Object(
  {
    customerId: Type.String(),
    timeZone,
    version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
    limits: Type.Unsafe<readonly CustomerLimit[]>(Type.Array(Limit))
  },
  { ...schemas.strict, title: 'CustomerLimits' }
)

export const LIMITS_ANSWER_EXAMPLE = { customerId: 'clinic-42', version: 3, ...LIMITS_EXAMPLE }
