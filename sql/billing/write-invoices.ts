// Writes invoices with all that goes with them, a statement for each kind of row. Numbers come last before the rows that carry them:
// whoever raises a series holds it until the transaction ends, so that none is given and then lost.

import { randomUUIDv7 } from 'node:crypto'
import type { Actor, AuditRecord } from '../../domain/audit/audit-record.ts'
import type { ChainHead } from '../../domain/audit/chain.ts'
import type { BillingRound } from '../../domain/billing/invoices/billing-store.ts'
import type { Invoice } from '../../domain/billing/invoices/invoice.ts'
import { invoiceToJson, lineToJson, totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { creditChangeOf, finalizeInvoice, numberOf } from '../../domain/billing/invoices/issue-invoice.ts'
import type { PublishedEvent } from '../../domain/published-event.ts'
import { appendEvents, appendToTrails } from '../change/trail-batch.ts'
import type { Run } from '../connect.ts'
import { textArrayLiteral } from '../encoding/array-literal.ts'

type Trails = ReadonlyMap<string, ChainHead>

const ACTOR: Actor = { kind: 'service', id: 'billing', address: null, requestId: null }

/** For somebody to look at: nobody is told of them. */
export async function writeDrafts(run: Run, trails: Trails, drafts: readonly Invoice[]): Promise<void> {
  if (drafts.length === 0) return
  await insertInvoices(run, drafts)
  // The trail is the customer's to read, and a draft is not: its figures are on record when it is finalized.
  const records = drafts.map((draft) => {
    const { id, subscriptionId, status } = draft
    return { ...recordOf(draft, 'invoice.drafted'), after: { id, subscriptionId, status } }
  })
  await appendToTrails(run, trails, records)
}

/** Drafts that were never written, as finalized invoices. */
export async function finalizeInvoices(
  run: Run,
  trails: Trails,
  {
    drafts,
    round
  }: { readonly drafts: readonly Invoice[]; readonly round: Pick<BillingRound, 'numberPrefix' | 'issuer' | 'now'> }
): Promise<void> {
  if (drafts.length === 0) return
  const { numberPrefix, issuer, now } = round
  const credit = await loadCredit(run, drafts)
  const first = (await takeNumbers(run, numberPrefix, drafts.length)) + 1n
  const invoices = drafts.map((draft, i) => {
    const creditMinor = credit.get(creditKey(draft)) ?? 0n
    return finalizeInvoice(draft, { number: numberOf(numberPrefix, first + BigInt(i)), issuer, creditMinor, now })
  })
  await insertInvoices(run, invoices)
  await writeUses(run, invoices, now)
  await appendToTrails(
    run,
    trails,
    invoices.map((invoice) => recordOf(invoice, 'invoice.finalized'))
  )
  await appendEvents(run, invoices.flatMap(eventsOf))
}

/** What finalizing uses up: grants, and credit. */
export async function writeUses(run: Run, invoices: readonly Invoice[], now: number): Promise<void> {
  const burns = invoices.flatMap(({ burns }) => burns)
  if (burns.length > 0) {
    await run({
      name: 'burn-grants',
      text: `update customer_grant as kept set burnt = kept.burnt + row.amount::bigint, version = kept.version + 1,
                    updated_at = to_timestamp($3::double precision / 1000)
               from unnest($1::text[], $2::text[]) as row (id, amount) where kept.id = row.id`,
      values: [
        textArrayLiteral(burns.map(({ grantId }) => grantId)),
        textArrayLiteral(burns.map(({ amountMinor }) => String(amountMinor))),
        now
      ]
    })
  }
  const changes = invoices.filter((invoice) => creditChangeOf(invoice) !== 0n)
  if (changes.length === 0) return
  await run({
    name: 'write-credit',
    text: `insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at)
           select customer_id, currency, amount::bigint, invoice_id, to_timestamp($5::double precision / 1000)
             from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as row (customer_id, currency, amount, invoice_id)`,
    values: [
      textArrayLiteral(changes.map(({ customerId }) => customerId)),
      textArrayLiteral(changes.map(({ currency }) => currency)),
      textArrayLiteral(changes.map((invoice) => String(creditChangeOf(invoice)))),
      textArrayLiteral(changes.map(({ id }) => id)),
      now
    ]
  })
}

/** By `creditKey`: what each customer has in a currency. Their trails are held, so that it stays until the transaction ends. */
export async function loadCredit(
  run: Run,
  invoices: readonly Pick<Invoice, 'customerId' | 'currency'>[]
): Promise<ReadonlyMap<string, bigint>> {
  const rows = await run<{ customer_id: string; currency: string; amount: string }>({
    name: 'load-credit',
    text: `select customer_id, currency, sum(amount_minor)::text as amount from customer_credit
            where customer_id = any($1::text[]) group by customer_id, currency`,
    values: [textArrayLiteral(invoices.map(({ customerId }) => customerId))]
  })
  return new Map(
    rows.map((row) => [creditKey({ customerId: row.customer_id, currency: row.currency }), BigInt(row.amount)])
  )
}

export function creditKey({ customerId, currency }: Pick<Invoice, 'customerId' | 'currency'>): string {
  return `${currency} ${customerId}`
}

/** The number before the first of those taken. */
export async function takeNumbers(run: Run, series: string, count: number): Promise<bigint> {
  const [row] = await run<{ last: string }>({
    name: 'take-numbers',
    text: `insert into invoice_series as kept (name, last_number) values ($1, $2)
           on conflict (name) do update set last_number = kept.last_number + excluded.last_number
           returning last_number::text as last`,
    values: [series, count]
  })
  if (row === undefined) throw new Error(`series ${series} gave no number`)
  return BigInt(row.last) - BigInt(count)
}

async function insertInvoices(run: Run, invoices: readonly Invoice[]): Promise<void> {
  await run({ name: 'insert-invoices', text: INSERT_INVOICES, values: [JSON.stringify(invoices.map(invoiceRow))] })
  const lines = invoices.flatMap(({ id, customerId, subscriptionId, lines }) =>
    lines.map((line, i) => ({ invoiceId: id, position: i + 1, customerId, subscriptionId, ...lineToJson(line) }))
  )
  await run({ name: 'insert-invoice-lines', text: INSERT_LINES, values: [JSON.stringify(lines)] })
}

function invoiceRow(invoice: Invoice): object {
  return {
    ...invoiceToJson(invoice),
    billTo: invoice.billTo,
    issuer: invoice.issuer,
    totals: totalsToJson(invoice),
    // A charge is tried, or a reminder sent, when it is due; nothing is collected of what is paid or a draft.
    collectAt: invoice.status === 'finalized' && invoice.dueAt !== null ? new Date(invoice.dueAt).toISOString() : null
  }
}

const INSERT_INVOICES = `
  insert into invoice
    (id, customer_id, subscription_id, boundary, status, number, currency, period_start, period_end, bill_to, issuer, payment_terms_days,
     totals, total_minor, credit_applied_minor, due_minor, finalized_at, due_at, closed_at, collect_at, version, created_at, updated_at)
  select id, "customerId", "subscriptionId", boundary, status, number, currency, "periodStart", "periodEnd", "billTo", issuer,
         "paymentTermsDays", totals, "totalMinor", "creditAppliedMinor", "dueMinor", "finalizedAt", "dueAt", "closedAt",
         "collectAt", version, "createdAt", "updatedAt"
    from json_to_recordset($1::json)
      as row (id text, "customerId" text, "subscriptionId" text, boundary timestamptz, status text, number text, currency text,
              "periodStart" timestamptz, "periodEnd" timestamptz, "billTo" jsonb, issuer jsonb, "paymentTermsDays" integer, totals jsonb,
              "totalMinor" bigint, "creditAppliedMinor" bigint, "dueMinor" bigint, "finalizedAt" timestamptz,
              "dueAt" timestamptz, "closedAt" timestamptz, "collectAt" timestamptz, version integer, "createdAt" timestamptz,
              "updatedAt" timestamptz)`

const INSERT_LINES = `
  insert into invoice_line
    (invoice_id, position, customer_id, subscription_id, kind, line_class, starts_at, ends_at, amount_minor, detail)
  select "invoiceId", position, "customerId", "subscriptionId", kind, "lineClass", "from", "to", "amountMinor", detail
    from json_to_recordset($1::json)
      as row ("invoiceId" text, position integer, "customerId" text, "subscriptionId" text, kind text, "lineClass" text,
              "from" timestamptz, "to" timestamptz, "amountMinor" bigint, detail jsonb)`

function recordOf(invoice: Invoice, action: string): AuditRecord {
  return {
    id: randomUUIDv7(),
    customerId: invoice.customerId,
    actor: ACTOR,
    action,
    entity: { kind: 'invoice', id: invoice.id },
    before: null,
    after: invoiceToJson(invoice),
    at: invoice.updatedAt
  }
}

/** One that leaves nothing to pay is paid at once. */
function eventsOf(invoice: Invoice): readonly PublishedEvent[] {
  const { customerId, updatedAt: at } = invoice
  const types =
    invoice.status === 'paid' ? (['invoice.finalized', 'invoice.paid'] as const) : (['invoice.finalized'] as const)
  return types.map((type) => ({ id: randomUUIDv7(), type, customerId, at, data: invoiceToJson(invoice) }))
}
