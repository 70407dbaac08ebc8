import Type from 'typebox'
import type { Invoice } from '../../domain/billing/invoices/invoice.ts'
import { invoiceToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { finalizeDraft, markUncollectible, voidInvoice } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import type { InvoiceStore } from '../../domain/billing/invoices/invoice-store.ts'
import { taxRatesOf } from '../../domain/billing/tax-table.ts'
import { PLATFORM } from '../../domain/change.ts'
import type { PlanStore } from '../../domain/subscriptions/plan-store.ts'
import { type AccessRule, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api, InvoicingTerms } from '../api-dependencies.ts'
import { reachOf } from '../changes/change-of.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { ETAG, etagOf, IfMatch } from '../schemas/versions.ts'
import { answerInvoice, CHANGE_FAULTS, changeBy, getInvoice, getMatching, refusal, written } from './change-invoice.ts'
import {
  INVOICE_EXAMPLE,
  INVOICE_WITH_LINES_EXAMPLE,
  InvoiceId,
  InvoiceStatusAsked,
  InvoiceTold,
  InvoiceWithLinesTold,
  SubscriptionId,
  tellInvoice
} from './invoice-schemas.ts'
import { renderInvoice } from './pdf/invoice-pdf.ts'

interface InvoiceDependencies {
  readonly invoiceStore: InvoiceStore
  readonly planStore: Pick<PlanStore, 'find'>
  readonly invoicing: InvoicingTerms
  readonly now: () => number
}

/** Whom a customer lets see what it pays. */
export const READ_INVOICES: AccessRule = { scope: 'invoices:read', roles: ['owner', 'admin', 'billing'] }
export const WRITE_INVOICES: AccessRule = { scope: 'invoices:write', roles: PLATFORM_ONLY }

export const InvoicePath = Type.Object({ invoiceId: InvoiceId }, schemas.strict)

export function invoiceRoutes(api: Api, dependencies: InvoiceDependencies): void {
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  pdfRoute(api, dependencies)
  finalizeRoute(api, dependencies)
  closeRoutes(api, dependencies)
}

function listRoute(api: Api, { invoiceStore }: InvoiceDependencies): void {
  api.get(
    '/v1/invoices',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'listInvoices',
        tags: ['invoices'],
        summary: 'Invoices',
        description: "Without their lines. A customer's credential sees its own customer's, and no drafts.",
        querystring: Type.Object(
          {
            customerId: Type.Optional(schemas.CustomerId),
            subscriptionId: Type.Optional(SubscriptionId),
            status: Type.Optional(InvoiceStatusAsked),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(InvoiceTold, 'A page of invoices.', INVOICE_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { customerId = null, subscriptionId = null, status = null, ...page } = request.query
      const asked = { customerId, subscriptionId, status, ...pageAsked(page) }
      return tellPage(await invoiceStore.list(reachOf(request), asked), invoiceToJson)
    }
  )
}

function getRoute(api: Api, dependencies: InvoiceDependencies): void {
  api.get(
    '/v1/invoices/:invoiceId',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'getInvoice',
        tags: ['invoices'],
        summary: 'An invoice with its lines',
        params: InvoicePath,
        response: {
          200: {
            ...schemas.answer(InvoiceWithLinesTold, 'The invoice.', INVOICE_WITH_LINES_EXAMPLE),
            headers: ETAG
          },
          ...schemas.problems('validation-failed', 'unknown-invoice', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const invoice = await getInvoice(request, dependencies)
      return reply.headers(etagOf(invoice)).send(tellInvoice(invoice))
    }
  )
}

function pdfRoute(api: Api, dependencies: InvoiceDependencies): void {
  api.get(
    '/v1/invoices/:invoiceId/pdf',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'getInvoicePdf',
        tags: ['invoices'],
        summary: 'An invoice as a PDF',
        description: "In the customer's language. The same invoice gives the same file; a draft says that it is one.",
        params: InvoicePath,
        response: {
          200: {
            description: 'The file.',
            content: {
              'application/pdf': {
                schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary', examples: ['%PDF-1.7 …'] })
              }
            }
          },
          ...schemas.problems('validation-failed', 'unknown-invoice', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const invoice = await getInvoice(request, dependencies)
      const plans = await plansOf(invoice, dependencies)
      const file = await renderInvoice({ invoice, issuer: invoice.issuer ?? dependencies.invoicing.issuer, plans })
      return reply
        .type('application/pdf')
        .header('content-disposition', `inline; filename="${invoice.number ?? invoice.id}.pdf"`)
        .send(file)
    }
  )
}

/** Those that base fees are of: named on the customer's own invoice, so that it may know them whatever became of them. */
async function plansOf({ id, lines }: Invoice, { planStore }: Pick<InvoiceDependencies, 'planStore'>) {
  const ids = new Set(lines.flatMap((line) => (line.kind === 'base-fee' ? [line.planId] : [])))
  const plans = await Promise.all([...ids].map((planId) => planStore.find(PLATFORM, planId)))
  return new Map(
    plans.map((plan) => {
      if (plan === null) throw new Error(`a plan that invoice ${id} names is gone`)
      return [plan.id, plan]
    })
  )
}

function finalizeRoute(api: Api, dependencies: InvoiceDependencies): void {
  const { invoiceStore, invoicing, now } = dependencies
  api.post(
    '/v1/invoices/:invoiceId/finalize',
    {
      config: { access: WRITE_INVOICES },
      schema: {
        operationId: 'finalizeInvoice',
        tags: ['invoices'],
        summary: 'Finalize a draft',
        description:
          "Gives it its number, uses its grants and the customer's credit, and asks for the rest. When other invoices used of its grants since it was drafted, its totals are reckoned again with what is left.",
        params: InvoicePath,
        headers: IfMatch,
        response: { 200: answered('The invoice as it stands now.'), ...schemas.problems(...CHANGE_FAULTS) }
      }
    },
    async (request, reply) => {
      const draft = await getMatching(request, dependencies)
      if (draft.status !== 'draft') throw refusal('not-a-draft')
      const decided = await invoiceStore.finalize(draft, invoicing.numberPrefix, (facts) => {
        const taxRates = taxRatesOf(invoicing.taxes, draft.billTo.country)
        const next = finalizeDraft(draft, { ...facts, taxRates, issuer: invoicing.issuer, now: now() })
        const paid = next.status === 'paid' ? (['invoice.paid'] as const) : []
        return changeBy(
          request,
          { before: draft, next },
          { action: 'invoice.finalized', events: ['invoice.finalized', ...paid] }
        )
      })
      return answerInvoice(reply, written(request, decided))
    }
  )
}

const CLOSING = [
  {
    path: 'void',
    operationId: 'voidInvoice',
    summary: 'Void an invoice',
    description:
      'One of which nothing was paid or credited. What it used of grants and credit is given back; its usage is not invoiced again.',
    action: 'invoice.voided',
    close: voidInvoice
  },
  {
    path: 'mark-uncollectible',
    operationId: 'markInvoiceUncollectible',
    summary: 'Give an invoice up',
    description: 'Nobody is asked for it any more. What is paid of it all the same is taken.',
    action: 'invoice.uncollectible',
    close: markUncollectible
  }
] as const

function closeRoutes(api: Api, dependencies: InvoiceDependencies): void {
  const { invoiceStore, now } = dependencies
  for (const { path, operationId, summary, description, action, close } of CLOSING) {
    api.post(
      `/v1/invoices/:invoiceId/${path}`,
      {
        config: { access: WRITE_INVOICES },
        schema: {
          operationId,
          tags: ['invoices'],
          summary,
          description,
          params: InvoicePath,
          headers: IfMatch,
          response: { 200: answered('The invoice as it stands now.'), ...schemas.problems(...CHANGE_FAULTS) }
        }
      },
      async (request, reply) => {
        const invoice = await getMatching(request, dependencies)
        const decided = await invoiceStore.close(invoice, (standing) => {
          const next = close(invoice, standing, now())
          if ('refused' in next) return next
          // Nobody was told of a draft.
          return changeBy(request, { before: invoice, next }, { action, events: next.number === null ? [] : [action] })
        })
        return answerInvoice(reply, written(request, decided))
      }
    )
  }
}

function answered(description: string) {
  return { ...schemas.answer(InvoiceTold, description, INVOICE_EXAMPLE), headers: ETAG }
}
