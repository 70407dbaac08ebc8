// Payments as they are asked for and recorded by hand. Recording locks the invoice: of two that together are more than is open, the
// second is refused.

import { type ListSqlToken, sql } from 'slonik'
import { openMinor } from '../../../domain/billing/invoices/invoice.ts'
import { takesMoney } from '../../../domain/billing/payments/pay-invoice.ts'
import type { Payment } from '../../../domain/billing/payments/payment.ts'
import type { PaymentFilter, PaymentStore } from '../../../domain/billing/payments/payment-store.ts'
import { type Change, PLATFORM, type Reach } from '../../../domain/change.ts'
import type { Page } from '../../../domain/page.ts'
import { isTaken, refusable } from '../../change/refusable.ts'
import { writeTold } from '../../change/write-change.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { decodePageKey, pageById } from '../../encoding/page-key.ts'
import { PAYMENT_COLUMNS, PAYMENT_ROW, toPayment } from './payment-row.ts'
import { findPending, insertPayment, lockInvoice, writePaid } from './write-paid.ts'

const BEFORE_ALL_IDS = [''] as const
const REFERENCE_TAKEN = 'payment_manual_reference'

export class PostgresPaymentStore implements PaymentStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<Payment | null> {
    const row = await this.#database.transaction(reach, `find the payment ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(PAYMENT_ROW)`select ${PAYMENT_COLUMNS} from payment where id = ${id}`)
    )
    return row === null ? null : toPayment(row)
  }

  async findCharged(provider: string, reference: string): Promise<Payment | null> {
    const row = await this.#database.transaction(PLATFORM, `find the payment of ${reference}`, (transaction) =>
      transaction.maybeOne(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment where provider = ${provider} and provider <> 'manual' and reference = ${reference}`)
    )
    return row === null ? null : toPayment(row)
  }

  async list(reach: Reach, filter: PaymentFilter): Promise<Page<Payment>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, 'list payments', (transaction) =>
      transaction.any(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment
         where id > ${afterId} and ${conditions(filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toPayment)
  }

  async record(payment: Payment, change: Change): ReturnType<PaymentStore['record']> {
    const { id, invoiceId, amountMinor, updatedAt: now } = payment
    const actor = change.audit[0]?.actor
    if (actor === undefined) throw new Error(`payment ${id} is recorded by nobody`)
    return refusable((refuse) =>
      this.#database.change(change, `record payment ${id} of invoice ${invoiceId}`, async (transaction) => {
        const invoice = await lockInvoice(transaction, invoiceId)
        if (invoice === null || invoice.customerId !== payment.customerId) throw refuse('unknown-invoice')
        if (!takesMoney(invoice)) throw refuse('nothing-open')
        // What is being charged is as good as paid until it is known that it isn't.
        const pending = await findPending(transaction, invoiceId)
        if (amountMinor > openMinor(invoice) - (pending?.amountMinor ?? 0n)) throw refuse('more-than-open')
        try {
          await insertPayment(transaction, payment)
        } catch (error) {
          if (isTaken(error, REFERENCE_TAKEN)) throw refuse('reference-taken')
          throw error
        }
        await writeTold(transaction, await writePaid(transaction, { invoice, payment, actor, now }))
        return 'recorded' as const
      })
    )
  }
}

function conditions({ customerId, invoiceId, status }: PaymentFilter): ListSqlToken {
  return sql.join(
    [
      sql.fragment`true`,
      ...(customerId === null ? [] : [sql.fragment`customer_id = ${customerId}`]),
      ...(invoiceId === null ? [] : [sql.fragment`invoice_id = ${invoiceId}`]),
      ...(status === null ? [] : [sql.fragment`status = ${status}`])
    ],
    sql.fragment` and `
  )
}
