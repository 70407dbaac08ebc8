import { randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { type Credited, creditInvoice, creditNoteToJson } from '../../domain/billing/invoices/credit-note.ts'
import type { InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import type { CreditNoteStore, InvoiceStore } from '../../domain/billing/invoices/invoice-store.ts'
import type { Change } from '../../domain/change.ts'
import type { Api, InvoicingTerms } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { IfMatch } from '../schemas/versions.ts'
import { CHANGE_FAULTS, changeBy, getMatching, written } from './change-invoice.ts'
import { CREDIT_NOTE_EXAMPLE, CreditNoteId, CreditNoteTold, NewCreditNoteBody } from './credit-note-schemas.ts'
import { InvoiceId } from './invoice-schemas.ts'
import { InvoicePath, READ_INVOICES, WRITE_INVOICES } from './invoices.ts'

interface CreditNoteDependencies {
  readonly invoiceStore: Pick<InvoiceStore, 'find'>
  readonly creditNoteStore: CreditNoteStore
  readonly invoicing: InvoicingTerms
  readonly now: () => number
}

export function creditNoteRoutes(api: Api, dependencies: CreditNoteDependencies): void {
  issueRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
}

function issueRoute(api: Api, dependencies: CreditNoteDependencies): void {
  const { creditNoteStore, invoicing, now } = dependencies
  api.post(
    '/v1/invoices/:invoiceId/credit-notes',
    {
      config: { access: WRITE_INVOICES },
      schema: {
        operationId: 'issueCreditNote',
        tags: ['credit notes'],
        summary: 'Take something back of an invoice',
        description:
          'Of one that was finalized, up to what is left of its total. An invoice of which nothing is open any more is paid.',
        params: InvoicePath,
        headers: IfMatch,
        body: NewCreditNoteBody,
        response: {
          201: schemas.answer(CreditNoteTold, 'The credit note.', CREDIT_NOTE_EXAMPLE),
          ...schemas.problems('malformed-json', 'unsupported-media-type', ...CHANGE_FAULTS)
        }
      }
    },
    async (request, reply) => {
      const { amountMinor, settlement = 'invoice', reason } = request.body
      const invoice = await getMatching(request, dependencies)
      const asked = { amountMinor: amountMinor === undefined ? null : BigInt(amountMinor), settlement, reason }
      const decided = await creditNoteStore.insert(
        invoice,
        invoicing.creditNoteNumberPrefix,
        ({ number, standing }) => {
          const outcome = creditInvoice(invoice, standing, { ...asked, id: randomUUIDv7(), number, now: now() })
          return 'refused' in outcome
            ? outcome
            : { next: outcome, change: creditedBy(request, { before: invoice, credited: outcome }) }
        }
      )
      const { note } = written(request, decided).next
      return reply.code(201).headers(placeOf(note.id)).send(creditNoteToJson(note))
    }
  )
}

/** Two records, of the note and of its invoice; others hear of the invoice when it is paid by it. */
function creditedBy(
  request: FastifyRequest,
  { before, credited: { note, invoice } }: { readonly before: InvoiceHead; readonly credited: Credited }
): Change {
  const told = creditNoteToJson(note)
  const issued = changeOf(request, {
    customerId: note.customerId,
    action: 'credit-note.issued',
    entity: { kind: 'credit-note', id: note.id },
    before: null,
    after: told,
    at: note.issuedAt,
    answer: { status: 201, headers: placeOf(note.id), body: JSON.stringify(told) }
  })
  const isPaid = invoice.status === 'paid' && before.status !== 'paid'
  const { change } = changeBy(
    request,
    { before, next: invoice },
    { action: isPaid ? 'invoice.paid' : 'invoice.credited', events: isPaid ? ['invoice.paid'] : [] }
  )
  return { ...issued, audit: [...issued.audit, ...change.audit], events: change.events }
}

function placeOf(id: string) {
  return { location: `/v1/credit-notes/${id}` }
}

function listRoute(api: Api, { creditNoteStore }: CreditNoteDependencies): void {
  api.get(
    '/v1/credit-notes',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'listCreditNotes',
        tags: ['credit notes'],
        summary: 'Credit notes',
        description: "A customer's credential sees its own customer's.",
        querystring: Type.Object(
          {
            customerId: Type.Optional(schemas.CustomerId),
            invoiceId: Type.Optional(InvoiceId),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(CreditNoteTold, 'A page of credit notes.', CREDIT_NOTE_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { customerId = null, invoiceId = null, ...page } = request.query
      const asked = { customerId, invoiceId, ...pageAsked(page) }
      return tellPage(await creditNoteStore.list(reachOf(request), asked), creditNoteToJson)
    }
  )
}

function getRoute(api: Api, { creditNoteStore }: CreditNoteDependencies): void {
  api.get(
    '/v1/credit-notes/:creditNoteId',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'getCreditNote',
        tags: ['credit notes'],
        summary: 'A credit note',
        params: Type.Object({ creditNoteId: CreditNoteId }, schemas.strict),
        response: {
          200: schemas.answer(CreditNoteTold, 'The credit note.', CREDIT_NOTE_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-credit-note', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { creditNoteId } = request.params
      const note = await creditNoteStore.find(reachOf(request), creditNoteId)
      if (note === null) throw new ProblemError('unknown-credit-note', `There is no credit note ${creditNoteId}.`)
      return creditNoteToJson(note)
    }
  )
}
