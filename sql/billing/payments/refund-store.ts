// Refunds, written before a provider is asked and after it has answered, then with their credit note. One of a payment is under way at
// a time.

import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { Actor } from '../../../domain/audit/audit-record.ts'
import { creditInvoice, creditNoteToJson } from '../../../domain/billing/invoices/credit-note.ts'
import type { InvoiceHead } from '../../../domain/billing/invoices/invoice.ts'
import { numberOf } from '../../../domain/billing/invoices/issue-invoice.ts'
import { type Payment, refundableMinor, refundedExcessMinor } from '../../../domain/billing/payments/payment.ts'
import type { RefundNote, RefundRefusal, RefundStore } from '../../../domain/billing/payments/payment-store.ts'
import { type Change, PLATFORM, RepeatedRequest } from '../../../domain/change.ts'
import { findRecord } from '../../change/idempotency-record.ts'
import { refusable } from '../../change/refusable.ts'
import { holdHead, writeTold } from '../../change/write-change.ts'
import type { EntityDatabase } from '../../connect-slonik.ts'
import { instant } from '../../encoding/instant.ts'
import { rowParser } from '../../encoding/row-parser.ts'
import { loadStanding } from '../change-invoice.ts'
import { writeCredited } from '../credit-note-store.ts'
import { runOn } from '../run-on-slonik.ts'
import { creditKey, loadCredit, takeNumbers } from '../write-invoices.ts'
import { PAYMENT_COLUMNS, PAYMENT_ROW, PAYMENT_SHAPE, toPayment } from './payment-row.ts'
import { invoiceRecord, lockInvoice } from './write-paid.ts'

type Ask<Method extends keyof RefundStore> = Parameters<RefundStore[Method]>[0]

const NO_ROWS = rowParser('payment', Type.Never())
const REQUEST = Type.Object({ caller: Type.String(), key: Type.String(), fingerprint: Type.String() })
const UNSETTLED_ROW = rowParser(
  'payment',
  Type.Object({ ...PAYMENT_SHAPE, refund_request: Type.Union([REQUEST, Type.Null()]) })
)
const WRITTEN = rowParser('payment', Type.Object({ id: Type.String() }))
/** Asks the rule whether there could be a note, and writes none. */
const UNWRITTEN = { id: '', number: '', settlement: 'refund', reason: '' } as const

export class PostgresRefundStore implements RefundStore {
  readonly #database: EntityDatabase

