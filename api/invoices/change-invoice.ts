/** From a request to what becomes of an invoice: found, held against If-Match, decided in the store's transaction, answered. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Invoice, InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import { type InvoiceJson, invoiceToJson } from '../../domain/billing/invoices/invoice-json.ts'
import type { InvoiceRefusal, Refused } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import type { Decided, InvoiceStore } from '../../domain/billing/invoices/invoice-store.ts'
import type { Change } from '../../domain/change.ts'
import type { PublishedEventType } from '../../domain/published-event.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { type ProblemCode, ProblemError } from '../problem.ts'
import { checkMatch, etagOf, lostRace } from '../schemas/versions.ts'

export type InvoiceRequest = FastifyRequest & { readonly params: { readonly invoiceId: string } }
export type InvoiceChangeRequest = InvoiceRequest & { readonly headers: { readonly 'if-match'?: string | undefined } }

/** Codes that a change of an invoice may answer. */
export const CHANGE_FAULTS = [
  'validation-failed',
  'unknown-invoice',
  'illegal-transition',
  'conflicting-change',
  'version-mismatch',
  'idempotency-in-flight',
  'idempotency-key-reused',
  'service-unavailable'
] as const satisfies readonly ProblemCode[]

/** Within the caller's reach. */
export async function getInvoice(
  request: InvoiceRequest,
  { invoiceStore }: { readonly invoiceStore: Pick<InvoiceStore, 'find'> }
): Promise<Invoice> {
  const { invoiceId } = request.params
  const invoice = await invoiceStore.find(reachOf(request), invoiceId)
  if (invoice === null) throw new ProblemError('unknown-invoice', `There is no invoice ${invoiceId}.`)
  return invoice
}

export async function getMatching(
  request: InvoiceChangeRequest,
  dependencies: { readonly invoiceStore: Pick<InvoiceStore, 'find'> }
): Promise<Invoice> {
  const invoice = await getInvoice(request, dependencies)
  checkMatch(request.headers['if-match'], invoice)
  return invoice
}

export interface InvoiceChange<I extends InvoiceHead = InvoiceHead> {
  readonly next: I
  readonly change: Change
  readonly told: InvoiceJson
}

interface Told {
  readonly action: string
  readonly events: readonly PublishedEventType[]
}

/** The change that brings an invoice's next state into the store, with what is answered. */
export function changeBy<I extends InvoiceHead>(
  request: FastifyRequest,
  { before, next }: { readonly before: InvoiceHead; readonly next: I },
  { action, events }: Told
): InvoiceChange<I> {
  const told = invoiceToJson(next)
  const change = changeOf(request, {
    customerId: next.customerId,
    action,
    entity: { kind: 'invoice', id: next.id },
    before: invoiceToJson(before),
    after: told,
    at: next.updatedAt,
    events,
    answer: { status: 200, headers: etagOf(next), body: JSON.stringify(told) }
  })
  return { next, change, told }
}

/** What was written; throws what was not. */
export function written<D extends object>(request: InvoiceChangeRequest, decided: Decided<D>): D {
  if (decided === 'other-version') throw lostRace(request.headers['if-match'])
  if (isRefused(decided)) throw refusal(decided.refused)
  return decided
}

export function answerInvoice(reply: FastifyReply, { next, told }: InvoiceChange): InvoiceJson {
  void reply.headers(etagOf(next))
  return told
}

function isRefused(decided: object): decided is Refused {
  return 'refused' in decided
}

const REFUSALS: Readonly<Record<InvoiceRefusal, string>> = {
  'not-a-draft': 'The invoice was finalized before.',
  'not-voidable': 'The invoice is void, or leaves nothing to pay.',
  'not-open': 'Only an invoice that is finalized and not paid is given up.',
  'something-paid': 'Something of the invoice was paid: a credit note takes it back.',
  'has-credit-notes': 'Some of the invoice was credited: credit the rest.',
  'payment-pending': 'A charge of the invoice is on its way: try again when it has ended.',
  'not-creditable': 'Only an invoice that was finalized, is not void and asks for money is credited.',
  'more-than-left': 'No more than the total less what was credited before can be credited.',
  'more-than-paid': 'No more than what was paid and not paid back can be paid back.'
}

export function refusal(refused: InvoiceRefusal): ProblemError {
  return new ProblemError('illegal-transition', REFUSALS[refused], { extensions: { reason: refused } })
}
