/** Audit records as the OpenAPI document shows them. */
import Type from 'typebox'
import type { Actor } from '../../domain/audit/audit-record.ts'
import type { KeptRecord } from '../../domain/audit/audit-store.ts'
import type { JsonObject } from '../../domain/json.ts'
import * as schemas from './shared.ts'

const ID_LENGTH_MAX = 256
const ACTOR_KINDS: readonly Actor['kind'][] = ['api-key', 'user', 'service']

export const auditFilters = {
  customerId: Type.Optional(schemas.CustomerId),
  entityKind: Type.Optional(schemas.visible('Of entities of a kind, `user` for instance.', ID_LENGTH_MAX)),
  entityId: Type.Optional(schemas.visible('Of one entity.', ID_LENGTH_MAX)),
  actorId: Type.Optional(schemas.visible('What one user, key or service did.', ID_LENGTH_MAX)),
  action: Type.Optional(
    schemas.visible('One action, or with a final `*` all that begin so: `customer.*`.', ID_LENGTH_MAX)
  ),
  from: Type.Optional({ ...schemas.Instant, description: 'What happened then or later.' }),
  to: Type.Optional({ ...schemas.Instant, description: 'What happened before.' })
}

const State = (description: string) =>
  Type.Unsafe<JsonObject | null>({ type: ['object', 'null'], additionalProperties: true, description })

export const AuditEventTold = Type.Object(
  {
    id: Type.String({ description: 'UUID.' }),
    customerId: schemas.NullableString("Whose trail it belongs to; null: the platform's own."),
    sequence: Type.Integer({ description: 'Its place in that trail, from 1, without a gap.' }),
    hash: Type.String({ description: 'SHA-256 over what it says and the hash before it, 64 hexadecimal digits.' }),
    action: Type.String({ description: 'Noun and past tense.' }),
    actor: Type.Object(
      {
        kind: schemas.oneOf(ACTOR_KINDS, 'Who.'),
        id: Type.String(),
        address: schemas.NullableString('From where; null when nobody called, or when it was erased.'),
        requestId: schemas.NullableString('The `x-request-id` of the request.')
      },
      schemas.strict
    ),
    entity: Type.Object({ kind: Type.String(), id: Type.String() }, schemas.strict),
    before: State('The entity before. Values that were erased are null.'),
    after: State('The entity after. Values that were erased are null.'),
    occurredAt: schemas.Instant,
    origin: Type.Unsafe<KeptRecord['origin']>({
      type: ['object', 'null'],
      description: 'The event by which another service told it; null when this service did it itself.',
      properties: { source: { type: 'string' }, id: { type: 'string' } },
      required: ['source', 'id'],
      additionalProperties: false
    })
  },
  { ...schemas.strict, title: 'AuditEvent', description: 'Who did what to which entity.' }
)

export const AUDIT_EVENT_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000007',
  customerId: 'clinic-42',
  sequence: 118,
  hash: '5f6c1a0b0a8de1d0c0f5f0a0c3f9e6bb1d7b2a0f4e63f9d8e2c1b0a99887766f',
  action: 'user.disabled',
  actor: { kind: 'user', id: 'dr-amina', address: '192.0.2.7', requestId: '0198c0de-0000-7000-8000-000000000001' },
  entity: { kind: 'user', id: 'dr-moussa' },
  before: { status: 'active', role: 'developer' },
  after: { status: 'disabled', role: 'developer' },
  occurredAt: '2026-03-12T09:30:00.000Z',
  origin: null
} as const

export function tellAuditEvent({ at, ...record }: KeptRecord) {
  return { ...record, occurredAt: new Date(at).toISOString() }
}
