// What payments do to invoices, in a transaction of whoever calls. Rows are locked in one order everywhere: the invoice, its payment,
// and last the customer's trail.

import { randomUUIDv7 } from 'node:crypto'
import { type DatabaseTransactionConnection, sql } from 'slonik'
import { Type } from 'typebox'
import type { Actor, AuditRecord } from '../../../domain/audit/audit-record.ts'
import type { InvoiceHead } from '../../../domain/billing/invoices/invoice.ts'
import { invoiceToJson } from '../../../domain/billing/invoices/invoice-json.ts'
import { payInvoice } from '../../../domain/billing/payments/pay-invoice.ts'
import type { Payment } from '../../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../../domain/billing/payments/payment-json.ts'
import type { Change } from '../../../domain/change.ts'
import type { JsonObject } from '../../../domain/json.ts'
import type { PublishedEvent, PublishedEventType } from '../../../domain/published-event.ts'
import { instant, instantOrNull } from '../../encoding/instant.ts'
import { rowParser } from '../../encoding/row-parser.ts'
import { keptCollectAt } from '../change-invoice.ts'
import { INVOICE_COLUMNS, INVOICE_ROW, toInvoiceHead } from '../invoice-row.ts'
import { PAYMENT_COLUMNS, PAYMENT_ROW, toPayment } from './payment-row.ts'

export type Told = Pick<Change, 'audit' | 'events'>

const NO_ROWS = rowParser('invoice', Type.Never())

/** Until the transaction ends; null: there is none within reach. */
export async function lockInvoice(transaction: DatabaseTransactionConnection, id: string): Promise<InvoiceHead | null> {
  const row = await transaction.maybeOne(sql.type(INVOICE_ROW)`
    select ${INVOICE_COLUMNS} from invoice where id = ${id} for update`)
  return row === null ? null : toInvoiceHead(row)
}

/** The charge of an invoice, if one is pending. */
export async function findPending(
  transaction: DatabaseTransactionConnection,
  invoiceId: string
): Promise<Payment | null> {
  const row = await transaction.maybeOne(sql.type(PAYMENT_ROW)`
    select ${PAYMENT_COLUMNS} from payment where invoice_id = ${invoiceId} and status = 'pending'`)
  return row === null ? null : toPayment(row)
}

export async function insertPayment(transaction: DatabaseTransactionConnection, payment: Payment): Promise<void> {
  const { id, customerId, invoiceId, provider, method, status, currency, reference, failureCode, charged } = payment
  await transaction.query(sql.type(NO_ROWS)`
    insert into payment (id, customer_id, invoice_id, provider, method, status, amount_minor, currency, reference, failure_code,
                         provider_customer, provider_method, received_at, created_at, updated_at)
    values (${id}, ${customerId}, ${invoiceId}, ${provider}, ${method}, ${status}, ${payment.amountMinor}, ${currency},
            ${reference}, ${failureCode}, ${charged?.providerCustomer ?? null}, ${charged?.providerMethod ?? null},
            ${instantOrNull(payment.receivedAt)}, ${instant(payment.createdAt)}, ${instant(payment.updatedAt)})`)
}

/** What may change of an invoice that is finalized. One that is closed, and not being charged, is not looked at again. */
export async function writeInvoice(transaction: DatabaseTransactionConnection, next: InvoiceHead): Promise<void> {
  await transaction.query(sql.type(NO_ROWS)`
    update invoice
       set status = ${next.status}, paid_minor = ${next.paidMinor}, closed_at = ${instantOrNull(next.closedAt)},
           collect_at = ${keptCollectAt(next)},
           version = ${next.version}, updated_at = ${instant(next.updatedAt)}
     where id = ${next.id}`)
}

interface Paying {
  readonly invoice: InvoiceHead
  readonly payment: Pick<Payment, 'id' | 'amountMinor'>
  readonly actor: Actor
  readonly now: number
}

/** Money that came, on the invoice or in the customer's credit; answers what is to be told of the invoice. */
export async function writePaid(
  transaction: DatabaseTransactionConnection,
  { invoice, payment, actor, now }: Paying
): Promise<Told> {
  const { next, excessMinor } = payInvoice(invoice, payment.amountMinor, now)
  if (excessMinor > 0n) {
    await transaction.query(
      sql.type(NO_ROWS)`update payment set excess_minor = ${excessMinor} where id = ${payment.id}`
    )
    await transaction.query(sql.type(NO_ROWS)`
      insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at)
      values (${invoice.customerId}, ${invoice.currency}, ${excessMinor}, ${invoice.id}, ${instant(now)})`)
  }
  if (next === invoice) return { audit: [], events: [] }
  await writeInvoice(transaction, next)
  const isPaid = next.status === 'paid'
  return {
    audit: [invoiceRecord(invoice, next, { action: isPaid ? 'invoice.paid' : 'invoice.partly_paid', actor })],
    events: isPaid ? [invoiceEvent('invoice.paid', next)] : []
  }
}

interface Deed {
  readonly action: string
  readonly actor: Actor
}

export function invoiceRecord(before: InvoiceHead, next: InvoiceHead, { action, actor }: Deed): AuditRecord {
  const { id, customerId, updatedAt: at } = next
  const entity = { kind: 'invoice', id }
  return {
    id: randomUUIDv7(),
    customerId,
    actor,
    action,
    entity,
    before: invoiceToJson(before),
    after: invoiceToJson(next),
    at
  }
}

export function invoiceEvent(type: PublishedEventType, next: InvoiceHead, more: JsonObject = {}): PublishedEvent {
  const { customerId, updatedAt: at } = next
  return { id: randomUUIDv7(), type, customerId, at, data: { ...invoiceToJson(next), ...more } }
}

export function paymentRecord(before: Payment | null, next: Payment, { action, actor }: Deed): AuditRecord {
  const { id, customerId, updatedAt: at } = next
  return {
    id: randomUUIDv7(),
    customerId,
    actor,
    action,
    entity: { kind: 'payment', id },
    before: before === null ? null : paymentToJson(before),
    after: paymentToJson(next),
    at
  }
}
