import Type from 'typebox'
import { invoiceTotals } from '../../domain/billing/invoice-totals.ts'
import type { BillingStore, ToldStory } from '../../domain/billing/invoices/billing-store.ts'
import { draftInvoice } from '../../domain/billing/invoices/draft-invoice.ts'
import type { InvoiceContent } from '../../domain/billing/invoices/invoice.ts'
import { totalsToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { tellParkReason } from '../../domain/billing/invoices/park-reason.ts'
import { taxRatesOf } from '../../domain/billing/tax-table.ts'
import type { SubscriptionStore } from '../../domain/subscriptions/subscription-store.ts'
import { QUARTER_HOUR_MS, snapToQuarter } from '../../domain/tokens/quarter-hour.ts'
import type { Api, InvoicingTerms } from '../api-dependencies.ts'
import { reachOf } from '../changes/change-of.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'
import { unknownSubscription } from '../subscriptions/change-subscription.ts'
import { INVOICE_EXAMPLE, LINES, LINES_EXAMPLE, SubscriptionId, TOTALS, tellLines } from './invoice-schemas.ts'
import { READ_INVOICES } from './invoices.ts'

interface PreviewDependencies {
  readonly subscriptionStore: Pick<SubscriptionStore, 'find'>
  readonly billingStories: Pick<BillingStore, 'storyNow'>
  readonly invoicing: InvoicingTerms
  readonly now: () => number
}

const PreviewTold = Type.Object(
  {
    subscriptionId: Type.String(),
    customerId: Type.String(),
    asOf: schemas.Instant,
    periodStart: schemas.Instant,
    periodEnd: Type.String({ description: 'When the period ends.', format: 'date-time' }),
    currency: Type.String({ description: 'ISO 4217.' }),
    ...LINES,
    ...TOTALS
  },
  { ...schemas.strict, title: 'InvoicePreview', description: 'What an invoice would say if the period ended now.' }
)

const { subtotalMinor, grants, grantsMinor, taxes, taxMinor, includedTaxMinor, totalMinor } = INVOICE_EXAMPLE

const PREVIEW_EXAMPLE = {
  subscriptionId: INVOICE_EXAMPLE.subscriptionId,
  customerId: INVOICE_EXAMPLE.customerId,
  asOf: '2026-03-28T10:02:11.480Z',
  periodStart: INVOICE_EXAMPLE.periodStart,
  periodEnd: INVOICE_EXAMPLE.periodEnd,
  currency: INVOICE_EXAMPLE.currency,
  lines: LINES_EXAMPLE,
  ...{ subtotalMinor, grants, grantsMinor, taxes, taxMinor, includedTaxMinor, totalMinor }
} as const

export function invoicePreviewRoutes(api: Api, dependencies: PreviewDependencies): void {
  const { subscriptionStore, billingStories, invoicing, now } = dependencies
  api.get(
    '/v1/subscriptions/:subscriptionId/invoice-preview',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'previewInvoice',
        tags: ['invoices'],
        summary: 'What the running period comes to by now',
        description:
          'By the rules of the invoice, on what the ledger has now. The period goes on, and the base fee of the next one is not in it: nothing of this is owed.',
        params: Type.Object({ subscriptionId: SubscriptionId }, schemas.strict),
        response: {
          200: schemas.answer(PreviewTold, 'The preview.', PREVIEW_EXAMPLE),
          ...schemas.problems(
            'validation-failed',
            'unknown-subscription',
            'illegal-transition',
            'unrated-usage',
            'service-unavailable'
          )
        }
      }
    },
    async (request) => {
      const { subscriptionId } = request.params
      const subscription = await subscriptionStore.find(reachOf(request), subscriptionId)
      if (subscription === null) throw unknownSubscription(subscriptionId)
      const asOf = now()
      // The quarter-hour that runs is in it.
      const until = snapToQuarter(asOf) + QUARTER_HOUR_MS
      const told = await billingStories.storyNow(subscriptionId, until, invoicing.adjustmentWindowMs)
      if (told === null) throw new ProblemError('illegal-transition', 'The subscription is over: no period runs.')
      const { lines, currency, ...totals } = contentOf(told, invoicing)
      const { start, end } = subscription.currentPeriod
      return {
        subscriptionId,
        customerId: subscription.customerId,
        asOf: new Date(asOf).toISOString(),
        periodStart: new Date(start).toISOString(),
        periodEnd: new Date(end).toISOString(),
        currency,
        lines: tellLines({ lines }),
        ...totalsToJson(totals)
      }
    }
  )
}

type Previewed = Pick<InvoiceContent, 'lines' | 'currency' | keyof ReturnType<typeof invoiceTotals>>

function contentOf({ story, usage }: ToldStory, { taxes: table }: InvoicingTerms): Previewed {
  const taxRates = taxRatesOf(table, story.customer.country)
  const drafted = draftInvoice({ story, usage, taxRates })
  if ('parked' in drafted) {
    throw new ProblemError('unrated-usage', 'Some of the usage has no price: it can not be told what it costs.', {
      extensions: { reason: tellParkReason(drafted.parked) }
    })
  }
  if (drafted.content !== null) return drafted.content
  const { currency } = story.customer
  const nothing = { lines: [], currency }
  return { ...nothing, ...invoiceTotals({ ...nothing, taxRates, grants: [], at: story.boundary.at }) }
}
