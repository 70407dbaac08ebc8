/**
 * Invoices as JSON has them: in rows, answers, events and audit records. Amounts and tokens are decimal digits, since JSON's numbers
 * are floats to many readers; instants are RFC 3339.
 */
import type { JsonObject } from '../../json.ts'
import type { Price } from '../../subscriptions/plan.ts'
import type { TokenPool } from '../../tokens/token-pools.ts'
import type { InvoiceTotals, LineClass, TaxRate } from '../invoice-totals.ts'
import { type InvoiceHead, type InvoiceLine, openMinor } from './invoice.ts'

export type InvoiceLineJson = ReturnType<typeof lineToJson>
export type InvoiceJson = ReturnType<typeof invoiceToJson>
export type TotalsJson = ReturnType<typeof totalsToJson>

/** Without its lines: what events and audit records tell. */
export function invoiceToJson(invoice: InvoiceHead) {
  return {
    id: invoice.id,
    number: invoice.number,
    customerId: invoice.customerId,
    subscriptionId: invoice.subscriptionId,
    status: invoice.status,
    boundary: text(invoice.boundary),
    periodStart: textOrNull(invoice.period?.start ?? null),
    periodEnd: textOrNull(invoice.period?.end ?? null),
    currency: invoice.currency,
    ...totalsToJson(invoice),
    creditAppliedMinor: String(invoice.creditAppliedMinor),
    dueMinor: String(invoice.dueMinor),
    paidMinor: String(invoice.paidMinor),
    creditedMinor: String(invoice.creditedMinor),
    openMinor: String(invoice.status === 'void' ? 0n : openMinor(invoice)),
    paymentTermsDays: invoice.paymentTermsDays,
    finalizedAt: textOrNull(invoice.finalizedAt),
    dueAt: textOrNull(invoice.dueAt),
    closedAt: textOrNull(invoice.closedAt),
    version: invoice.version,
    createdAt: text(invoice.createdAt),
    updatedAt: text(invoice.updatedAt)
  } satisfies JsonObject
}

export function totalsToJson(totals: InvoiceTotals) {
  return {
    subtotalMinor: String(totals.subtotalMinor),
    grants: totals.burns.map(({ grantId, amountMinor }) => ({ grantId, amountMinor: String(amountMinor) })),
    grantsMinor: String(totals.grantsMinor),
    taxes: totals.taxes.map(({ rate, netMinor, taxMinor }) => ({
      percent: rate?.percent ?? null,
      isInclusive: rate?.isInclusive ?? false,
      netMinor: String(netMinor),
      taxMinor: String(taxMinor)
    })),
    taxMinor: String(totals.taxMinor),
    includedTaxMinor: String(totals.includedTaxMinor),
    totalMinor: String(totals.totalMinor)
  } satisfies JsonObject
}

export function totalsFromJson(json: TotalsJson): InvoiceTotals {
  return {
    subtotalMinor: BigInt(json.subtotalMinor),
    burns: json.grants.map(({ grantId, amountMinor }) => ({ grantId, amountMinor: BigInt(amountMinor) })),
    grantsMinor: BigInt(json.grantsMinor),
    taxes: json.taxes.map(({ percent, isInclusive, netMinor, taxMinor }) => ({
      rate: rateOf(percent, isInclusive),
      netMinor: BigInt(netMinor),
      taxMinor: BigInt(taxMinor)
    })),
    taxMinor: BigInt(json.taxMinor),
    includedTaxMinor: BigInt(json.includedTaxMinor),
    totalMinor: BigInt(json.totalMinor)
  }
}

function rateOf(percent: string | null, isInclusive: boolean): TaxRate | null {
  return percent === null ? null : { percent, isInclusive }
}

/** `detail` depends on the kind. */
export function lineToJson(line: InvoiceLine) {
  return {
    kind: line.kind,
    lineClass: line.lineClass,
    from: text(line.from),
    to: text(line.to),
    amountMinor: String(line.amountMinor),
    detail: detailToJson(line)
  } satisfies JsonObject
}

export interface BaseFeeDetailJson {
  readonly reason: 'advance' | 'credit' | 'charge'
  readonly planId: string
}

export interface UsageDetailJson {
  readonly pool: TokenPool
  readonly model: string
  readonly chargeModel: Price['chargeModel']
  readonly perTokens: number
  readonly models: readonly { readonly model: string; readonly tokens: string }[]
  readonly quantity: string
  readonly includedTokens: string
  readonly chargedTokens: string
  readonly tiers: readonly {
    readonly upTo: number | null
    readonly tokens: string
    readonly packages: string | null
    readonly amount: string
    readonly amountMinor: string
  }[]
}