  /** As the platform's role. */
  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async begin({ paymentId, amountMinor: asked, request, now }: Ask<'begin'>): ReturnType<RefundStore['begin']> {
    return this.#database.transaction(PLATFORM, `begin a refund of payment ${paymentId}`, async (transaction) => {
      const found = await transaction.one(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment where id = ${paymentId}`)
      const invoice = await lockPaid(transaction, toPayment(found))
      // The first request with this key has been settled since this one came: to begin again would give the money twice.
      const answered = request === null ? undefined : await findRecord(transaction, request)
      if (answered !== undefined) throw new RepeatedRequest(answered)
      const row = await transaction.one(sql.type(PAYMENT_ROW)`
        select ${PAYMENT_COLUMNS} from payment where id = ${paymentId} for update`)
      const payment = toPayment(row)
      const amountMinor = asked ?? refundableMinor(payment)
      if (payment.refundingMinor > 0n && payment.refundingMinor === amountMinor) return payment
      if (payment.refundingMinor > 0n) return { refused: 'refund-pending' }
      if (amountMinor === 0n || amountMinor > refundableMinor(payment)) return { refused: 'more-than-paid' }
      const begun = { ...payment, refundingMinor: amountMinor, refunds: payment.refunds + 1, updatedAt: now }
      const refused = await whyNot(transaction, invoice, begun)
      if (refused !== null) return { refused }
      await writeCredit(transaction, begun, -refundedExcessMinor(begun))
      await transaction.query(sql.type(NO_ROWS)`
        update payment
           set refunding_minor = ${amountMinor}, refunds = ${begun.refunds}, updated_at = ${instant(now)},
               refund_request = ${request === null ? null : JSON.stringify(request)}::jsonb, refund_asked_at = null
         where id = ${paymentId}`)
      return begun
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
        if (note === null)
          await writeCredit(transaction, { ...begun, updatedAt: next.updatedAt }, refundedExcessMinor(begun))
        else if (notedMinor(begun) > 0n)
          await writeNote(transaction, { invoice, begun, note, actor, now: next.updatedAt })
        return true
      })
    )
  }

  async takeUnsettled({ before, now, limit }: Ask<'takeUnsettled'>): ReturnType<RefundStore['takeUnsettled']> {
    const rows = await this.#database.transaction(PLATFORM, 'take refunds that were not settled', (transaction) =>
      transaction.any(sql.type(UNSETTLED_ROW)`
        with unsettled as (
          select id as unsettled_id from payment
           where refunding_minor > 0 and updated_at < ${instant(before)}
           order by coalesce(refund_asked_at, updated_at), id
           limit ${limit}
             for update skip locked
        )
        update payment set refund_asked_at = ${instant(now)} from unsettled where id = unsettled_id
        returning ${PAYMENT_COLUMNS}, refund_request`)
    )
    return rows.map((row) => ({ begun: toPayment(row), request: row.refund_request }))
  }
}

async function lockPaid(transaction: DatabaseTransactionConnection, { id, invoiceId }: Payment): Promise<InvoiceHead> {
  const invoice = await lockInvoice(transaction, invoiceId)
  if (invoice === null) throw new Error(`payment ${id} is of invoice ${invoiceId}, which is not there`)
  return invoice
}

/** Whether there could be a credit note of what the customer has not as credit, and the credit is still there. Its rows are held. */
async function whyNot(
  transaction: DatabaseTransactionConnection,
  invoice: InvoiceHead,
  begun: Payment
): Promise<RefundRefusal | null> {
  await holdHead(transaction, invoice.customerId)
  const amountMinor = notedMinor(begun)
  if (amountMinor > 0n) {
    const standing = await loadStanding(transaction, invoice.id)
    const credited = creditInvoice(invoice, standing, { ...UNWRITTEN, amountMinor, now: begun.updatedAt })
    if ('refused' in credited) return credited.refused
  }
  const excessMinor = refundedExcessMinor(begun)
  if (excessMinor === 0n) return null
  const creditMinor = (await loadCredit(runOn(transaction), [invoice])).get(creditKey(invoice)) ?? 0n
  return creditMinor < excessMinor ? 'credit-used' : null
}

/** Below zero: credit that is given back as money; above: it was not given back after all. */
async function writeCredit(
  transaction: DatabaseTransactionConnection,
  { customerId, currency, invoiceId, updatedAt }: Payment,
  amountMinor: bigint
): Promise<void> {
  if (amountMinor === 0n) return
  await transaction.query(sql.type(NO_ROWS)`
    insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at)
    values (${customerId}, ${currency}, ${amountMinor}, ${invoiceId}, ${instant(updatedAt)})`)
}

/** What a credit note is written of. */
function notedMinor(begun: Payment): bigint {
  return begun.refundingMinor - refundedExcessMinor(begun)
}

interface Noting {
  readonly invoice: InvoiceHead
  readonly begun: Payment
  readonly note: RefundNote
  readonly actor: Actor
  readonly now: number
}

/** What is under way counts as credited since it was begun: nothing that came meanwhile leaves too little for its note. */
async function writeNote(transaction: DatabaseTransactionConnection, noting: Noting): Promise<void> {
  const { invoice, begun, note, actor, now } = noting
  await holdHead(transaction, invoice.customerId)
  // The payment was written before, so that this refund counts no more as under way.
  const standing = await loadStanding(transaction, invoice.id)
  const number = numberOf(note.numberPrefix, (await takeNumbers(runOn(transaction), note.numberPrefix, 1)) + 1n)
  const { id, reason } = note
  const stated = { id, number, reason, settlement: 'refund', amountMinor: notedMinor(begun), now } as const
  const credited = creditInvoice(invoice, standing, stated)
  if ('refused' in credited) throw new Error(`the credit note of payment ${begun.id} was refused: ${credited.refused}`)
  await writeCredited(transaction, credited)
  const record = invoiceRecord(invoice, credited.invoice, { action: 'invoice.credited', actor })
  const told = { ...record, id: credited.note.id, action: 'credit-note.issued', before: null }
  const issued = { ...told, entity: { kind: 'credit-note', id }, after: creditNoteToJson(credited.note) }
  await writeTold(transaction, { audit: [issued, record], events: [] })
}
