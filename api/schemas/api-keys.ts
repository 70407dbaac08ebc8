import Type from 'typebox'
import { type ApiKey, ROTATION_OVERLAP_MS } from '../../domain/customers/api-key.ts'
import { SCOPES } from '../access/access-rule.ts'
import * as schemas from './shared.ts'

const OVERLAP_SECONDS_DEFAULT = ROTATION_OVERLAP_MS / 1_000
/** Whoever needs longer for a change of keys makes a second key. */
const OVERLAP_SECONDS_MAX = 30 * 86_400

const Scopes = Type.Array(schemas.oneOf(SCOPES, 'What it opens.'), {
  description: 'What the key is good for; none that its maker lacks.',
  minItems: 1,
  maxItems: SCOPES.length,
  uniqueItems: true
})
const Name = schemas.visible('For people: who uses it, and where.', 64)
const ExpiresAt = Type.String({ description: 'From then on it opens nothing.', format: 'date-time' })

export const NewApiKeyBody = Type.Object(
  {
    customerId: Type.Optional(
      Type.String({
        ...schemas.CustomerId,
        description:
          "Whose key it is. Left out: the caller's own customer's; by a credential of the platform, the platform's."
      })
    ),
    name: Name,
    scopes: Scopes,
    expiresAt: Type.Optional(ExpiresAt)
  },
  { ...schemas.strict, title: 'NewApiKey', examples: [{ name: 'dashboard', scopes: ['limits:read', 'usage:read'] }] }
)

export const RotationBody = Type.Object(
  {
    overlapSeconds: Type.Optional(
      Type.Integer({
        description: 'How long the old key goes on beside the new one.',
        minimum: 0,
        maximum: OVERLAP_SECONDS_MAX,
        default: OVERLAP_SECONDS_DEFAULT
      })
    )
  },
  { ...schemas.strict, title: 'ApiKeyRotation', examples: [{ overlapSeconds: OVERLAP_SECONDS_DEFAULT }] }
)

const told = {
  id: Type.String({ description: 'Id of the key; not a secret.' }),
  customerId: schemas.NullableString("Whose key it is; null: the platform's."),
  name: Name,
  scopes: Type.Array(Type.String(), { description: 'What the key is good for.' }),
  expiresAt: schemas.NullableInstant('From then on it opens nothing; null: it does not expire.'),
  revokedAt: schemas.NullableInstant('When it was revoked; null: it was not.'),
  replacedBy: schemas.NullableString('Id of the key that was made in its place.'),
  lastUsedAt: schemas.NullableInstant('When it was last used, to the minute; null: never.'),
  version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
  createdAt: schemas.Instant,
  updatedAt: schemas.Instant
}
export const ApiKeyTold = Type.Object(told, {
  ...schemas.strict,
  title: 'ApiKey',
  description: 'An API key, without its secret.'
})
export const ApiKeyMade = Type.Object(
  {
    ...told,
    secret: schemas.NullableString(
      'The key itself, told this once: only its hash is kept. Null in the answer to a repeat of the request (`idempotent-replayed`): who lost the first answer rotates the key.'
    )
  },
  { ...schemas.strict, title: 'ApiKeyMade', description: 'An API key as it is made.' }
)
export const API_KEY_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000007',
  customerId: null,
  name: 'dashboard',
  scopes: ['limits:read', 'usage:read'],
  expiresAt: null,
  revokedAt: null,
  replacedBy: null,
  lastUsedAt: null,
  version: 1,
  createdAt: '2026-03-12T09:30:00.000Z',
  updatedAt: '2026-03-12T09:30:00.000Z'
} as const
/** No key: its end is not the check of what stands before it. */
export const SECRET_EXAMPLE = 'tm_live_000000000000000000000000000000000_000000'

export function tellApiKey(key: ApiKey) {
  return {
    id: key.id,
    customerId: key.customerId,
    name: key.name,
    scopes: [...key.scopes],
    expiresAt: instantOrNull(key.expiresAt),
    revokedAt: instantOrNull(key.revokedAt),
    replacedBy: key.replacedBy,
    lastUsedAt: instantOrNull(key.lastUsedAt),
    version: key.version,
    createdAt: new Date(key.createdAt).toISOString(),
    updatedAt: new Date(key.updatedAt).toISOString()
  }
}

function instantOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString()
}