export interface MinimumDetailJson {
  readonly pool: TokenPool
  readonly model: string
  readonly minimumMinor: string
  readonly chargedMinor: string
}

export interface AdjustmentDetailJson {
  readonly ratedMinor: string
  readonly invoicedMinor: string
  readonly differences: readonly { readonly model: string; readonly pool: TokenPool; readonly tokens: string }[]
}

export type LineDetailJson = BaseFeeDetailJson | UsageDetailJson | MinimumDetailJson | AdjustmentDetailJson

function detailToJson(line: InvoiceLine): LineDetailJson & JsonObject {
  switch (line.kind) {
    case 'base-fee':
      return { reason: line.reason, planId: line.planId }
    case 'usage':
      return {
        pool: line.pool,
        model: line.model,
        chargeModel: line.chargeModel,
        perTokens: line.perTokens,
        models: line.models.map(({ model, tokens }) => ({ model, tokens: String(tokens) })),
        quantity: String(line.quantity),
        includedTokens: String(line.includedTokens),
        chargedTokens: String(line.chargedTokens),
        tiers: line.tiers.map(({ upTo, tokens, packages, amount, amountMinor }) => ({
          upTo,
          tokens: String(tokens),
          packages: packages === null ? null : String(packages),
          amount,
          amountMinor: String(amountMinor)
        }))
      }
    case 'minimum':
      return {
        pool: line.pool,
        model: line.model,
        minimumMinor: String(line.minimumMinor),
        chargedMinor: String(line.chargedMinor)
      }
    case 'adjustment':
      return {
        ratedMinor: String(line.ratedMinor),
        invoicedMinor: String(line.invoicedMinor),
        differences: line.differences.map(({ model, pool, tokens }) => ({ model, pool, tokens: String(tokens) }))
      }
  }
}

/** A line as its row has it. Which detail it has is told by the kind, and held by whoever wrote it. */
export type LineRow = {
  readonly lineClass: LineClass
  readonly from: number
  readonly to: number
  readonly amountMinor: bigint
} & (
  | { readonly kind: 'base-fee'; readonly detail: BaseFeeDetailJson }
  | { readonly kind: 'usage'; readonly detail: UsageDetailJson }
  | { readonly kind: 'minimum'; readonly detail: MinimumDetailJson }
  | { readonly kind: 'adjustment'; readonly detail: AdjustmentDetailJson }
)

export function lineFromRow(row: LineRow): InvoiceLine {
  const { lineClass, from, to, amountMinor } = row
  const shape = { lineClass, from, to, amountMinor }
  switch (row.kind) {
    case 'base-fee':
      return { kind: row.kind, ...shape, ...row.detail }
    case 'usage':
      return { kind: row.kind, ...shape, ...usageFromJson(row.detail) }
    case 'minimum': {
      const { minimumMinor, chargedMinor, ...detail } = row.detail
      const amounts = { minimumMinor: BigInt(minimumMinor), chargedMinor: BigInt(chargedMinor) }
      return { kind: row.kind, ...shape, ...detail, ...amounts }
    }
    case 'adjustment': {
      const { ratedMinor, invoicedMinor, differences } = row.detail
      return {
        kind: row.kind,
        ...shape,
        ratedMinor: BigInt(ratedMinor),
        invoicedMinor: BigInt(invoicedMinor),
        differences: differences.map(({ model, pool, tokens }) => ({ model, pool, tokens: BigInt(tokens) }))
      }
    }
  }
}

function usageFromJson(detail: UsageDetailJson) {
  return {
    ...detail,
    models: detail.models.map(({ model, tokens }) => ({ model, tokens: BigInt(tokens) })),
    quantity: BigInt(detail.quantity),
    includedTokens: BigInt(detail.includedTokens),
    chargedTokens: BigInt(detail.chargedTokens),
    tiers: detail.tiers.map(({ upTo, tokens, packages, amount, amountMinor }) => ({
      upTo,
      tokens: BigInt(tokens),
      packages: packages === null ? null : BigInt(packages),
      amount,
      amountMinor: BigInt(amountMinor)
    }))
  }
}

function text(ms: number): string {
  return new Date(ms).toISOString()
}

function textOrNull(ms: number | null): string | null {
  return ms === null ? null : text(ms)
}
