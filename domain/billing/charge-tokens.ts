/** What a run of tokens costs at one price: the four charge models, exact, tier by tier. */
import type { Price } from '../subscriptions/plan.ts'
import { allocate, DECIMAL_ONE, parseDecimal, roundedQuotient, smallerOf, sumOf } from './exact-amounts.ts'

/** Places in the order of charged tokens of a period: (start, end]. What is included in the price has no place. */
export interface ChargedRun {
  readonly start: bigint
  readonly end: bigint
  /** Charged tokens of the whole period, by which `volume` picks its tier. */
  readonly periodEnd: bigint
}

export interface TierCharge {
  /** As the price has it; null: without end. */
  readonly upTo: number | null
  readonly tokens: bigint
  /** Of `package`, the packages begun in this run; null for the other models. */
  readonly packages: bigint | null
  /** Decimal text in the major unit for the price's `perTokens` tokens. */
  readonly amount: string
  /** Its part of the line, in minor units: the parts sum to the line. */
  readonly amountMinor: bigint
}

/** Rounded once over all of its tiers, half up to the minor unit, and then shared out to them. Tiers without tokens are left out. */
export function chargeTokens(
  price: Pick<Price, 'chargeModel' | 'perTokens' | 'tiers'>,
  run: ChargedRun,
  digits: number
): { readonly tiers: readonly TierCharge[]; readonly amountMinor: bigint } {
  const perTokens = BigInt(price.perTokens)
  const parts = partsOf(price, run).map((part) => ({
    ...part,
    weight: parseDecimal(part.amount) * (part.packages === null ? part.tokens : part.packages * perTokens)
  }))
  const weights = parts.map(({ weight }) => weight)
  const amountMinor = roundedQuotient(sumOf(weights) * 10n ** BigInt(digits), DECIMAL_ONE * perTokens)
  const shares = allocate(amountMinor, weights)
  const tiers = parts.map(({ weight: _, ...part }, i) => ({ ...part, amountMinor: shares[i] ?? 0n }))
  return { tiers, amountMinor }
}

type TierPart = Omit<TierCharge, 'amountMinor'>

function partsOf({ chargeModel, perTokens, tiers }: Parameters<typeof chargeTokens>[0], run: ChargedRun): TierPart[] {
  const tokensIn = chargeModel === 'volume' ? volumeTokens : tokensBetween
  const packages =
    chargeModel === 'package' ? packagesUpTo(run.end, perTokens) - packagesUpTo(run.start, perTokens) : null
  const parts: TierPart[] = []
  let below = 0n
  for (const { upTo, amount } of tiers) {
    const end = upTo === null ? run.periodEnd : smallerOf(BigInt(upTo), run.periodEnd)
    const tokens = tokensIn(run, below, end)
    if (tokens > 0n) parts.push({ upTo, tokens, packages, amount })
    below = end
  }
  return parts
}

/** The whole run in the tier (below, end] that holds the last place of the period, nothing in the others. */
function volumeTokens({ start, end: runEnd, periodEnd }: ChargedRun, below: bigint, end: bigint): bigint {
  return below < periodEnd && end === periodEnd ? runEnd - start : 0n
}

function tokensBetween(run: ChargedRun, below: bigint, end: bigint): bigint {
  const start = run.start > below ? run.start : below
  return smallerOf(run.end, end) - start
}

/** A package is paid for whole by its first token, so the rest of it is paid for already when a run begins within it. */
function packagesUpTo(place: bigint, perTokens: number): bigint {
  return (place + BigInt(perTokens) - 1n) / BigInt(perTokens)
}
