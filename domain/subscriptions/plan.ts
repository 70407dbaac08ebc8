/**
 * What a customer can subscribe to. A plan is a code with versions; a published version never changes, so that a subscription, its
 * limits and its invoices can be explained for ever by the version they name.
 */
import type { CustomerKind } from '../customers/customer.ts'
import type { Limit } from '../tokens/limit.ts'
import type { TokenPool } from '../tokens/token-pools.ts'
import type { BillingInterval } from './billing-period.ts'

export const PLAN_STATUSES = ['draft', 'published', 'archived'] as const
/** `archived`: nobody subscribes any more; whoever did goes on. */
export type PlanStatus = (typeof PLAN_STATUSES)[number]

export interface PlanVersion {
  /** UUID v7. */
  readonly id: string
  /** Names the plan through its versions: 1–64 of `a–z 0-9 -`. */
  readonly code: string
  /** From 1, one more with each draft of the code. */
  readonly version: number
  readonly status: PlanStatus
  /** For people. */
  readonly title: string
  /** ISO 4217; the base fee and all prices are in it. */
  readonly currency: string
  readonly interval: BillingInterval
  /** Decimal digits of the currency's minor unit; billed in advance. */
  readonly baseFeeMinor: bigint
  /** Days, 0: no trial. */
  readonly trialDays: number
  /** Held back for customers of one kind; null: for all. */
  readonly onlyFor: CustomerKind | null
  readonly prices: readonly Price[]
  /** `window: {kind: 'plan-period'}` is the subscription's billing period, whose boundaries the subscription knows. */
  readonly limits: readonly PlanLimit[]
  /** Raised by one with each change of the row; `version` tells the versions of the plan apart. */
  readonly revision: number
  readonly createdAt: number
  readonly updatedAt: number
  /** When it was published, ms; null for a draft. */
  readonly publishedAt: number | null
}

/** What a draft states, and what publishing freezes. */
export type PlanContent = Pick<
  PlanVersion,
  'title' | 'currency' | 'interval' | 'baseFeeMinor' | 'trialDays' | 'onlyFor' | 'prices' | 'limits'
>

export type PlanLimit = Omit<Limit, 'window'> & {
  readonly window: Exclude<Limit['window'], { readonly kind: 'period' }> | { readonly kind: 'plan-period' }
}

export const CHARGE_MODELS = ['per_unit', 'package', 'graduated', 'volume'] as const
export type ChargeModel = (typeof CHARGE_MODELS)[number]

export interface Price {
  readonly pool: TokenPool
  /** Exact model name, or a prefix that ends in `*`; `*` alone is every model. The longest that fits a model wins. */
  readonly model: string
  readonly chargeModel: ChargeModel
  /** Tokens that the amounts are for. */
  readonly perTokens: 1_000 | 1_000_000
  /** Ascending by `upTo`, the last one null (without end). `per_unit` and `package` have one tier. */
  readonly tiers: readonly PriceTier[]
  /** Tokens a period that cost nothing. */
  readonly includedTokens: number
  /** Least charge a period for this price, in the currency's minor unit. */
  readonly minimumMinor: bigint
  /** In force from then on, ms, for usage by event time; null: from the start of the plan. */
  readonly effectiveFrom: number | null
}

export interface PriceTier {
  /** Tokens up to and including; null: without end. */
  readonly upTo: number | null
  /** Decimal text in the currency's major unit for `perTokens` tokens, `0.0025` for instance: never a float. */
  readonly amount: string
}

/** A draft with another content. Null unless it is a draft, as of each of these steps when the plan is not where it begins. */
export function editPlan(plan: PlanVersion, content: PlanContent, at: number): PlanVersion | null {
  return plan.status === 'draft' ? changed({ ...plan, ...content }, at) : null
}

/** Draft to published: from now on nothing of it changes but its status. */
export function publishPlan(plan: PlanVersion, at: number): PlanVersion | null {
  return plan.status === 'draft' ? changed({ ...plan, status: 'published', publishedAt: at }, at) : null
}

/** Published to archived. */
export function archivePlan(plan: PlanVersion, at: number): PlanVersion | null {
  return plan.status === 'published' ? changed({ ...plan, status: 'archived' }, at) : null
}

function changed(plan: PlanVersion, at: number): PlanVersion {
  return { ...plan, revision: plan.revision + 1, updatedAt: at }
}
