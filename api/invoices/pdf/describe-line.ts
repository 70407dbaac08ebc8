/** An invoice line in words: what it is for in the first row, and below it how its amount comes about. */
import type {
  AdjustmentInvoiceLine,
  BaseFeeInvoiceLine,
  InvoiceLine,
  MinimumInvoiceLine,
  UsageInvoiceLine
} from '../../../domain/billing/invoices/invoice.ts'
import type { PlanVersion } from '../../../domain/subscriptions/plan.ts'
import { dayCount, type PrintedValues } from './printed-values.ts'
import { BOLD, DETAIL } from './sheet.ts'
import type { Block, Column, Row } from './table.ts'
import type { Words } from './words-en.ts'

/** By plan id: each that a base fee is of. */
export type InvoicedPlans = ReadonlyMap<string, Pick<PlanVersion, 'code' | 'version' | 'title'>>

export interface Telling {
  readonly words: Words
  readonly values: PrintedValues
  readonly timeZone: string
  readonly plans: InvoicedPlans
}

/** Models of a line that are named, those with the most tokens; the others are told as a sum. */
export const MODELS_NAMED_MAX = 20

export function lineColumns(words: Words, currency: string): readonly Column[] {
  return [
    { title: words.description, width: 201.28, align: 'left' },
    { title: words.tokens, width: 74, align: 'right' },
    { title: words.unitPrice(currency), width: 86, align: 'right' },
    { title: words.ofWhich, width: 64, align: 'right' },
    { title: words.amount(currency), width: 74, align: 'right' }
  ]
}

/** Throws for a base fee of a plan that `plans` lacks: plans are never deleted. */
export function describeLine(line: InvoiceLine, telling: Telling): Block {
  switch (line.kind) {
    case 'base-fee':
      return describeBaseFee(line, telling)
    case 'usage':
      return describeUsage(line, telling)
    case 'minimum':
      return describeMinimum(line, telling)
    case 'adjustment':
      return describeAdjustment(line, telling)
  }
}

interface Cells {
  readonly tokens?: string
  readonly price?: string
  readonly part?: string
}

function detail(text: string, { tokens = '', price = '', part = '' }: Cells = {}): Row {
  return { cells: [text, tokens, price, part, ''], style: DETAIL, indent: 8 }
}

function describeBaseFee(line: BaseFeeInvoiceLine, { words, values, timeZone, plans }: Telling): Block {
  const { planId, reason, from, to, amountMinor } = line
  const plan = plans.get(planId)
  if (plan === undefined) throw new Error(`the plan ${planId} of a base fee was not brought`)
  const days = words.dayCount(dayCount(from, to, timeZone))
  const facts = [values.days(from, to), days, ...(reason === 'advance' ? [words.inAdvance] : [])]
  const title = words.baseFee[reason](words.plan(plan))
  return [{ cells: [title, '', '', '', values.amount(amountMinor)], style: BOLD }, detail(facts.join(' · '))]
}

function describeUsage(line: UsageInvoiceLine, telling: Telling): Block {
  const { words, values } = telling
  const title = words.usage(words.pools[line.pool], modelName(line.model, words))
  const facts = `${values.stretch(line.from, line.to)} · ${words.chargeModels[line.chargeModel]}`
  return [
    { cells: [title, '', '', '', values.amount(line.amountMinor)], style: BOLD },
    detail(facts),
    ...modelRows(line, telling),
    ...quantityRows(line, telling),
    ...line.tiers.map((tier) => tierRow(line, tier, telling))
  ]
}

/** Left out when the one tier says the same. */
function quantityRows({ quantity, includedTokens, tiers }: UsageInvoiceLine, { words, values }: Telling): Block {
  if (includedTokens === 0n && tiers.length === 1) return []
  const used = detail(words.used, { tokens: values.count(quantity) })
  return includedTokens === 0n ? [used] : [used, detail(words.included, { tokens: values.count(includedTokens) })]
}

/** Left out when the pattern names the only model. */
function modelRows({ model, models }: UsageInvoiceLine, { words, values }: Telling): Block {
  if (models.length === 0 || (models.length === 1 && models[0]?.model === model)) return []
  const byTokens = models.toSorted((a, b) => Number(b.tokens > a.tokens) - Number(b.tokens < a.tokens))
  const named = byTokens.slice(0, MODELS_NAMED_MAX).map((used) => `${used.model} ${values.count(used.tokens)}`)
  const others = byTokens.slice(MODELS_NAMED_MAX)
  const othersTokens = others.reduce((sum, { tokens }) => sum + tokens, 0n)
  if (others.length > 0) named.push(words.otherModels(values.count(others.length), values.count(othersTokens)))
  return [detail(`${words.models} · ${named.join(' · ')}`)]
}

function tierRow(line: UsageInvoiceLine, tier: UsageInvoiceLine['tiers'][number], { words, values }: Telling): Row {
  const price = values.price(tier.amount)
  const cells = { tokens: values.count(tier.tokens), part: values.amount(tier.amountMinor) }
  if (tier.packages !== null) {
    const label = words.packages(values.count(tier.packages), values.count(line.perTokens))
    return detail(label, { ...cells, price: words.perPackage(price) })
  }
  const hasTiers = line.chargeModel === 'graduated' || line.chargeModel === 'volume'
  const tierLabel = tier.upTo === null ? words.lastTier : words.tierUpTo(values.count(tier.upTo))
  const perTokens = line.perTokens === 1_000 ? words.perThousand(price) : words.perMillion(price)
  return detail(hasTiers ? tierLabel : words.charged, { ...cells, price: perTokens })
}

function describeMinimum(line: MinimumInvoiceLine, { words, values }: Telling): Block {
  const title = words.minimum(words.pools[line.pool], modelName(line.model, words))
  return [
    { cells: [title, '', '', '', values.amount(line.amountMinor)], style: BOLD },
    detail(values.stretch(line.from, line.to)),
    detail(words.minimumOfPeriod, { part: values.amount(line.minimumMinor) }),
    detail(words.lessCharged, { part: values.amount(-line.chargedMinor) })
  ]
}

function describeAdjustment(line: AdjustmentInvoiceLine, { words, values }: Telling): Block {
  const title = words.adjustment(values.stretch(line.from, line.to))
  return [
    { cells: [title, '', '', '', values.amount(line.amountMinor)], style: BOLD },
    detail(words.ratedNow, { part: values.amount(line.ratedMinor) }),
    detail(words.lessInvoiced, { part: values.amount(-line.invoicedMinor) }),
    ...(line.differences.length === 0 ? [] : [detail(words.differences)]),
    ...line.differences.map(({ model, pool, tokens }) =>
      detail(`${model}, ${words.pools[pool]}`, { tokens: values.difference(tokens) })
    )
  ]
}

function modelName(pattern: string, words: Words): string {
  return pattern === '*' ? words.everyModel : pattern
}
