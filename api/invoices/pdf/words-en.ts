/** What an invoice says in English; `Words` is what each other language has to say as well. */
import type { ChargeModel } from '../../../domain/subscriptions/plan.ts'
import type { TokenPool } from '../../../domain/tokens/token-pools.ts'

export type Words = typeof ENGLISH

export const ENGLISH = {
  invoice: 'Invoice',
  billTo: 'Bill to',
  taxId: (id: string) => `Tax ID: ${id}`,
  registrationNumber: (number: string) => `Registration number: ${number}`,
  contractReference: (reference: string) => `Contract: ${reference}`,
  purchaseOrderNumber: (number: string) => `Purchase order: ${number}`,

  number: 'Invoice number',
  issuedOn: 'Issue date',
  dueOn: 'Due date',
  terms: 'Payment terms',
  payableWithin: (days: number) => (days === 0 ? 'On receipt' : days === 1 ? '1 day' : `${days} days`),
  usagePeriod: 'Usage period',

  draft: 'Draft',
  paid: (on: string | null) => (on === null ? 'Paid' : `Paid on ${on}`),
  void: 'Void',
  draftNote: 'This is a draft: nothing is to be paid on it, and its amounts may still change.',
  voidNote: 'This invoice is void: nothing is to be paid on it.',

  description: 'Description',
  tokens: 'Tokens',
  unitPrice: (currency: string) => `Unit price (${currency})`,
  ofWhich: 'Of which',
  amount: (currency: string) => `Amount (${currency})`,

  plan: ({ title, code, version }: PlanNamed) => `${title} (${code}, version ${version})`,
  baseFee: {
    advance: (plan: string) => `Base fee, ${plan}`,
    credit: (plan: string) => `Base fee, ${plan}: credit after a change`,
    charge: (plan: string) => `Base fee, ${plan}: charge after a change`
  },
  dayCount: (days: number) => (days === 1 ? '1 day' : `${days} days`),
  inAdvance: 'in advance',

  pools: {
    input: 'input tokens',
    cacheRead: 'tokens read from cache',
    cacheWrite: 'tokens written to cache',
    output: 'output tokens',
    reasoning: 'reasoning tokens'
  } satisfies Record<TokenPool, string>,
  everyModel: 'every model',
  usage: (pool: string, model: string) => `Usage: ${pool}, ${model}`,
  chargeModels: {
    per_unit: 'price per token',
    package: 'price per package begun',
    graduated: 'graduated price, tier by tier',
    volume: 'volume price, one tier for all tokens'
  } satisfies Record<ChargeModel, string>,
  models: 'Models',
  otherModels: (count: string, tokens: string) => `${count} others ${tokens}`,
  used: 'Used',
  included: 'Included in the plan',
  charged: 'Charged',
  tierUpTo: (tokens: string) => `Tier up to ${tokens}`,
  lastTier: 'Last tier',
  packages: (count: string, size: string) => `Packages of ${size} begun: ${count}`,
  perThousand: (price: string) => `${price} / thousand`,
  perMillion: (price: string) => `${price} / million`,
  perPackage: (price: string) => `${price} / package`,

  minimum: (pool: string, model: string) => `Missing to the minimum: ${pool}, ${model}`,
  minimumOfPeriod: 'Minimum of the period',
  lessCharged: 'Less usage charged',
  adjustment: (dates: string) => `Adjustment of usage, ${dates}`,
  ratedNow: 'Right amount, with usage that came late or was taken back',
  lessInvoiced: 'Less what was invoiced before',
  differences: 'Tokens that were added, or taken back:',

  subtotal: 'Subtotal',
  grants: 'Grants used',
  taxOnTop: (percent: string, net: string) => `Tax ${percent} on ${net}`,
  taxIncluded: (percent: string, net: string) => `Of which tax ${percent} included (net ${net})`,
  notTaxed: (net: string) => `Not taxed: ${net}`,
  total: 'Total',
  creditApplied: 'Credit applied',
  due: 'Amount due',
  alreadyPaid: 'Paid',
  credited: 'Credit notes',
  stillOpen: 'Still to be paid',
  inYourFavour: (money: string) => `${money} are in your favour.`,

  payment: 'Payment',
  paymentReference: (number: string) => `Reference to be quoted: ${number}`
}

interface PlanNamed {
  readonly title: string
  readonly code: string
  readonly version: number
}
