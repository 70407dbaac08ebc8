// How customers pay through a provider, one account each. Naming another begins the schedule of what is due anew.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import { isSameAccount } from '../../../domain/billing/payments/pay-invoice.ts'
import type { PaymentAccountStore, StoredAccount } from '../../../domain/billing/payments/payment-store.ts'
import type { Change, Reach } from '../../../domain/change.ts'
import { refusable } from '../../change/refusable.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { instant } from '../../encoding/instant.ts'
import { rowParser } from '../../encoding/row-parser.ts'
import { ACCOUNT_ROW, toAccount } from './payment-row.ts'

const NO_ROWS = rowParser('invoice', Type.Never())
const KNOWN = rowParser('customer', Type.Object({ id: Type.String() }))
const REMOVED = rowParser('payment_account', Type.Object({ customer_id: Type.String() }))

export class PostgresPaymentAccountStore implements PaymentAccountStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, customerId: string): Promise<StoredAccount | null> {
    return this.#database.transaction(reach, `find the account of ${customerId}`, (transaction) =>
      readAccount(transaction, customerId)
    )
  }

  async put(account: StoredAccount, change: Change): ReturnType<PaymentAccountStore['put']> {
    const { customerId, provider, providerCustomer, providerMethod, updatedAt } = account
    return refusable((refuse) =>
      this.#database.change(change, `put the account of ${customerId}`, async (transaction) => {
        const known = await transaction.maybeOne(sql.type(KNOWN)`select id from customer where id = ${customerId}`)
        if (known === null) throw refuse('unknown-customer')
        const before = await readAccount(transaction, customerId)
        if (before !== null && isSameAccount(before, account)) throw refuse('unchanged')
        await collectAnew(transaction, customerId, updatedAt)
        await transaction.query(sql.type(NO_ROWS)`
          insert into payment_account (customer_id, provider, provider_customer, provider_method, updated_at)
          values (${customerId}, ${provider}, ${providerCustomer}, ${providerMethod}, ${instant(updatedAt)})
          on conflict (customer_id) do update
             set provider = excluded.provider, provider_customer = excluded.provider_customer,
                 provider_method = excluded.provider_method, updated_at = excluded.updated_at`)
        return 'stored' as const
      })
    )
  }

  async remove(customerId: string, now: number, change: Change): Promise<boolean> {
    return refusable((refuse) =>
      this.#database.change(change, `remove the account of ${customerId}`, async (transaction) => {
        await collectAnew(transaction, customerId, now)
        await transaction.query(sql.type(NO_ROWS)`
          update invoice set reminders = 0 where customer_id = ${customerId} and status = 'finalized'`)
        const removed = await transaction.maybeOne(sql.type(REMOVED)`
          delete from payment_account where customer_id = ${customerId} returning customer_id`)
        if (removed === null) throw refuse(false)
        return true
      })
    )
  }
}

/** Null: its customer pays by hand. */
export async function readAccount(
  transaction: DatabaseTransactionConnection,
  customerId: string
): Promise<StoredAccount | null> {
  const row = await transaction.maybeOne(sql.type(ACCOUNT_ROW)`
    select customer_id, provider, provider_customer, provider_method, updated_at
      from payment_account where customer_id = ${customerId}`)
  return row === null ? null : toAccount(row)
}

/** What is due is looked at now; what is not due yet when it is. Rows are locked in the order of ids, as whoever else locks several does. */
async function collectAnew(transaction: DatabaseTransactionConnection, customerId: string, now: number): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    with open as (
      select id from invoice where customer_id = ${customerId} and status = 'finalized' order by id for update
    )
    update invoice set charges = 0, collect_at = greatest(due_at, ${instant(now)}) from open where invoice.id = open.id`)
}
