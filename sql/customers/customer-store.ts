// Customers, one a row. Lists follow the primary key: ids are UUID v7, so their order is that of creation,
// to the millisecond.

import { type DatabaseTransactionConnection, type ListSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { CustomerFilter, CustomerStore } from '../../domain/customers/customer-store.ts'
import type { Page } from '../../domain/page.ts'
import { isTaken, refusable } from '../change/refusable.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'
import { markLimitsDue } from '../subscriptions/mark-limits-due.ts'
import { CUSTOMER_COLUMNS, CUSTOMER_ROW, toCustomer } from './customer-row.ts'

const BEFORE_ALL_IDS = [''] as const
const EXTERNAL_ID_TAKEN = 'customer_external_id_key'

const CUSTOMER_INSERTED = rowParser('customer', Type.Object({ id: Type.String() }))
const CUSTOMER_HELD = rowParser(
  'customer',
  Type.Object({ status: Type.String(), currency: Type.String(), time_zone: Type.String() })
)
const SUBSCRIBED = rowParser('subscription', Type.Object({ id: Type.String() }))
const NO_ROWS = rowParser('customer', Type.Never())

export class PostgresCustomerStore implements CustomerStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<Customer | null> {
    const row = await this.#database.transaction(reach, `find the customer ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(CUSTOMER_ROW)`select ${CUSTOMER_COLUMNS} from customer where id = ${id}`)
    )
    return row === null ? null : toCustomer(row)
  }

  async list(reach: Reach, filter: CustomerFilter): Promise<Page<Customer>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, 'list customers', (transaction) =>
      transaction.any(sql.type(CUSTOMER_ROW)`
        select ${CUSTOMER_COLUMNS} from customer
         where id > ${afterId} and ${conditions(filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toCustomer)
  }

  async insert(customer: Customer, change: Change): ReturnType<CustomerStore['insert']> {
    return refusable((refuse) =>
      this.#database.change(change, `insert the customer ${customer.id}`, async (transaction) => {
        const { id, kind, status, legalName, externalId, country, currency, timeZone, locale } = customer
        const inserted = await transaction.maybeOne(sql.type(CUSTOMER_INSERTED)`
          insert into customer (id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id,
                                registration_number, contract_reference, purchase_order_number, payment_terms_days, contacts,
                                metadata, version, created_at, updated_at)
          values (${id}, ${kind}, ${status}, ${legalName}, ${externalId}, ${country}, ${currency}, ${timeZone}, ${locale},
                  ${customer.taxId}, ${customer.registrationNumber}, ${customer.contractReference},
                  ${customer.purchaseOrderNumber}, ${customer.paymentTermsDays}, ${JSON.stringify(customer.contacts)}::jsonb,
                  ${JSON.stringify(customer.metadata)}::jsonb, ${customer.version}, ${instant(customer.createdAt)},
                  ${instant(customer.updatedAt)})
          on conflict (external_id) do nothing
          returning id`)
        if (inserted === null) throw refuse('external-id-taken')
        return 'inserted' as const
      })
    )
  }

  /** A status or a zone that changes makes the customer's limits due, and a currency stays once anything was subscribed to. */
  async update(next: Customer, change: Change): ReturnType<CustomerStore['update']> {
    return refusable((refuse) =>
      this.#database.change(
        change,
        `update the customer ${next.id} to version ${next.version}`,
        async (transaction) => {
          const before = await holdCustomer(transaction, next)
          if (before === null) throw refuse('other-version')
          if (before.currency !== next.currency && (await hasSubscriptions(transaction, next.id))) {
            throw refuse('currency-in-use')
          }
          if (next.status === 'closed' && (await isSubscribed(transaction, next.id))) throw refuse('subscribed')
          try {
            await writeCustomer(transaction, next)
          } catch (error) {
            if (isTaken(error, EXTERNAL_ID_TAKEN)) throw refuse('external-id-taken')
            throw error
          }
          if (before.status !== next.status || before.time_zone !== next.timeZone) {
            await markLimitsDue(transaction, next.id)
          }
          return 'updated' as const
        }
      )
    )
  }
}

/**
 * The version before, held until the end: also against whoever subscribes meanwhile, since that takes the customer's lock. Whoever
 * only refers to the customer, as a grant does with the customer's limits in hand, need not wait: each would wait for the other.
 */
function holdCustomer(
  transaction: DatabaseTransactionConnection,
  { id, version }: Customer
): Promise<Row<typeof CUSTOMER_HELD> | null> {
  return transaction.maybeOne(sql.type(CUSTOMER_HELD)`
    select status, currency, time_zone from customer where id = ${id} and version = ${version - 1} for no key update`)
}

async function hasSubscriptions(transaction: DatabaseTransactionConnection, customerId: string): Promise<boolean> {
  return (
    (await transaction.maybeOne(sql.type(SUBSCRIBED)`
      select id from subscription where customer_id = ${customerId} limit 1`)) !== null
  )
}

async function isSubscribed(transaction: DatabaseTransactionConnection, customerId: string): Promise<boolean> {
  return (
    (await transaction.maybeOne(sql.type(SUBSCRIBED)`
      select id from subscription where customer_id = ${customerId} and status not in ('canceled', 'ended')`)) !== null
  )
}

async function writeCustomer(transaction: DatabaseTransactionConnection, next: Customer): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    update customer
       set status = ${next.status}, legal_name = ${next.legalName}, external_id = ${next.externalId},
           country = ${next.country}, currency = ${next.currency}, time_zone = ${next.timeZone}, locale = ${next.locale},
           tax_id = ${next.taxId}, registration_number = ${next.registrationNumber},
           contract_reference = ${next.contractReference}, purchase_order_number = ${next.purchaseOrderNumber},
           payment_terms_days = ${next.paymentTermsDays}, contacts = ${JSON.stringify(next.contacts)}::jsonb,
           metadata = ${JSON.stringify(next.metadata)}::jsonb, version = ${next.version},
           updated_at = ${instant(next.updatedAt)}
     where id = ${next.id}`)
}

function conditions({ status, kind, externalId, search }: CustomerFilter): ListSqlToken {
  return sql.join(
    [
      sql.fragment`true`,
      ...(status === null ? [] : [sql.fragment`status = ${status}`]),
      ...(kind === null ? [] : [sql.fragment`kind = ${kind}`]),
      ...(externalId === null ? [] : [sql.fragment`external_id = ${externalId}`]),
      // As the index has it: a prefix of lower(legal_name). What LIKE reads as a pattern stands for itself.
      ...(search === null ? [] : [sql.fragment`lower(legal_name) like lower(${literally(search)}) || '%'`])
    ],
    sql.fragment` and `
  )
}

function literally(text: string): string {
  return text.replaceAll(/[\\%_]/g, String.raw`\$&`)
}
