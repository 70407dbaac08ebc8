// Invoices, one a row, and their lines. Billing writes them (billing-store.ts), payments say what was paid (payment-store.ts); here is
// what people do: reading, finalizing drafts, voiding, giving up. What was finalized is kept by a trigger, whoever writes.

import { type DatabaseTransactionConnection, type ListSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import type { Invoice, InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import { totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import type { InvoiceStanding, Refused } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import type {
  Decided,
  FinalizeFacts,
  InvoiceDecision,
  InvoiceFilter,
  InvoiceStore
} from '../../domain/billing/invoices/invoice-store.ts'
import { numberOf } from '../../domain/billing/invoices/issue-invoice.ts'
import type { Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import { writeChange } from '../change/write-change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { changeInvoice, loadStanding, writeStanding } from './change-invoice.ts'
import { INVOICE_COLUMNS, INVOICE_ROW, LINE_COLUMNS, LINE_ROW, toInvoiceHead, toInvoiceLine } from './invoice-row.ts'
import { loadMoneyGrants } from './load-stories.ts'
import { runOn } from './run-on-slonik.ts'
import { creditKey, loadCredit, takeNumbers, writeUses } from './write-invoices.ts'

const BEFORE_ALL_IDS = [''] as const

const WRITTEN = rowParser('invoice', Type.Object({ id: Type.String() }))
const NO_ROWS = rowParser('customer_credit', Type.Never())

export class PostgresInvoiceStore implements InvoiceStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<Invoice | null> {
    return this.#database.transaction(reach, `find the invoice ${id}`, async (transaction) => {
      const row = await transaction.maybeOne(sql.type(INVOICE_ROW)`
        select ${INVOICE_COLUMNS} from invoice where id = ${id} and ${seenBy(reach)}`)
      if (row === null) return null
      const lines = await transaction.any(sql.type(LINE_ROW)`
        select ${LINE_COLUMNS} from invoice_line where invoice_id = ${id} order by position`)
      return { ...toInvoiceHead(row), lines: lines.map(toInvoiceLine) }
    })
  }

  async list(reach: Reach, filter: InvoiceFilter): Promise<Page<InvoiceHead>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, 'list invoices', (transaction) =>
      transaction.any(sql.type(INVOICE_ROW)`
        select ${INVOICE_COLUMNS} from invoice
         where id > ${afterId} and ${conditions(reach, filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toInvoiceHead)
  }

  /** The number is taken last: its series is held until the transaction ends, and whoever finalizes anything waits for it. */
  async finalize<D extends InvoiceDecision<Invoice>>(
    draft: Invoice,
    numberPrefix: string,
    decide: (facts: FinalizeFacts) => D
  ): Promise<Decided<D>> {
    return changeInvoice<D>(this.#database, draft, async (transaction) => {
      const run = runOn(transaction)
      const creditMinor = (await loadCredit(run, [draft])).get(creditKey(draft)) ?? 0n
      const grants = (await loadMoneyGrants(run, [draft])).get(draft.customerId) ?? []
      const number = numberOf(numberPrefix, (await takeNumbers(run, numberPrefix, 1)) + 1n)
      const decided = decide({ number, creditMinor, grants })
      return writeChange(transaction, decided.change, async () => {
        await writeFinalized(transaction, decided.next)
        await writeUses(run, [decided.next], decided.next.updatedAt)
        return decided
      })
    })
  }

  async close<D extends InvoiceDecision<InvoiceHead>>(
    invoice: Invoice,
    decide: (standing: InvoiceStanding) => D | Refused
  ): Promise<Decided<D>> {
    return changeInvoice<D>(this.#database, invoice, async (transaction) => {
      const decided = decide(await loadStanding(transaction, invoice.id))
      if ('refused' in decided) return decided
      return writeChange(transaction, decided.change, async () => {
        await writeStanding(transaction, decided.next)
        if (decided.next.status === 'void' && invoice.status !== 'draft') await giveBack(transaction, decided.next)
        return decided
      })
    })
  }
}

/** A draft is the platform's own until it is finalized. */
function seenBy(reach: Reach) {
  return reach.kind === 'platform' ? sql.fragment`true` : sql.fragment`number is not null`
}

function conditions(reach: Reach, { customerId, subscriptionId, status }: InvoiceFilter): ListSqlToken {
  return sql.join(
    [
      seenBy(reach),
      ...(customerId === null ? [] : [sql.fragment`customer_id = ${customerId}`]),
      ...(subscriptionId === null ? [] : [sql.fragment`subscription_id = ${subscriptionId}`]),
      ...(status === null ? [] : [sql.fragment`status = ${status}`])
    ],
    sql.fragment` and `
  )
}

/** A charge is tried, or a reminder sent, when it is due. */
async function writeFinalized(transaction: DatabaseTransactionConnection, next: Invoice): Promise<void> {
  const collectAt = next.status === 'finalized' ? next.dueAt : null
  await transaction.one(sql.type(WRITTEN)`
    update invoice
       set status = ${next.status}, number = ${next.number},
           issuer = ${JSON.stringify(next.issuer)}::jsonb, totals = ${JSON.stringify(totalsToJson(next))}::jsonb,
           total_minor = ${next.totalMinor}, credit_applied_minor = ${next.creditAppliedMinor}, due_minor = ${next.dueMinor},
           finalized_at = ${instantOrNull(next.finalizedAt)}, due_at = ${instantOrNull(next.dueAt)},
           closed_at = ${instantOrNull(next.closedAt)}, collect_at = ${instantOrNull(collectAt)},
           version = ${next.version}, updated_at = ${instant(next.updatedAt)}
     where id = ${next.id} and version = ${next.version - 1}
    returning id`)
}

/** Of a voided invoice: what it burnt of grants, and used of credit. */
async function giveBack(transaction: DatabaseTransactionConnection, invoice: InvoiceHead): Promise<void> {
  const { id, customerId, currency, burns, creditAppliedMinor, updatedAt } = invoice
  for (const { grantId, amountMinor } of burns) {
    await transaction.query(sql.type(NO_ROWS)`
      update customer_grant set burnt = burnt - ${amountMinor}, version = version + 1, updated_at = ${instant(updatedAt)}
       where id = ${grantId}`)
  }
  if (creditAppliedMinor === 0n) return
  await transaction.query(sql.type(NO_ROWS)`
    insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at)
    values (${customerId}, ${currency}, ${creditAppliedMinor}, ${id}, ${instant(updatedAt)})`)
}
