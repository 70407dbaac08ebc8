// A row of invoice and of invoice_line, checked as they come out. Amounts as text: they pass what a number holds.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { LINE_CLASSES } from '../../domain/billing/invoice-totals.ts'
import {
  type BillTo,
  INVOICE_STATUSES,
  type InvoiceHead,
  type InvoiceLine,
  type Issuer
} from '../../domain/billing/invoices/invoice.ts'
import {
  type LineRow,
  lineFromRow,
  type TotalsJson,
  totalsFromJson
} from '../../domain/billing/invoices/invoice-json.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableNumber = Type.Union([Type.Number(), Type.Null()])
const NullableText = Type.Union([Type.String(), Type.Null()])
const Digits = Type.String({ pattern: '^-?\\d+$' })

export const INVOICE_COLUMNS = sql.fragment`
  id, customer_id, subscription_id, boundary, status, number, currency, period_start, period_end, bill_to, issuer, payment_terms_days, totals,
  credit_applied_minor::text as credit_applied_minor, due_minor::text as due_minor, paid_minor::text as paid_minor,
  credited_minor::text as credited_minor, finalized_at, due_at, closed_at, version, created_at, updated_at`

/** What is in the two documents is held by whoever wrote them. */
export const INVOICE_FIELDS = {
  id: Type.String(),
  customer_id: Type.String(),
  subscription_id: Type.String(),
  boundary: Type.Number(),
  status: Type.Enum([...INVOICE_STATUSES]),
  number: NullableText,
  currency: Type.String(),
  period_start: NullableNumber,
  period_end: NullableNumber,
  bill_to: Type.Unsafe<BillTo>({ type: 'object' }),
  issuer: Type.Unsafe<Issuer | null>({ type: ['object', 'null'] }),
  payment_terms_days: Type.Integer(),
  totals: Type.Unsafe<TotalsJson>({ type: 'object' }),
  credit_applied_minor: Digits,
  due_minor: Digits,
  paid_minor: Digits,
  credited_minor: Digits,
  finalized_at: NullableNumber,
  due_at: NullableNumber,
  closed_at: NullableNumber,
  version: Type.Integer({ minimum: 1 }),
  created_at: Type.Number(),
  updated_at: Type.Number()
}

export const INVOICE_ROW = rowParser('invoice', Type.Object(INVOICE_FIELDS))

export function toInvoiceHead(row: Row<typeof INVOICE_ROW>): InvoiceHead {
  const { period_start: start, period_end: end } = row
  return {
    ...totalsFromJson(row.totals),
    id: row.id,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    boundary: row.boundary,
    period: start === null || end === null ? null : { start, end },
    status: row.status,
    number: row.number,
    currency: row.currency,
    billTo: row.bill_to,
    issuer: row.issuer,
    paymentTermsDays: row.payment_terms_days,
    creditAppliedMinor: BigInt(row.credit_applied_minor),
    dueMinor: BigInt(row.due_minor),
    paidMinor: BigInt(row.paid_minor),
    creditedMinor: BigInt(row.credited_minor),
    finalizedAt: row.finalized_at,
    dueAt: row.due_at,
    closedAt: row.closed_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}

export const LINE_COLUMNS = sql.fragment`
  kind, line_class, starts_at, ends_at, amount_minor::text as amount_minor, detail`

export const LINE_ROW = rowParser(
  'invoice_line',
  Type.Object({
    kind: Type.Enum(['base-fee', 'usage', 'minimum', 'adjustment']),
    line_class: Type.Enum([...LINE_CLASSES]),
    starts_at: Type.Number(),
    ends_at: Type.Number(),
    amount_minor: Digits,
    detail: Type.Unsafe<never>({ type: 'object' })
  })
)

export function toInvoiceLine(row: Row<typeof LINE_ROW>): InvoiceLine {
  const { kind, line_class: lineClass, starts_at: from, ends_at: to, amount_minor, detail } = row
  const line: LineRow = { kind, lineClass, from, to, amountMinor: BigInt(amount_minor), detail }
  return lineFromRow(line)
}
