// Credit notes, one a row, never changed. Their numbers are a series of their own, gapless as those of invoices are.

import { type DatabaseTransactionConnection, type ListSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import { type Credited, type CreditNote, keptMinor } from '../../domain/billing/invoices/credit-note.ts'
import type { InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import type { Refused } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import type {
  CreditFacts,
  CreditNoteFilter,
  CreditNoteStore,
  Decided,
  InvoiceDecision
} from '../../domain/billing/invoices/invoice-store.ts'
import { numberOf } from '../../domain/billing/invoices/issue-invoice.ts'
import type { Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import { writeChange } from '../change/write-change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { changeInvoice, loadStanding, writeStanding } from './change-invoice.ts'
import { CREDIT_NOTE_COLUMNS, CREDIT_NOTE_ROW, toCreditNote } from './credit-note-row.ts'
import { runOn } from './run-on-slonik.ts'
import { takeNumbers } from './write-invoices.ts'

const BEFORE_ALL_IDS = [''] as const

const NO_ROWS = rowParser('credit_note', Type.Never())

export class PostgresCreditNoteStore implements CreditNoteStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<CreditNote | null> {
    const row = await this.#database.transaction(reach, `find the credit note ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(CREDIT_NOTE_ROW)`select ${CREDIT_NOTE_COLUMNS} from credit_note where id = ${id}`)
    )
    return row === null ? null : toCreditNote(row)
  }

  async list(reach: Reach, filter: CreditNoteFilter): Promise<Page<CreditNote>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, 'list credit notes', (transaction) =>
      transaction.any(sql.type(CREDIT_NOTE_ROW)`
        select ${CREDIT_NOTE_COLUMNS} from credit_note
         where id > ${afterId} and ${conditions(filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toCreditNote)
  }

  async insert<D extends InvoiceDecision<Credited>>(
    invoice: InvoiceHead,
    numberPrefix: string,
    decide: (facts: CreditFacts) => D | Refused
  ): Promise<Decided<D>> {
    return changeInvoice<D>(this.#database, invoice, async (transaction) => {
      const standing = await loadStanding(transaction, invoice.id)
      const number = numberOf(numberPrefix, (await takeNumbers(runOn(transaction), numberPrefix, 1)) + 1n)
      const decided = decide({ number, standing })
      if ('refused' in decided) return decided
      return writeChange(transaction, decided.change, async () => {
        await writeCredited(transaction, decided.next)
        return decided
      })
    })
  }
}

function conditions({ customerId, invoiceId }: CreditNoteFilter): ListSqlToken {
  return sql.join(
    [
      sql.fragment`true`,
      ...(customerId === null ? [] : [sql.fragment`customer_id = ${customerId}`]),
      ...(invoiceId === null ? [] : [sql.fragment`invoice_id = ${invoiceId}`])
    ],
    sql.fragment` and `
  )
}

/** The note, what becomes of its invoice, and what its customer keeps of it. The invoice is held. */
export async function writeCredited(
  transaction: DatabaseTransactionConnection,
  { note, invoice }: Credited
): Promise<void> {
  const { id, customerId, invoiceId, number, currency, amountMinor, taxMinor, appliedMinor, settlement } = note
  await transaction.query(sql.type(NO_ROWS)`
    insert into credit_note (id, customer_id, invoice_id, number, currency, amount_minor, tax_minor, applied_minor, reason,
                             settlement, issued_at)
    values (${id}, ${customerId}, ${invoiceId}, ${number}, ${currency}, ${amountMinor}, ${taxMinor}, ${appliedMinor},
            ${note.reason}, ${settlement}, ${instant(note.issuedAt)})`)
  await writeStanding(transaction, invoice)
  const kept = keptMinor(note)
  if (kept === 0n) return
  await transaction.query(sql.type(NO_ROWS)`
    insert into customer_credit (customer_id, currency, amount_minor, credit_note_id, written_at)
    values (${customerId}, ${currency}, ${kept}, ${id}, ${instant(note.issuedAt)})`)
}
