// Refunds, written before a provider is asked and after it has answered, then with their credit note. One of a payment is under way at
// a time.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { Actor } from '../../../domain/audit/audit-record.ts'
import { type Credited, creditInvoice, creditNoteToJson } from '../../../domain/billing/invoices/credit-note.ts'
import type { InvoiceHead } from '../../../domain/billing/invoices/invoice.ts'
import type { Refused } from '../../../domain/billing/invoices/invoice-life-cycle.ts'
import { numberOf } from '../../../domain/billing/invoices/issue-invoice.ts'
import { type Payment, refundableMinor } from '../../../domain/billing/payments/payment.ts'
import type { RefundNote, RefundStore } from '../../../domain/billing/payments/payment-store.ts'
import { type Change, PLATFORM } from '../../../domain/change.ts'
import { refusable } from '../../change/refusable.ts'
import { holdHead, writeTold } from '../../change/write-change.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { instant } from '../../encoding/instant.ts'
import { rowParser } from '../../encoding/row-parser.ts'
import { loadStanding } from '../change-invoice.ts'
import { writeCredited } from '../credit-note-store.ts'
import { runOn } from '../run-on-slonik.ts'
import { takeNumbers } from '../write-invoices.ts'
import { PAYMENT_COLUMNS, PAYMENT_ROW, toPayment } from './payment-row.ts'
import { invoiceRecord, lockInvoice } from './write-paid.ts'

type Ask<Method extends keyof RefundStore> = Parameters<RefundStore[Method]>[0]

const WRITTEN = rowParser('payment', Type.Object({ id: Type.String() }))
/** Asks the rule whether there could be a note, and writes none. */
const UNWRITTEN = { id: '', number: '', settlement: 'refund', reason: '' } as const

export class PostgresRefundStore implements RefundStore {
  readonly #database: EntityDatabase

  /** As the platform's role. */
  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async begin({ paymentId, amountMinor: asked, now }: Ask<'begin'>): ReturnType<RefundStore['begin']> {
    return this.#database.transaction(PLATFORM, `begin a refund of payment ${paymentId}`, async (transaction) => {
      const found = await transaction.one(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment where id = ${paymentId}`)
      const invoice = await lockPaid(transaction, toPayment(found))
      const row = await transaction.one(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment where id = ${paymentId} for update`)
      const payment = toPayment(row)
      const amountMinor = asked ?? refundableMinor(payment)
      if (payment.refundingMinor > 0n && payment.refundingMinor === amountMinor) return payment
      if (payment.refundingMinor > 0n) return { refused: 'refund-pending' }
      if (amountMinor === 0n || amountMinor > refundableMinor(payment)) return { refused: 'more-than-paid' }
      const standing = await loadStanding(transaction, invoice.id)
      const credited = creditInvoice(invoice, standing, { ...UNWRITTEN, amountMinor, now })
      if ('refused' in credited) return credited
      const begun = await transaction.one(sql.type(PAYMENT_ROW)`
        update payment set refunding_minor = ${amountMinor}, refunds = refunds + 1, updated_at = ${instant(now)}
         where id = ${paymentId} returning ${PAYMENT_COLUMNS}`)
      return toPayment(begun)
    })
  }

  async settle({ begun, next, note }: Ask<'settle'>, change: Change): Promise<boolean> {
    const actor = change.audit[0]?.actor
    if (actor === undefined) throw new Error(`payment ${next.id} is refunded by nobody`)
    return refusable((refuse) =>
      this.#database.change(change, `settle a refund of payment ${next.id}`, async (transaction) => {
        const invoice = await lockPaid(transaction, next)
        const settled = await transaction.maybeOne(sql.type(WRITTEN)`
          update payment
             set status = ${next.status}, refunded_minor = ${next.refundedMinor}, refunding_minor = 0,
                 updated_at = ${instant(next.updatedAt)}
           where id = ${next.id} and refunds = ${begun.refunds} and refunding_minor > 0
          returning id`)
        if (settled === null) throw refuse(false)
        if (note !== null) await writeNote(transaction, { invoice, begun, note, actor, now: next.updatedAt })
        return true
      })
    )
  }

  async listUnsettled(before: number, limit: number): Promise<readonly Payment[]> {
    const rows = await this.#database.transaction(PLATFORM, 'list refunds that were not settled', (transaction) =>
      transaction.any(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment
         where refunding_minor > 0 and updated_at < ${instant(before)}
         order by updated_at
         limit ${limit}`)
    )
    return rows.map(toPayment)
  }
}

async function lockPaid(transaction: DatabaseTransactionConnection, { id, invoiceId }: Payment): Promise<InvoiceHead> {
  const invoice = await lockInvoice(transaction, invoiceId)
  if (invoice === null) throw new Error(`payment ${id} is of invoice ${invoiceId}, which is not there`)
  return invoice
}

interface Noting {
  readonly invoice: InvoiceHead
  readonly begun: Payment
  readonly note: RefundNote
  readonly actor: Actor
  readonly now: number
}

/**
 * Credit notes that were issued since the refund was begun may leave nothing for this one. The money is back all the same, so that the
 * payment is written and no note is.
 */
async function writeNote(transaction: DatabaseTransactionConnection, noting: Noting): Promise<void> {
  const { invoice, begun, note, actor, now } = noting
  await holdHead(transaction, invoice.customerId)
  const standing = await loadStanding(transaction, invoice.id)
  const amountMinor = begun.refundingMinor
  const judged = creditInvoice(invoice, standing, { ...UNWRITTEN, amountMinor, now })
  if ('refused' in judged) return
  const number = numberOf(note.numberPrefix, (await takeNumbers(runOn(transaction), note.numberPrefix, 1)) + 1n)
  const { id, reason } = note
  const credited: Credited | Refused = creditInvoice(invoice, standing, {
    ...UNWRITTEN,
    id,
    number,
    reason,
    amountMinor,
    now
  })
  if ('refused' in credited) throw new Error(`the credit note of payment ${begun.id} was refused: ${credited.refused}`)
  await writeCredited(transaction, credited)
  const record = invoiceRecord(invoice, credited.invoice, { action: 'invoice.credited', actor })
  const told = { ...record, id: credited.note.id, action: 'credit-note.issued', before: null }
  const issued = { ...told, entity: { kind: 'credit-note', id }, after: creditNoteToJson(credited.note) }
  await writeTold(transaction, { audit: [issued, record], events: [] })
}
