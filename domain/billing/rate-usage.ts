/**
 * From ledger rows and prices to invoice lines: the usage of one billing period. docs/billing.md has the rules with figures.
 *
 * What runs on over the whole period is a track: the usage of one pool, model pattern and charge model (of `package` also its
 * size). It has one allowance and one minimum, each the sum of its prices' shares by the day, and one count of charged tokens, along
 * which the tiers lie. Where its price changes, by another plan or by the time of a price, only the tiers' amounts do.
 * So the same prices give the same lines however the period is cut and the usage is spread over rows.
 */
import type { Period } from '../subscriptions/billing-period.ts'
import type { Price } from '../subscriptions/plan.ts'
import { sharesOf } from '../subscriptions/proration.ts'
import { quarterStartMs } from '../tokens/quarter-hour.ts'
import { chargeTokens, type TierCharge } from './charge-tokens.ts'
import { minorDigits } from './currency.ts'
import { smallerOf, sumOf } from './exact-amounts.ts'
import { type RatingSegment, type Stretch, type UnratedUsage, usageByPrice } from './usage-by-price.ts'

export interface RatingAsk {
  readonly period: Period
  /** IANA name of the zone whose midnight ends the period: shares of allowances and minimums are by its days. */
  readonly timeZone: string
  /** ISO 4217, of all the prices. */
  readonly currency: string
  /** Ascending, within the period, without overlap. Where none is, in a pause for instance, nothing is due. */
  readonly segments: readonly RatingSegment[]
}

export interface UsageLine {
  /** With its pool, model pattern and tiers. When prices with the same tiers follow on each other: the first of them. */
  readonly price: Price
  /** Quarters, [from, to), in which the price was in force: the ledger rows behind the line lie there. */
  readonly from: number
  readonly to: number
  /** Exact names, ascending. */
  readonly models: readonly { readonly model: string; readonly tokens: bigint }[]
  /** Of all models: included and charged ones. */
  readonly quantity: bigint
  readonly includedTokens: bigint
  readonly chargedTokens: bigint
  readonly tiers: readonly TierCharge[]
  /** In the currency's minor unit; rounded once, half up. The tiers' parts sum to it. */
  readonly amountMinor: bigint
}

/** What is missing to the minimum of a track. */
export interface MinimumLine {
  /** The last one of the track. */
  readonly price: Price
  readonly minimumMinor: bigint
  /** Sum of the track's lines. */
  readonly chargedMinor: bigint
  /** Minimum less charged, above zero. */
  readonly amountMinor: bigint
}

export type Rating =
  | { readonly lines: readonly UsageLine[]; readonly minimums: readonly MinimumLine[] }
  /** Nothing is rated while some of the usage can't be: the subscription is parked. */
  | { readonly unrated: readonly UnratedUsage[] }

/** Throws a RangeError when segments overlap or leave the period, or a row lies outside of its segment. */
export function rateUsage(ask: RatingAsk): Rating {
  checkSegments(ask)
  const tracks = new Map<string, Stretch[]>()
  const unrated = new Map<string, UnratedUsage>()
  for (const segment of ask.segments) {
    const priced = usageByPrice(segment)
    for (const usage of priced.unrated) addUnrated(unrated, usage)
    for (const stretch of priced.stretches) {
      const key = trackOf(stretch.price)
      const track = tracks.get(key)
      if (track === undefined) tracks.set(key, [stretch])
      else track.push(stretch)
    }
  }
  if (unrated.size > 0) return { unrated: [...unrated.values()].toSorted(compareUnrated) }
  const terms = { shareOf: stretchShares(ask), digits: minorDigits(ask.currency) }
  const rated = [...tracks.values()].map((track) => rateTrack(track, terms))
  return { lines: rated.flatMap(({ lines }) => lines), minimums: rated.flatMap(({ minimum }) => minimum ?? []) }
}

function checkSegments({ period, segments }: RatingAsk): void {
  let end = period.start
  for (const { from, to, usage } of segments) {
    if (!(end <= quarterStartMs(from) && from < to && quarterStartMs(to) <= period.end))
      throw new RangeError(`quarters [${from}, ${to}) don't follow ${end} in the period that ends at ${period.end}`)
    end = quarterStartMs(to)
    const stray = usage.find(({ quarter }) => quarter < from || quarter >= to)
    if (stray !== undefined)
      throw new RangeError(`a row of ${stray.model} in quarter ${stray.quarter} is outside of [${from}, ${to})`)
  }
}

