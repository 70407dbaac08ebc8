// A row of customer_grant, checked as it comes out.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { GRANT_SOURCES, type Grant } from '../../domain/tokens/grants/grant.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableNumber = Type.Union([Type.Number(), Type.Null()])
const NullableText = Type.Union([Type.String(), Type.Null()])

/** Amounts as text: slonik makes one kind of number of every bigint, and these are of two kinds. */
export const GRANT_COLUMNS = sql.fragment`
  id, customer_id, amount_tokens::text as amount_tokens, amount_minor::text as amount_minor, currency, priority, source, effective_at, expires_at, limit_id,
  revoked_at, burnt::text as burnt, settled_until, version, created_at, updated_at`

export const GRANT_ROW = rowParser(
  'customer_grant',
  Type.Object({
    id: Type.String(),
    customer_id: Type.String(),
    amount_tokens: NullableText,
    amount_minor: NullableText,
    currency: NullableText,
    priority: Type.Integer(),
    source: Type.Enum([...GRANT_SOURCES]),
    effective_at: Type.Number(),
    expires_at: NullableNumber,
    limit_id: NullableText,
    revoked_at: NullableNumber,
    burnt: Type.String(),
    settled_until: NullableNumber,
    version: Type.Integer(),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)

export function toGrant(row: Row<typeof GRANT_ROW>): Grant {
  return {
    id: row.id,
    customerId: row.customer_id,
    amount: amountOf(row),
    priority: row.priority,
    source: row.source,
    effectiveAt: row.effective_at,
    expiresAt: row.expires_at,
    limitId: row.limit_id,
    revokedAt: row.revoked_at,
    burnt: BigInt(row.burnt),
    settledUntil: row.settled_until,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}

function amountOf({ id, amount_tokens, amount_minor, currency }: Row<typeof GRANT_ROW>): Grant['amount'] {
  if (amount_tokens !== null) return { kind: 'tokens', tokens: Number(amount_tokens) }
  if (amount_minor === null || currency === null) throw new TypeError(`grant ${id} is of neither tokens nor money`)
  return { kind: 'money', amountMinor: BigInt(amount_minor), currency }
}
