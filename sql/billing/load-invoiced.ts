// What was invoiced before of the periods in a story: the base fee where one began, and the lines on usage of it on whatever invoice.

import type { Advance, BilledPeriod } from '../../domain/billing/invoices/boundary-story.ts'
import type { InvoiceLine, InvoiceStatus } from '../../domain/billing/invoices/invoice.ts'
import { type LineRow, lineFromRow } from '../../domain/billing/invoices/invoice-json.ts'
import type { Run } from '../connect.ts'
import { numberArrayLiteral, textArrayLiteral } from '../encoding/array-literal.ts'
import { msColumn } from '../encoding/instant.ts'

export interface SubscriptionPeriods {
  readonly subscriptionId: string
  readonly periods: readonly BilledPeriod[]
}

/** A boundary of a subscription, ms. */
interface Place {
  readonly subscriptionId: string
  readonly at: number
}

/** None without an instant. */
export function toPlaces(subscriptionId: string, at: number | undefined): readonly Place[] {
  return at === undefined ? [] : [{ subscriptionId, at }]
}

export function placeKey(subscriptionId: string, at: number): string {
  return `${at} ${subscriptionId}`
}

/** By `placeKey`; a boundary is missing that was never to be billed, or is not billed yet, which a preview may come upon. */
export async function loadInvoices(run: Run, places: readonly Place[]): Promise<ReadonlyMap<string, Advance>> {
  if (places.length === 0) return new Map()
  const rows = await run<{ id: string; ms: string; status: InvoiceStatus | null; advance: string }>({
    name: 'load-invoices-before',
    text: `select asked.id, asked.ms::text as ms, invoice.status,
                  coalesce((select sum(amount_minor) from invoice_line
                             where invoice_id = invoice.id and kind = 'base-fee' and detail->>'reason' = 'advance'), 0)::text as advance
             from unnest($1::text[], $2::bigint[]) as asked (id, ms)
             join billing_boundary as due on due.subscription_id = asked.id
              and due.boundary = to_timestamp(asked.ms::double precision / 1000) and due.state in ('billed', 'empty')
             left join invoice on invoice.id = due.invoice_id`,
    values: [
      textArrayLiteral(places.map(({ subscriptionId }) => subscriptionId)),
      numberArrayLiteral(places.map(({ at }) => at))
    ]
  })
  return new Map(
    rows.map(({ id, ms, status, advance }) => [
      placeKey(id, Number(ms)),
      { amountMinor: BigInt(advance), isVoid: status === 'void' }
    ])
  )
}

export function advanceAt(
  invoiced: ReadonlyMap<string, Advance>,
  subscriptionId: string,
  at: number | undefined
): Advance | null {
  return at === undefined ? null : (invoiced.get(placeKey(subscriptionId, at)) ?? null)
}

interface LineColumns {
  readonly place: number
  readonly line_class: LineRow['lineClass']
  readonly kind: LineRow['kind']
  readonly starts_at: number
  readonly ends_at: number
  readonly amount_minor: string
  readonly detail: never
}

/** By `placeKey` of the period's start. A voided invoice's count: what it asked for is not asked for again. */
export async function loadUsageLines(
  run: Run,
  asked: readonly SubscriptionPeriods[]
): Promise<ReadonlyMap<string, readonly InvoiceLine[]>> {
  const places = asked.flatMap(({ subscriptionId, periods }) => periods.map((period) => ({ subscriptionId, period })))
  if (places.length === 0) return new Map()
  const rows = await run<LineColumns>({
    name: 'load-usage-lines',
    text: `select asked.place, line_class, kind, ${msColumn('starts_at', 'invoice_line.starts_at')},
                  ${msColumn('ends_at', 'invoice_line.ends_at')}, amount_minor::text as amount_minor, detail
             from unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[]) as asked (place, id, start_ms, end_ms)
             join invoice_line on subscription_id = asked.id and kind <> 'base-fee'
              and starts_at >= to_timestamp(asked.start_ms::double precision / 1000)
              and starts_at < to_timestamp(asked.end_ms::double precision / 1000)`,
    values: [
      numberArrayLiteral(places.map((_, place) => place)),
      textArrayLiteral(places.map(({ subscriptionId }) => subscriptionId)),
      numberArrayLiteral(places.map(({ period }) => period.start)),
      numberArrayLiteral(places.map(({ period }) => period.end))
    ]
  })
  const byPlace = Map.groupBy(rows, ({ place }) => place)
  return new Map(
    places.map(({ subscriptionId, period }, place) => [
      placeKey(subscriptionId, period.start),
      (byPlace.get(place) ?? []).map(toLine)
    ])
  )
}

function toLine({ kind, line_class: lineClass, starts_at, ends_at, amount_minor, detail }: LineColumns): InvoiceLine {
  return lineFromRow({ kind, lineClass, from: starts_at, to: ends_at, amountMinor: BigInt(amount_minor), detail })
}
