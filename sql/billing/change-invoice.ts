// What every change of a stored invoice begins and ends with. Rows are held in one order, by payments and billing alike: the invoice,
// the trail of its customer, then what is the customer's (grants, credit), then the series of numbers.

import { type DatabaseTransactionConnection, type FragmentSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import type { InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import type { InvoiceStanding, Refused } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import type { Decided } from '../../domain/billing/invoices/invoice-store.ts'
import { PLATFORM } from '../../domain/change.ts'
import { refusable } from '../change/refusable.ts'
import { holdHead } from '../change/write-change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { rowParser } from '../encoding/row-parser.ts'

const HELD = rowParser('invoice', Type.Object({ id: Type.String() }))
const STANDING = rowParser(
  'credit_note',
  Type.Object({
    credited: Type.String(),
    tax: Type.String(),
    refunded: Type.String(),
    refunding: Type.String(),
    is_payment_pending: Type.Boolean()
  })
)

/** Where a change of an invoice is decided and written: it stays what it was when it was found, and so does its customer's credit. */
export async function changeInvoice<D extends object>(
  database: EntityDatabase,
  { id, customerId, version }: InvoiceHead,
  work: (transaction: DatabaseTransactionConnection) => Promise<D | Refused>
): Promise<Decided<D>> {
  return refusable<Decided<D>>((refuse) =>
    database.transaction(PLATFORM, `change the invoice ${id}`, async (transaction) => {
      const held = await transaction.maybeOne(sql.type(HELD)`
        select id from invoice where id = ${id} and version = ${version} for update`)
      if (held === null) throw refuse('other-version')
      await holdHead(transaction, customerId)
      const decided = await work(transaction)
      // A number that was taken is given back.
      if ('refused' in decided) throw refuse(decided)
      return decided
    })
  )
}

export async function loadStanding(transaction: DatabaseTransactionConnection, id: string): Promise<InvoiceStanding> {
  const row = await transaction.one(sql.type(STANDING)`
    select coalesce(sum(amount_minor), 0)::text as credited, coalesce(sum(tax_minor), 0)::text as tax,
           coalesce(sum(amount_minor) filter (where settlement = 'refund'), 0)::text as refunded,
           (select coalesce(sum(refunding_minor - least(refunding_minor, greatest(excess_minor - refunded_minor, 0))), 0)::text
              from payment where invoice_id = ${id}) as refunding,
           exists (select from payment where invoice_id = ${id} and status = 'pending') as is_payment_pending
      from credit_note where invoice_id = ${id}`)
  return {
    creditNotesMinor: BigInt(row.credited),
    creditNotesTaxMinor: BigInt(row.tax),
    refundsMinor: BigInt(row.refunded),
    refundingMinor: BigInt(row.refunding),
    isPaymentPending: row.is_payment_pending
  }
}

/** What becomes of an invoice that is held; what is open, or being charged, is collected as before, what isn't is looked at no more. */
export async function writeStanding(transaction: DatabaseTransactionConnection, next: InvoiceHead): Promise<void> {
  await transaction.one(sql.type(HELD)`
    update invoice
       set status = ${next.status}, credited_minor = ${next.creditedMinor}, closed_at = ${instantOrNull(next.closedAt)},
           collect_at = ${keptCollectAt(next)},
           version = ${next.version}, updated_at = ${instant(next.updatedAt)}
     where id = ${next.id} and version = ${next.version - 1}
    returning id`)
}

/** A charge that is under way is asked about until it is known how it ended, whatever its invoice has become. */
export function keptCollectAt({ id, status }: Pick<InvoiceHead, 'id' | 'status'>): FragmentSqlToken {
  return sql.fragment`
    case when ${status} = 'finalized' or exists (select from payment where invoice_id = ${id} and status = 'pending')
         then collect_at end`
}
