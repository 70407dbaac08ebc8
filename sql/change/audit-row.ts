// A row of audit_event, and the record that it keeps.

import { Type } from 'typebox'
import type { Actor } from '../../domain/audit/audit-record.ts'
import type { KeptRecord } from '../../domain/audit/audit-store.ts'
import type { PersonalValue, SealedRecord } from '../../domain/audit/chain.ts'
import { restoreContent } from '../../domain/audit/restore-record.ts'
import type { Json, JsonObject } from '../../domain/json.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const AnyObject = Type.Unsafe<JsonObject>(Type.Object({}))
const Origin = Type.Object({ source: Type.String(), id: Type.String() })
const CONTENT = rowParser(
  'audit_event',
  Type.Object({
    id: Type.String(),
    customerId: Type.Union([Type.String(), Type.Null()]),
    actor: Type.Object({
      kind: Type.Unsafe<Actor['kind']>(Type.String()),
      id: Type.String(),
      address: Type.Union([Type.String(), Type.Null()]),
      requestId: Type.Union([Type.String(), Type.Null()])
    }),
    action: Type.String(),
    entity: Type.Object({ kind: Type.String(), id: Type.String() }),
    before: Type.Union([AnyObject, Type.Null()]),
    after: Type.Union([AnyObject, Type.Null()]),
    at: Type.Integer(),
    origin: Type.Optional(Origin)
  })
)

/** The columns that hold a sealed record. */
export const SEALED_ROW = rowParser(
  'audit_event',
  Type.Object({
    sequence: Type.BigInt(),
    hash: Type.String(),
    content: AnyObject,
    personal: Type.Record(Type.String(), Type.Object({ salt: Type.String(), value: Type.Unsafe<Json>(Type.Unknown()) }))
  })
)

export function toKeptRecord({ sequence, hash, content, personal }: Row<typeof SEALED_ROW>): KeptRecord {
  const { origin = null, ...record } = CONTENT.parse(restoreContent(content, personal))
  return { sequence: Number(sequence), hash, origin, ...record }
}

/** As a verifier takes it: a personal value of no shape is one that fits no digest. */
export function toPersonal(column: unknown): SealedRecord['personal'] {
  if (typeof column !== 'object' || column === null) return {}
  return Object.fromEntries(
    Object.entries(column).map(([digest, value]) => [digest, isPersonalValue(value) ? value : NO_VALUE])
  )
}

const NO_VALUE: PersonalValue = { salt: '', value: null }

function isPersonalValue(value: unknown): value is PersonalValue {
  return (
    typeof value === 'object' && value !== null && 'value' in value && 'salt' in value && typeof value.salt === 'string'
  )
}
