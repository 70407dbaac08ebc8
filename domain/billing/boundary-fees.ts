/**
 * Base fees on the invoice of a boundary: the period that begins there pays in advance; for the one that ends there, what was paid
 * in advance is set right for the days after each change within it. Over both invoices each plan is paid for by its days.
 */
import type { Period } from '../subscriptions/billing-period.ts'
import { changePreview } from '../subscriptions/proration.ts'

/** A fee that changed within a period; 0 while nothing is due: in a pause, or after the subscription was cut off. */
export interface FeeChange {
  /** A full quarter, ms. */
  readonly at: number
  /** Both for the whole period, in the minor unit of one currency. */
  readonly oldFeeMinor: bigint
  readonly newFeeMinor: bigint
}

export interface BaseFeesAsk {
  /** Null when none begins: the subscription is over. Its fee is 0 in a trial or a pause. */
  readonly begins: { readonly period: Period; readonly feeMinor: bigint } | null
  /** Null on the first invoice. The changes ascending; the first one's old fee is what was paid in advance. */
  readonly ends: {
    readonly period: Period
    /** IANA name of the zone whose midnight ends it. */
    readonly timeZone: string
    readonly changes: readonly FeeChange[]
  } | null
}

export interface BaseFeeLine {
  readonly reason: 'advance' | 'credit' | 'charge'
  /** [from, to) in ms: the days that are paid for, or no longer due. */
  readonly from: number
  readonly to: number
  /** Below zero for a credit, never zero. */
  readonly amountMinor: bigint
}

/** Credits and charges of the ending period in order of time, then the advance. Lines of nothing are left out. */
export function baseFeeLines({ begins, ends }: BaseFeesAsk): readonly BaseFeeLine[] {
  const lines = ends === null ? [] : ends.changes.flatMap((change) => correctionOf(change, ends))
  if (begins !== null) {
    const { start, end } = begins.period
    lines.push({ reason: 'advance', from: start, to: end, amountMinor: begins.feeMinor })
  }
  return lines.filter(({ amountMinor }) => amountMinor !== 0n)
}

function correctionOf(change: FeeChange, ends: NonNullable<BaseFeesAsk['ends']>): BaseFeeLine[] {
  const { period, timeZone } = ends
  const { creditMinor, chargeMinor } = changePreview({ ...change, period, timeZone })
  const days = { from: change.at, to: period.end }
  return [
    { reason: 'credit', ...days, amountMinor: -creditMinor },
    { reason: 'charge', ...days, amountMinor: chargeMinor }
  ]
}
