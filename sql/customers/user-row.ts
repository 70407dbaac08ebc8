import { sql } from 'slonik'
import { Type } from 'typebox'
import { USER_STATUSES, type User } from '../../domain/customers/user.ts'
import { USER_ROLES } from '../../domain/customers/user-role.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

export const USER_COLUMNS = sql.fragment`
  id, customer_id, email, name, role, status, last_seen_at, version, created_at, updated_at`
export const USER_ROW = rowParser(
  'customer_user',
  Type.Object({
    id: Type.String(),
    customer_id: Type.String(),
    email: Type.String(),
    name: Type.Union([Type.String(), Type.Null()]),
    role: Type.Enum([...USER_ROLES]),
    status: Type.Enum([...USER_STATUSES]),
    last_seen_at: Type.Union([Type.Number(), Type.Null()]),
    version: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)

export function toUser(row: Row<typeof USER_ROW>): User {
  return {
    id: row.id,
    customerId: row.customer_id,
    email: row.email,
    name: row.name,
    role: row.role,
    status: row.status,
    lastSeenAt: row.last_seen_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}
