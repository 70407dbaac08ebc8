import Type from 'typebox'
import { LINE_CLASSES } from '../../domain/billing/invoice-totals.ts'
import { INVOICE_STATUSES, type Invoice } from '../../domain/billing/invoices/invoice.ts'
import { type InvoiceLineJson, invoiceToJson, lineToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { TOKEN_POOLS } from '../../domain/tokens/token-pools.ts'
import * as schemas from '../schemas/shared.ts'

const INVOICE_ID = '0198c0de-0000-7000-8000-000000000061'
const SUBSCRIPTION_ID = '0198c0de-0000-7000-8000-000000000031'
const LINE_KINDS = ['base-fee', 'usage', 'minimum', 'adjustment'] as const

export const minor = (description: string) =>
  Type.String({ description: `${description} In the minor unit of the currency, decimal digits.` })
const tokens = (description: string) => Type.String({ description: `${description} Decimal digits.` })

export const InvoiceId = Type.String({
  description: 'Id of the invoice.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [INVOICE_ID]
})

export const SubscriptionId = Type.String({
  description: 'Id of the subscription.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [SUBSCRIPTION_ID]
})

export const InvoiceStatusAsked = schemas.oneOf(
  INVOICE_STATUSES,
  "`draft`: nobody is asked for it yet. `finalized`: to be paid. `uncollectible`: given up, and taken when it is paid all the same. A customer's credential sees no drafts."
)

const BurnTold = Type.Object(
  { grantId: Type.String({ description: 'Id of the grant.' }), amountMinor: minor('What it gives.') },
  { ...schemas.strict, title: 'GrantBurn' }
)

const TaxTold = Type.Object(
  {
    percent: schemas.NullableString('Decimal text; null: not taxed.'),
    isInclusive: Type.Boolean({ description: 'Whether the lines hold the tax already.' }),
    netMinor: minor('Lines less grants, without the tax.'),
    taxMinor: minor('The tax.')
  },
  { ...schemas.strict, title: 'InvoiceTax', description: 'The lines of one rate.' }
)

export const TOTALS = {
  subtotalMinor: minor('Sum of the lines.'),
  grants: Type.Array(BurnTold, { description: 'What grants of money pay of it, in the order in which they burn.' }),
  grantsMinor: minor('Sum of these.'),
  taxes: Type.Array(TaxTold, { description: 'One for each rate.' }),
  taxMinor: minor('Tax that comes on top.'),
  includedTaxMinor: minor('Tax that the lines hold.'),
  totalMinor: minor('Subtotal less grants and with tax on top. Below zero it is owed to the customer.')
}

const HEAD = {
  id: Type.String({ description: 'UUID.' }),
  number: schemas.NullableString('Gapless in its series; null until it is finalized.'),
  customerId: Type.String(),
  subscriptionId: Type.String(),
  status: InvoiceStatusAsked,
  boundary: Type.String({
    description: 'Where one period ends and the next begins: unique with the subscription.',
    format: 'date-time'
  }),
  periodStart: schemas.NullableInstant('Of the period that ended; null when none did.'),
  periodEnd: schemas.NullableInstant('Of the same.'),
  currency: Type.String({ description: 'ISO 4217.' }),
  ...TOTALS,
  creditAppliedMinor: minor("Of the customer's credit, used when it was finalized."),
  dueMinor: minor('Total less credit: what is to be paid in all.'),
  paidMinor: minor('What was paid.'),
  creditedMinor: minor('Taken off what is due by credit notes.'),
  openMinor: minor('What is still to be paid.'),
  paymentTermsDays: Type.Integer({ description: 'Days after issuing until it is due; 0: on receipt.' }),
  finalizedAt: schemas.NullableInstant('When it was; null: it is a draft.'),
  dueAt: schemas.NullableInstant('Until when it is to be paid.'),
  closedAt: schemas.NullableInstant('When it was paid, voided or given up.'),
  version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
  createdAt: schemas.Instant,
  updatedAt: schemas.Instant
}

export const InvoiceTold = Type.Object(HEAD, {
  ...schemas.strict,
  title: 'Invoice',
  description:
    'What a customer is asked to pay at a boundary between two periods. Once finalized, what it states stays.'
})

const ModelTokens = Type.Object(
  { model: Type.String({ description: 'Exact name.' }), tokens: tokens('Of this model.') },
  schemas.strict
)

const Tier = Type.Object(
  {
    upTo: Type.Unsafe<number | null>({ type: ['integer', 'null'], description: 'Charged tokens; null: without end.' }),
    tokens: tokens('Charged in this tier.'),
    packages: schemas.NullableString('Begun in it, decimal digits; null unless the charge model is `package`.'),
    amount: Type.String({ description: 'For `perTokens` tokens, decimal text in the currency.' }),
    amountMinor: minor('The part of the line.')
  },
  schemas.strict
)

const Difference = Type.Object(
  {
    model: Type.String({ description: 'Exact name.' }),
    pool: schemas.oneOf(TOKEN_POOLS, 'Kind of token.'),
    tokens: tokens('Below zero for what was voided.')
  },
  schemas.strict
)

const DETAIL = Type.Object(
  {
    reason: Type.Optional(
      schemas.oneOf(['advance', 'credit', 'charge'], 'Of a base fee: of the period that begins, or of days that ended.')
    ),
    planId: Type.Optional(Type.String({ description: 'Of a base fee: the plan version.' })),
    pool: Type.Optional(schemas.oneOf(TOKEN_POOLS, 'Of usage and minimums: kind of token.')),
    model: Type.Optional(Type.String({ description: "Of usage and minimums: the price's pattern." })),
    chargeModel: Type.Optional(schemas.oneOf(['per_unit', 'package', 'graduated', 'volume'], 'Of usage.')),
    perTokens: Type.Optional(Type.Integer({ description: "Of usage: tokens that the tiers' amounts are for." })),
    models: Type.Optional(Type.Array(ModelTokens, { description: 'Of usage: who used how much.' })),
    quantity: Type.Optional(tokens('Of usage: all tokens.')),
    includedTokens: Type.Optional(tokens('Of usage: of the allowance.')),
    chargedTokens: Type.Optional(tokens('Of usage: beyond the allowance.')),
    tiers: Type.Optional(Type.Array(Tier, { description: 'Of usage: they sum to the amount.' })),
    minimumMinor: Type.Optional(minor('Of a minimum: what is due at least.')),
    chargedMinor: Type.Optional(minor('Of a minimum: what the usage comes to.')),
    ratedMinor: Type.Optional(minor('Of an adjustment: the period as rated now.')),
    invoicedMinor: Type.Optional(minor('Of an adjustment: what was invoiced for it before.')),
    differences: Type.Optional(
      Type.Array(Difference, { description: 'Of an adjustment: what came late or was voided.' })
    )
  },
  {
    ...schemas.strict,
    title: 'InvoiceLineDetail',
    description: 'Explains the amount; which members it has depends on the kind.'
  }
)

const LineTold = Type.Object(
  {
    position: Type.Integer({ description: 'From 1.' }),
    kind: schemas.oneOf(LINE_KINDS, '`adjustment`: an earlier period rated again.'),
    lineClass: schemas.oneOf(LINE_CLASSES, 'What it is, for tax.'),
    from: schemas.Instant,
    to: schemas.Instant,
    amountMinor: minor('Below zero for what is given back.'),
    detail: Type.Unsafe<InvoiceLineJson['detail']>(DETAIL)
  },
  { ...schemas.strict, title: 'InvoiceLine', description: 'The lines sum to the subtotal.' }
)

export const LINES = { lines: Type.Array(LineTold, { description: 'Usage, minimums, adjustments, base fees.' }) }

const BillToTold = Type.Object(
  {
    kind: schemas.oneOf(['sme', 'institution'], 'What the customer is.'),
    legalName: Type.String(),
    country: Type.String({ description: 'ISO 3166-1 alpha-2.' }),
    locale: schemas.oneOf(['en', 'fr'], 'Language of the PDF.'),
    timeZone: Type.String({ description: 'IANA name.' }),
    taxId: schemas.NullableString('Of an SME.'),
    registrationNumber: schemas.NullableString('Of an institution.'),
    contractReference: schemas.NullableString('Of an institution.'),
    purchaseOrderNumber: schemas.NullableString('Of an institution.')
  },
  { ...schemas.strict, title: 'BillTo', description: 'The customer as it was when the invoice was made.' }
)

export const InvoiceWithLinesTold = Type.Object(
  { ...HEAD, billTo: BillToTold, ...LINES },
  { ...schemas.strict, title: 'InvoiceWithLines', description: 'An invoice, and what it consists of.' }
)

export function tellInvoice(invoice: Invoice) {
  return { ...invoiceToJson(invoice), billTo: invoice.billTo, lines: tellLines(invoice) }
}

export function tellLines({ lines }: Pick<Invoice, 'lines'>) {
  return lines.map((line, i) => ({ position: i + 1, ...lineToJson(line) }))
}

export const INVOICE_EXAMPLE = {
  id: INVOICE_ID,
  number: 'INV-000042',
  customerId: 'clinic-42',
  subscriptionId: SUBSCRIPTION_ID,
  status: 'finalized',
  boundary: '2026-03-30T22:00:00.000Z',
  periodStart: '2026-02-27T23:00:00.000Z',
  periodEnd: '2026-03-30T22:00:00.000Z',
  currency: 'EUR',
  subtotalMinor: '8720',
  grants: [],
  grantsMinor: '0',
  taxes: [{ percent: '20', isInclusive: false, netMinor: '8720', taxMinor: '1744' }],
  taxMinor: '1744',
  includedTaxMinor: '0',
  totalMinor: '10464',
  creditAppliedMinor: '0',
  dueMinor: '10464',
  paidMinor: '0',
  creditedMinor: '0',
  openMinor: '10464',
  paymentTermsDays: 30,
  finalizedAt: '2026-03-31T02:10:00.000Z',
  dueAt: '2026-04-30T02:10:00.000Z',
  closedAt: null,
  version: 1,
  createdAt: '2026-03-31T02:10:00.000Z',
  updatedAt: '2026-03-31T02:10:00.000Z'
} as const

export const LINES_EXAMPLE = [
  {
    position: 1,
    kind: 'usage',
    lineClass: 'usage',
    from: '2026-02-27T23:00:00.000Z',
    to: '2026-03-30T22:00:00.000Z',
    amountMinor: '3720',
    detail: {
      pool: 'input',
      model: 'claude-*',
      chargeModel: 'per_unit',
      perTokens: 1_000_000,
      models: [{ model: 'claude-sonnet-4-5', tokens: '12400000' }],
      quantity: '12400000',
      includedTokens: '0',
      chargedTokens: '12400000',
      tiers: [{ upTo: null, tokens: '12400000', packages: null, amount: '3', amountMinor: '3720' }]
    }
  },
  {
    position: 2,
    kind: 'base-fee',
    lineClass: 'base-fee',
    from: '2026-03-30T22:00:00.000Z',
    to: '2026-04-29T22:00:00.000Z',
    amountMinor: '5000',
    detail: { reason: 'advance', planId: '0198c0de-0000-7000-8000-000000000021' }
  }
] as const

export const INVOICE_WITH_LINES_EXAMPLE = {
  ...INVOICE_EXAMPLE,
  billTo: {
    kind: 'sme',
    legalName: 'Clinique du Lac SARL',
    country: 'FR',
    locale: 'fr',
    timeZone: 'Europe/Paris',
    taxId: 'FR40303265045',
    registrationNumber: null,
    contractReference: null,
    purchaseOrderNumber: null
  },
  lines: LINES_EXAMPLE
} as const
