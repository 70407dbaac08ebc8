// The one thing that is ever taken out of the audit trail: what names a person. Whoever erases one does it in the transaction
// that changes the person's row.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import { rowParser } from '../encoding/row-parser.ts'
import { holdHead } from './write-change.ts'

const ROLE = rowParser('settings', Type.Object({ role: Type.String() }))
const ERASED = rowParser('audit_event', Type.Object({ id: Type.String() }))

/**
 * Answers how many records had something to be taken out. The customer's chain is held from here on: whoever appends to it has
 * committed before, and is seen, or comes after; and two erasures that share records do not wait for each other in a circle.
 */
export async function erasePersonal(
  transaction: DatabaseTransactionConnection,
  customerId: string,
  userId: string
): Promise<number> {
  await holdHead(transaction, customerId)
  return asEraser(transaction, async () => {
    const isOfUser = sql.fragment`
      case when digest = content #>> '{actor,address}' then actor_id = ${userId}
           else entity_kind = 'user' and entity_id = ${userId} end`
    const erased = await transaction.any(sql.type(ERASED)`
      update audit_event
         set personal = (select coalesce(jsonb_object_agg(digest, value), '{}')
                           from jsonb_each(personal) as kept (digest, value)
                          where not (${isOfUser}))
       where customer_id = ${customerId}
         and (actor_id = ${userId} or (entity_kind = 'user' and entity_id = ${userId}))
         and exists (select from jsonb_object_keys(personal) as kept (digest) where ${isOfUser})
      returning id`)
    return erased.length
  })
}

/** For one statement: the role may set the personal values of audit_event, and nothing else anywhere. */
async function asEraser<T>(transaction: DatabaseTransactionConnection, work: () => Promise<T>): Promise<T> {
  const { role } = await transaction.one(sql.type(ROLE)`select current_user::text as role`)
  await takeRole(transaction, 'tokenmeter_eraser')
  const result = await work()
  await takeRole(transaction, role)
  return result
}

/** Until the transaction ends. */
async function takeRole(transaction: DatabaseTransactionConnection, role: string): Promise<void> {
  await transaction.one(sql.type(ROLE)`select set_config('role', ${role}, true) as role`)
}
