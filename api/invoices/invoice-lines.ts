import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { BillingStore } from '../../domain/billing/invoices/billing-store.ts'
import {
  type LineEvents,
  type LineLedger,
  type LineUsage,
  type LineUsageAsk,
  sourcesOf
} from '../../domain/billing/invoices/explain-line.ts'
import type { InvoiceStore } from '../../domain/billing/invoices/invoice-store.ts'
import type { PageAsked } from '../../domain/page.ts'
import { quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import type { Api } from '../api-dependencies.ts'
import { ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { getInvoice } from './change-invoice.ts'
import { InvoiceId } from './invoice-schemas.ts'
import { READ_INVOICES } from './invoices.ts'

interface LineDependencies {
  readonly invoiceStore: Pick<InvoiceStore, 'find'>
  readonly billingStories: Pick<BillingStore, 'storyAt'>
  readonly lineLedger: LineLedger
  readonly lineEvents: LineEvents
}

const LinePath = Type.Object(
  {
    invoiceId: InvoiceId,
    position: Type.Integer({ description: 'Position of the line.', minimum: 1, maximum: 100_000, examples: [1] })
  },
  schemas.strict
)

const LineUsageTold = Type.Object(
  {
    start: Type.String({ description: 'Of the quarter-hour.', format: 'date-time' }),
    model: Type.String({ description: 'Exact name.' }),
    pool: schemas.oneOf(TOKEN_POOLS, 'Kind of token.'),
    tokens: Type.String({ description: 'Decimal digits. Below zero where more was voided than used.' })
  },
  { ...schemas.strict, title: 'LineUsage', description: 'What the ledger has of a model in a quarter-hour.' }
)

const LINE_USAGE_EXAMPLE = {
  start: '2026-03-12T09:30:00.000Z',
  model: 'claude-sonnet-4-5',
  pool: 'input',
  tokens: '120400'
} as const

const LineEventTold = Type.Object(
  {
    id: Type.String({ description: 'Of the event; with its source and customer its identity.' }),
    source: Type.String({ description: 'Who sent it.' }),
    kind: schemas.oneOf(['used', 'voided'], '`voided`: takes back the event of this id.'),
    time: schemas.Instant,
    model: Type.String({ description: 'Exact name.' }),
    userId: schemas.NullableString('Whose call it was; null when none was named.'),
    tokens: schemas.TokensTold
  },
  { ...schemas.strict, title: 'LineEvent', description: 'A usage event behind a line.' }
)

const LINE_EVENT_EXAMPLE = {
  id: 'call-1',
  source: '/ia-service/paris-1',
  kind: 'used',
  time: '2026-03-12T09:31:07.204Z',
  model: 'claude-sonnet-4-5',
  userId: 'dr-amina',
  tokens: { input: 1200, cacheRead: 0, cacheWrite: 0, output: 300, reasoning: 0 }
} as const

const FAULTS = ['validation-failed', 'unknown-invoice', 'unknown-invoice-line', 'service-unavailable'] as const

export function invoiceLineRoutes(api: Api, dependencies: LineDependencies): void {
  explainRoute(api, dependencies)
  eventsRoute(api, dependencies)
}

function explainRoute(api: Api, dependencies: LineDependencies): void {
  api.get(
    '/v1/invoices/:invoiceId/lines/:position/explain',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'explainInvoiceLine',
        tags: ['invoices'],
        summary: "The ledger's rows behind a line",
        description:
          "By model and quarter-hour. They sum to a usage line's `quantity`, but for what came or was voided since: that is an adjustment of a later invoice. Behind an adjustment stands all usage of its period in the models and pools that differ; behind base fees and minimums none.",
        params: LinePath,
        querystring: Type.Object(pageQuery, schemas.strict),
        response: {
          200: pageOf(LineUsageTold, 'A page of rows, in the order of time, model and pool.', LINE_USAGE_EXAMPLE),
          ...schemas.problems(...FAULTS)
        }
      }
    },
    async (request) => tellPage(await dependencies.lineLedger.lineUsage(await askOf(request, dependencies)), tellUsage)
  )
}

function eventsRoute(api: Api, dependencies: LineDependencies): void {
  api.get(
    '/v1/invoices/:invoiceId/lines/:position/events',
    {
      config: { access: READ_INVOICES },
      schema: {
        operationId: 'listInvoiceLineEvents',
        tags: ['invoices'],
        summary: 'The usage events behind a line',
        description:
          'Those behind the rows that `explain` tells, from the analytics store: the ledger is what was billed, these show whence it came.',
        params: LinePath,
        querystring: Type.Object(pageQuery, schemas.strict),
        response: {
          200: pageOf(LineEventTold, 'A page of events, in the order of their time.', LINE_EVENT_EXAMPLE),
          ...schemas.problems(...FAULTS)
        }
      }
    },
    async (request) => tellPage(await dependencies.lineEvents.lineEvents(await askOf(request, dependencies)), tellEvent)
  )
}

type LineRequest = FastifyRequest & {
  readonly params: { readonly invoiceId: string; readonly position: number }
  readonly query: Partial<PageAsked>
}

async function askOf(request: LineRequest, dependencies: LineDependencies): Promise<LineUsageAsk> {
  const { position } = request.params
  const invoice = await getInvoice(request, dependencies)
  const line = invoice.lines[position - 1]
  if (line === undefined) {
    throw new ProblemError('unknown-invoice-line', `The invoice ${invoice.id} has no line ${position}.`)
  }
  const { customerId, subscriptionId, boundary: at } = invoice
  const story = await dependencies.billingStories.storyAt({ subscriptionId, customerId, at })
  return { customerId, sources: sourcesOf(line, story), ...pageAsked(request.query) }
}

function tellUsage({ quarter, model, pool, tokens }: LineUsage) {
  return { start: new Date(quarterStartMs(quarter)).toISOString(), model, pool, tokens: String(tokens) }
}

function tellEvent({ id, source, kind, occurredAt, model, userId, tokens }: UsageEvent) {
  const time = new Date(occurredAt).toISOString()
  return { id, source, kind, time, model, userId: userId === '' ? null : userId, tokens }
}
