/**
 * Plans as the OpenAPI document shows them. The rules themselves are `validatePlan` of the domain, whose messages name the field;
 * the schemas of bodies describe the same shape to readers and generators, and check nothing.
 */
import Type from 'typebox'
import { CUSTOMER_KINDS, type CustomerKind } from '../../domain/customers/customer.ts'
import { CHARGE_MODELS, PLAN_STATUSES, type PlanLimit } from '../../domain/subscriptions/plan.ts'
import type { PlanContentJson, PlanJson, PriceJson } from '../../domain/subscriptions/plan-json.ts'
import { PRICES_MAX, TIERS_MAX, TITLE_LENGTH_MAX, TRIAL_DAYS_MAX } from '../../domain/subscriptions/validate-plan.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import { LIMITS_MAX } from '../../domain/tokens/validate-limits.ts'
import { kind, limitOver, TIMELESS_WINDOWS } from './limits.ts'
import * as schemas from './shared.ts'

const INTERVALS = ['month', 'year'] as const

const minor = (description: string) =>
  Type.String({
    description: `${description}: a string of the currency's minor unit, since numbers lose digits.`,
    pattern: '^(0|[1-9]\\d{0,17})$',
    examples: ['4900']
  })

const Code = Type.String({
  description: 'Names the plan through its versions.',
  pattern: '^[a-z0-9-]{1,64}$',
  examples: ['clinic']
})

const Tier = Type.Object(
  {
    upTo: Type.Unsafe<number | null>({
      type: ['integer', 'null'],
      description: 'Tokens up to and including; null, which the last tier has: without end.'
    }),
    amount: Type.String({
      description: "In the currency's major unit, for `perTokens` tokens; exact.",
      pattern: '^(0|[1-9]\\d{0,11})(\\.\\d{1,12})?$',
      examples: ['3.00']
    })
  },
  { ...schemas.strict, title: 'Tier' }
)

const PRICE_FIELDS = {
  pool: schemas.oneOf(TOKEN_POOLS, 'Which tokens.'),
  model: Type.String({
    description:
      'Exact name of a model, or a prefix that ends in `*`; `*` alone is every model. The longest that fits wins.',
    minLength: 1,
    maxLength: 128,
    examples: ['claude-sonnet-*']
  }),
  chargeModel: schemas.oneOf(
    CHARGE_MODELS,
    '`per_unit`: by the token. `package`: by each begun `perTokens`. `graduated`: each tier for the tokens in it. `volume`: the tier of the whole quantity for all of it.'
  ),
  perTokens: Type.Unsafe<1_000 | 1_000_000>({
    type: 'integer',
    enum: [1_000, 1_000_000],
    description: 'Tokens that the amounts are for.'
  }),
  tiers: Type.Array(Tier, {
    minItems: 1,
    maxItems: TIERS_MAX,
    description: 'Ascending. One for `per_unit` and `package`.'
  })
}
const IncludedTokens = Type.Integer({
  description: 'Tokens a period that cost nothing.',
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER
})
const Minimum = minor('Least charge a period for this price')
const EffectiveFrom = schemas.NullableInstant(
  'In force from then on, by the time of usage: a full quarter of an hour. Null: from the start.'
)

const Price = Type.Object(
  { ...PRICE_FIELDS, includedTokens: IncludedTokens, minimumMinor: Minimum, effectiveFrom: EffectiveFrom },
  { ...schemas.strict, title: 'Price' }
)
const PriceAsked = Type.Object(
  {
    ...PRICE_FIELDS,
    includedTokens: Type.Optional(IncludedTokens),
    minimumMinor: Type.Optional(Minimum),
    effectiveFrom: Type.Optional(EffectiveFrom)
  },
  { ...schemas.strict, title: 'PriceStated' }
)

const Limit = limitOver('PlanLimit', [
  ...TIMELESS_WINDOWS,
  kind('plan-period', {}, 'The billing period of whoever subscribes to the plan.')
])
const Limits = Type.Unsafe<readonly PlanLimit[]>(
  Type.Array(Limit, { maxItems: LIMITS_MAX, description: 'What its subscribers may use.' })
)