/** `perTokens` of the other models only says what the amounts are for. */
function trackOf({ pool, model, chargeModel, perTokens }: Price): string {
  return JSON.stringify([pool, model, chargeModel, chargeModel === 'package' ? perTokens : null])
}

function addUnrated(all: Map<string, UnratedUsage>, usage: UnratedUsage): void {
  const key = JSON.stringify([usage.reason, usage.pool, usage.model])
  all.set(key, { ...usage, tokens: usage.tokens + (all.get(key)?.tokens ?? 0n) })
}

function compareUnrated(a: UnratedUsage, b: UnratedUsage): number {
  return compareText(a.model, b.model) || compareText(a.pool, b.pool) || compareText(a.reason, b.reason)
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1
}

type StretchShare = (whole: bigint, stretch: Stretch) => bigint

interface Terms {
  readonly shareOf: StretchShare
  /** Of the currency's minor unit. */
  readonly digits: number
}

function rateTrack(
  track: readonly Stretch[],
  { shareOf, digits }: Terms
): { readonly lines: readonly UsageLine[]; readonly minimum: MinimumLine | null } {
  const merged = mergeStretches(track)
  const allowance = sumOf(track.map((stretch) => shareOf(BigInt(stretch.price.includedTokens), stretch)))
  const total = sumOf(merged.map(quantityOf))
  const periodEnd = total > allowance ? total - allowance : 0n
  const lines: UsageLine[] = []
  let allowanceLeft = allowance
  let start = 0n
  for (const stretch of merged) {
    const { price, from, to } = stretch
    const quantity = quantityOf(stretch)
    if (quantity === 0n) continue
    const includedTokens = smallerOf(quantity, allowanceLeft)
    allowanceLeft -= includedTokens
    const end = start + quantity - includedTokens
    const models = [...stretch.tokens]
      .map(([model, tokens]) => ({ model, tokens }))
      .toSorted((a, b) => compareText(a.model, b.model))
    const charge = chargeTokens(price, { start, end, periodEnd }, digits)
    lines.push({ price, from, to, models, quantity, includedTokens, chargedTokens: end - start, ...charge })
    start = end
  }
  return { lines, minimum: minimumOf(track, lines, shareOf) }
}

/** Shares of allowances and minimums by the days of a stretch: those of any partition of the period sum to the whole. */
function stretchShares({ period, timeZone }: RatingAsk): StretchShare {
  const shareOf = sharesOf(period, timeZone)
  return (whole, { from, to }) =>
    whole === 0n ? 0n : shareOf(whole, { from: quarterStartMs(from), to: quarterStartMs(to) })
}

/** A change that leaves the amounts as they were ends no line: rounded apart, its halves might cost more than the whole. */
function mergeStretches(track: readonly Stretch[]): readonly Stretch[] {
  const merged: Stretch[] = []
  for (const stretch of track) {
    const last = merged.at(-1)
    if (last === undefined || last.to !== stretch.from || !chargeAlike(last.price, stretch.price)) merged.push(stretch)
    else merged[merged.length - 1] = { ...last, to: stretch.to, tokens: sumByModel(last.tokens, stretch.tokens) }
  }
  return merged
}

function chargeAlike(a: Price, b: Price): boolean {
  return (
    a.perTokens === b.perTokens &&
    a.tiers.length === b.tiers.length &&
    a.tiers.every(({ upTo, amount }, i) => upTo === b.tiers[i]?.upTo && amount === b.tiers[i]?.amount)
  )
}

function sumByModel(a: Stretch['tokens'], b: Stretch['tokens']): Stretch['tokens'] {
  const sums = new Map(a)
  for (const [model, tokens] of b) sums.set(model, tokens + (sums.get(model) ?? 0n))
  return sums
}

function quantityOf({ tokens }: Stretch): bigint {
  return sumOf([...tokens.values()])
}

function minimumOf(track: readonly Stretch[], lines: readonly UsageLine[], shareOf: StretchShare): MinimumLine | null {
  const minimumMinor = sumOf(track.map((stretch) => shareOf(stretch.price.minimumMinor, stretch)))
  const chargedMinor = sumOf(lines.map(({ amountMinor }) => amountMinor))
  const price = track.at(-1)?.price
  if (price === undefined || minimumMinor <= chargedMinor) return null
  return { price, minimumMinor, chargedMinor, amountMinor: minimumMinor - chargedMinor }
}
