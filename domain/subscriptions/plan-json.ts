/**
 * A plan as JSON has it: in answers, in audit records and in its row. Money is decimal digits of the minor unit, since JSON's
 * numbers are floats to many readers and BigInts have no JSON at all; instants are RFC 3339.
 */
import type { CustomerKind } from '../customers/customer.ts'
import type { JsonObject } from '../json.ts'
import { parseRfc3339 } from '../rfc3339-time.ts'
import type { BillingInterval } from './billing-period.ts'
import type { PlanContent, PlanLimit, PlanVersion, Price, PriceTier } from './plan.ts'

/** What a body states of a plan; what may be left out is none. */
export interface PlanContentJson {
  readonly title: string
  readonly currency: string
  readonly interval: BillingInterval
  readonly baseFeeMinor: string
  readonly trialDays?: number
  readonly onlyFor?: CustomerKind | null
  readonly prices?: readonly PriceJson[]
  readonly limits?: readonly PlanLimit[]
}

export type PriceJson = Pick<Price, 'pool' | 'model' | 'chargeModel' | 'perTokens'> & {
  readonly tiers: readonly (Pick<PriceTier, 'amount'> & Partial<Pick<PriceTier, 'upTo'>>)[]
  readonly includedTokens?: number
  readonly minimumMinor?: string
  readonly effectiveFrom?: string | null
}

export type PlanJson = ReturnType<typeof planToJson>

export function planToJson(plan: PlanVersion) {
  const { id, code, version, status, createdAt, updatedAt, publishedAt } = plan
  return {
    id,
    code,
    version,
    status,
    ...planContentToJson(plan),
    createdAt: text(createdAt),
    updatedAt: text(updatedAt),
    publishedAt: publishedAt === null ? null : text(publishedAt)
  } satisfies JsonObject
}

export function planContentToJson({
  title,
  currency,
  interval,
  baseFeeMinor,
  trialDays,
  onlyFor,
  prices,
  limits
}: PlanContent) {
  return {
    title,
    currency,
    interval,
    baseFeeMinor: String(baseFeeMinor),
    trialDays,
    onlyFor,
    prices: prices.map(priceToJson),
    limits
  } satisfies PlanContentJson
}

/** Of JSON in which `validatePlan` found no fault. */
export function planContentFromJson(json: PlanContentJson): PlanContent {
  const { title, currency, interval, baseFeeMinor, trialDays = 0, onlyFor = null, prices = [], limits = [] } = json
  return {
    title,
    currency,
    interval,
    baseFeeMinor: BigInt(baseFeeMinor),
    trialDays,
    onlyFor,
    prices: prices.map(priceFromJson),
    limits
  }
}

function priceToJson({ pool, model, chargeModel, perTokens, tiers, includedTokens, ...price }: Price) {
  return {
    pool,
    model,
    chargeModel,
    perTokens,
    tiers: tiers.map(({ upTo, amount }) => ({ upTo, amount })),
    includedTokens,
    minimumMinor: String(price.minimumMinor),
    effectiveFrom: price.effectiveFrom === null ? null : text(price.effectiveFrom)
  }
}

function priceFromJson({ pool, model, chargeModel, perTokens, tiers, ...price }: PriceJson): Price {
  const { includedTokens = 0, minimumMinor = '0', effectiveFrom = null } = price
  return {
    pool,
    model,
    chargeModel,
    perTokens,
    tiers: tiers.map(({ upTo = null, amount }) => ({ upTo, amount })),
    includedTokens,
    minimumMinor: BigInt(minimumMinor),
    effectiveFrom: effectiveFrom === null ? null : instant(effectiveFrom)
  }
}

function text(ms: number): string {
  return new Date(ms).toISOString()
}

function instant(rfc3339: string): number {
  const ms = parseRfc3339(rfc3339)
  if (ms === null) throw new RangeError(`a price is in force from ${rfc3339}, which is no RFC 3339 time`)
  return ms
}
