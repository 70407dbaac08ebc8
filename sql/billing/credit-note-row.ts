import { sql } from 'slonik'
import { Type } from 'typebox'
import { CREDIT_NOTE_SETTLEMENTS, type CreditNote } from '../../domain/billing/invoices/credit-note.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

export const CREDIT_NOTE_COLUMNS = sql.fragment`
  id, customer_id, invoice_id, number, currency, amount_minor::text as amount_minor, tax_minor::text as tax_minor,
  applied_minor::text as applied_minor, settlement, reason, issued_at`

export const CREDIT_NOTE_ROW = rowParser(
  'credit_note',
  Type.Object({
    id: Type.String(),
    customer_id: Type.String(),
    invoice_id: Type.String(),
    number: Type.String(),
    currency: Type.String(),
    amount_minor: Type.String(),
    tax_minor: Type.String(),
    applied_minor: Type.String(),
    settlement: Type.Enum([...CREDIT_NOTE_SETTLEMENTS]),
    reason: Type.String(),
    issued_at: Type.Number()
  })
)

export function toCreditNote(row: Row<typeof CREDIT_NOTE_ROW>): CreditNote {
  return {
    id: row.id,
    customerId: row.customer_id,
    invoiceId: row.invoice_id,
    number: row.number,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
    taxMinor: BigInt(row.tax_minor),
    appliedMinor: BigInt(row.applied_minor),
    settlement: row.settlement,
    reason: row.reason,
    issuedAt: row.issued_at
  }
}
