import Type from 'typebox'
import type { JsonObject } from '../../domain/json.ts'
import type { RaisingGrant } from '../../domain/tokens/effective/compose-limits.ts'
import { GRANT_SOURCES, type Grant } from '../../domain/tokens/grants/grant.ts'
import * as schemas from './shared.ts'

const PRIORITY_MAX = 1_000_000
export const PRIORITY_DEFAULT = 100

const GRANT_ID = '0198c0de-0000-7000-8000-000000000051'

const Tokens = Type.Integer({
  description: 'Tokens that may be used beyond the max of the limit that they raise.',
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER
})
const Priority = Type.Integer({
  description: 'The lowest burns first; of equals the one that expires first, then the oldest.',
  minimum: 0,
  maximum: PRIORITY_MAX
})
const Source = schemas.oneOf(GRANT_SOURCES, 'Why it is given.')
const Money = Type.Object(
  {
    amountMinor: Type.String({
      description: "A string of the currency's minor unit, since numbers lose digits.",
      pattern: '^[1-9][0-9]{0,14}$'
    }),
    currency: Type.String({ description: "ISO 4217: that of the customer's invoices.", pattern: '^[A-Z]{3}$' })
  },
  { ...schemas.strict, title: 'Money', description: 'Money that lowers invoices.' }
)

export const GrantId = Type.String({
  description: 'Id of the grant.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [GRANT_ID]
})

export const NewGrantBody = Type.Object(
  {
    tokens: Type.Optional(Tokens),
    money: Type.Optional(Money),
    priority: Type.Optional(Type.Integer({ ...Priority, default: PRIORITY_DEFAULT })),
    source: Source,
    effectiveAt: Type.Optional({
      ...schemas.Instant,
      description: 'When it begins, a full quarter of an hour; by default the current one.'
    }),
    expiresAt: Type.Optional({
      ...schemas.Instant,
      description: 'When what is left of it is gone, a full quarter of an hour; by default never.'
    }),
    limitId: Type.Optional(
      Type.String({
        description:
          "The limit that the tokens raise: on all of the customer's tokens, over a window that ends. By default the one of those with the longest window, whichever that is at the time.",
        pattern: '^[A-Za-z0-9._-]{1,64}$'
      })
    )
  },
  {
    ...schemas.strict,
    title: 'NewGrant',
    description: 'Either `tokens` or `money`.',
    examples: [
      { tokens: 500_000, source: 'purchase', expiresAt: '2026-06-01T00:00:00.000Z' },
      { money: { amountMinor: '4900', currency: 'EUR' }, source: 'adjustment' }
    ]
  }
)

const nullable = <T>(type: string, description: string) => Type.Unsafe<T | null>({ type: [type, 'null'], description })

export const GrantTold = Type.Object(
  {
    id: Type.String({ description: 'UUID.' }),
    customerId: Type.String(),
    tokens: nullable<number>('integer', 'What was given; null for a grant of money.'),
    money: Type.Unsafe<{ amountMinor: string; currency: string } | null>({
      type: ['object', 'null'],
      description: 'What was given; null for a grant of tokens.',
      properties: { amountMinor: { type: 'string' }, currency: { type: 'string' } },
      required: ['amountMinor', 'currency'],
      additionalProperties: false
    }),
    priority: Priority,
    source: Source,
    effectiveAt: schemas.Instant,
    expiresAt: schemas.NullableInstant('When what is left of it is gone; null: never.'),
    limitId: schemas.NullableString('The limit that it was given for; null: whichever has the longest window.'),
    raises: schemas.NullableString(
      'Id of the limit that the tokens raise while they are effective; null for money, and while the customer has no limit that they can raise: they wait.'
    ),
    revokedAt: schemas.NullableInstant('Since when it is taken back; null: it is not.'),
    version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant
  },
  {
    ...schemas.strict,
    title: 'Grant',
    description: 'Given beside the plan. The balance says what is left of its tokens.'
  }
)

export const GRANT_EXAMPLE = {
  id: GRANT_ID,
  customerId: 'clinic-42',
  tokens: 500_000,
  money: null,
  priority: PRIORITY_DEFAULT,
  source: 'purchase',
  effectiveAt: '2026-03-12T09:30:00.000Z',
  expiresAt: '2026-06-01T00:00:00.000Z',
  limitId: null,
  raises: 'month-total',
  revokedAt: null,
  version: 1,
  createdAt: '2026-03-12T09:34:12.250Z',
  updatedAt: '2026-03-12T09:34:12.250Z'
} as const

/** `raises`: id of a limit. */
export function tellGrant(grant: Grant, raises: string | null) {
  const { id, customerId, amount, priority, source, limitId, version } = grant
  const money = amount.kind === 'money' ? amount : null
  return {
    id,
    customerId,
    tokens: amount.kind === 'tokens' ? amount.tokens : null,
    money: money === null ? null : { amountMinor: String(money.amountMinor), currency: money.currency },
    priority,
    source,
    effectiveAt: instant(grant.effectiveAt),
    expiresAt: instantOrNull(grant.expiresAt),
    limitId,
    raises,
    revokedAt: instantOrNull(grant.revokedAt),
    version,
    createdAt: instant(grant.createdAt),
    updatedAt: instant(grant.updatedAt)
  } satisfies JsonObject
}

/** What is left of a grant, as the balance tells it. */
export const GrantStandingTold = Type.Object(
  {
    id: Type.String({ description: 'Id of the grant.' }),
    limitId: schemas.NullableString('The limit that it raises; null: it waits for one.'),
    tokens: Type.Integer({ description: 'What was given.' }),
    burnt: Type.Integer({ description: 'What usage has used of it.' }),
    remaining: Type.Integer({ description: 'What it can still give; 0 once it has ended.' }),
    effectiveAt: schemas.Instant,
    expiresAt: schemas.NullableInstant('When what remains is gone: it expires, or is taken back; null: never.'),
    priority: Priority
  },
  { ...schemas.strict, title: 'GrantStanding', description: 'Where a grant of tokens stands.' }
)

export const GRANT_STANDING_EXAMPLE = {
  id: GRANT_ID,
  limitId: 'month-total',
  tokens: 500_000,
  burnt: 120_000,
  remaining: 380_000,
  effectiveAt: '2026-03-12T09:30:00.000Z',
  expiresAt: '2026-06-01T00:00:00.000Z',
  priority: PRIORITY_DEFAULT
} as const

export function tellGrantStanding({ grant, limitId, burnt, remaining }: RaisingGrant) {
  const { id, amount, effectiveAt, revokedAt, expiresAt, priority } = grant
  if (amount.kind !== 'tokens') throw new Error(`grant ${id} is of money and has no standing`)
  return {
    id,
    limitId,
    tokens: amount.tokens,
    burnt,
    remaining,
    effectiveAt: instant(effectiveAt),
    expiresAt: instantOrNull(revokedAt ?? expiresAt),
    priority
  }
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}

function instantOrNull(ms: number | null): string | null {
  return ms === null ? null : instant(ms)
}
