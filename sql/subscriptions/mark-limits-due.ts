import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import { rowParser } from '../encoding/row-parser.ts'

const MARKED = rowParser('customer_limits', Type.Object({ customer_id: Type.String() }))

/**
 * In the transaction of what changes a customer's effective limits: whoever renews limits composes and sets them soon after the
 * commit, also when the process dies before it could do so at once. A customer without limits gets a row, so as to be found.
 */
export async function markLimitsDue(transaction: DatabaseTransactionConnection, customerId: string): Promise<void> {
  await transaction.one(sql.type(MARKED)`
    insert into customer_limits as kept (customer_id, time_zone, version)
    select id, time_zone, 1 from customer where id = ${customerId}
    on conflict (customer_id) do update set version = kept.version + 1, renew_at = 0
    returning customer_id`)
}