const Title = Type.String({ description: 'For people.', minLength: 1, maxLength: TITLE_LENGTH_MAX })
const Currency = Type.String({ description: 'ISO 4217; of the base fee and all prices.', pattern: '^[A-Z]{3}$' })
const Interval = schemas.oneOf(INTERVALS, 'How long a billing period is.')
const BaseFee = minor('Fee of a period, billed in advance')
const TrialDays = Type.Integer({ description: 'Days, 0: no trial.', minimum: 0, maximum: TRIAL_DAYS_MAX })
const OnlyFor = Type.Unsafe<CustomerKind | null>({
  type: ['string', 'null'],
  enum: [...CUSTOMER_KINDS, null],
  description: 'Held back for customers of one kind; null: for all.'
})

const PLAN_EXAMPLE_CONTENT = {
  title: 'Clinic',
  currency: 'XOF',
  interval: 'month',
  baseFeeMinor: '29000',
  trialDays: 14,
  onlyFor: null,
  prices: [
    {
      pool: 'input',
      model: '*',
      chargeModel: 'graduated',
      perTokens: 1_000_000,
      tiers: [
        { upTo: 10_000_000, amount: '1900' },
        { upTo: null, amount: '1650.50' }
      ],
      includedTokens: 1_000_000,
      minimumMinor: '0',
      effectiveFrom: null
    }
  ],
  limits: [
    {
      id: 'period-total',
      scope: { kind: 'customer' },
      measure: { kind: 'total' },
      window: { kind: 'plan-period' },
      max: 50_000_000,
      mode: 'hard',
      whenUnknown: 'deny'
    }
  ]
} satisfies PlanContentJson

export const NewPlanBody = Type.Object(
  {
    code: Code,
    title: Title,
    currency: Currency,
    interval: Interval,
    baseFeeMinor: BaseFee,
    trialDays: Type.Optional(TrialDays),
    onlyFor: Type.Optional(OnlyFor),
    prices: Type.Optional(Type.Unsafe<readonly PriceJson[]>(Type.Array(PriceAsked, { maxItems: PRICES_MAX }))),
    limits: Type.Optional(Limits)
  },
  { ...schemas.strict, title: 'NewPlan', examples: [{ code: 'clinic', ...PLAN_EXAMPLE_CONTENT }] }
)

export const PlanPatch = Type.Object(
  {
    title: Type.Optional(Title),
    currency: Type.Optional(Currency),
    interval: Type.Optional(Interval),
    baseFeeMinor: Type.Optional(BaseFee),
    trialDays: Type.Optional(TrialDays),
    onlyFor: Type.Optional(OnlyFor),
    prices: Type.Optional(Type.Unsafe<readonly PriceJson[]>(Type.Array(PriceAsked, { maxItems: PRICES_MAX }))),
    limits: Type.Optional(Limits)
  },
  {
    ...schemas.strict,
    title: 'PlanPatch',
    description: 'What is left out stays; prices and limits are replaced whole.',
    examples: [{ baseFeeMinor: '32000' }]
  }
)

/** In the order of `planToJson`. */
export const PlanTold = Type.Object(
  {
    id: Type.String({ description: 'Id of this version of the plan.' }),
    code: Code,
    version: Type.Integer({ description: 'Of the plan, from 1. A published version never changes.', minimum: 1 }),
    status: schemas.oneOf(
      PLAN_STATUSES,
      '`draft`: may change. `published`: can be subscribed to. `archived`: no more, whoever subscribed goes on.'
    ),
    title: Title,
    currency: Currency,
    interval: Interval,
    baseFeeMinor: BaseFee,
    trialDays: TrialDays,
    onlyFor: OnlyFor,
    prices: Type.Unsafe<PlanJson['prices']>(Type.Array(Price)),
    limits: Limits,
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant,
    publishedAt: schemas.NullableInstant('When it was published; null for a draft.')
  },
  { ...schemas.strict, title: 'Plan', description: 'A version of a plan.' }
)

export const PLAN_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000004',
  code: 'clinic',
  version: 2,
  status: 'published',
  ...PLAN_EXAMPLE_CONTENT,
  createdAt: '2026-03-12T09:30:00.000Z',
  updatedAt: '2026-03-12T09:45:00.000Z',
  publishedAt: '2026-03-12T09:45:00.000Z'
} satisfies PlanJson
