/**
 * Shares of a period's base fee by local day, exact: a share is the difference of two rounded sums from the period's start, so
 * that the shares of any partition add up to the fee, and none is more than one minor unit away from its exact value.
 *
 * A day belongs to the share that holds its end. So the day of a change is the new plan's, whatever the hour, and a second
 * change on one day leaves nothing to the plan between. A period that a change of zone lets begin or end within a day counts
 * that piece as a day.
 */
import type { Period } from './billing-period.ts'
import { localDay } from './local-day.ts'

export interface ProratedFee {
  /** In the currency's minor unit, for the whole period; not negative. */
  readonly amountMinor: bigint
  readonly period: Period
  /** Milliseconds since the epoch, within the period: `period.start` ≤ `from` ≤ `to` ≤ `period.end`. */
  readonly from: number
  readonly to: number
  /** IANA name of the zone whose midnight ends the period: a later one of the customer isn't in force yet. */
  readonly timeZone: string
}

export interface PlanChange {
  /** Both for the whole period, in one currency, in its minor unit. */
  readonly oldFeeMinor: bigint
  readonly newFeeMinor: bigint
  readonly period: Period
  readonly at: number
  readonly timeZone: string
}

export interface ChangePreview {
  /** The old fee's share of the days it is no longer due for. */
  readonly creditMinor: bigint
  /** The new fee's share of the same days. */
  readonly chargeMinor: bigint
  /** Charge less credit: below zero, the customer gets money back. */
  readonly netMinor: bigint
}

/** The share of a fee for the days of [from, to). Throws a RangeError outside of the period, or for a negative fee. */
export function prorate({ amountMinor, period, from, to, timeZone }: ProratedFee): bigint {
  return sharesOf(period, timeZone)(amountMinor, { from, to })
}

/** As `prorate`, for many amounts of one period: the days up to an instant are counted once. */
export function sharesOf(
  period: Period,
  timeZone: string
): (amountMinor: bigint, part: Pick<ProratedFee, 'from' | 'to'>) => bigint {
  if (!(period.start < period.end)) throw new RangeError(`[${period.start}, ${period.end}) is no period`)
  const daysBefore = dayCounter(period, timeZone)
  const days = daysBefore(period.end)
  return (amountMinor, { from, to }) => {
    if (amountMinor < 0n) throw new RangeError(`a fee of ${amountMinor} is negative`)
    if (!(period.start <= from && from <= to && to <= period.end))
      throw new RangeError(`[${from}, ${to}) is no part of the period [${period.start}, ${period.end})`)
    const due = (instant: number) => roundedQuotient(amountMinor * daysBefore(instant), days)
    return due(to) - due(from)
  }
}

/**
 * What a change in mid-period to a plan of the same interval costs now, when the old fee was charged for the whole period.
 * After several changes the fees still add up by the day.
 */
export function changePreview({ oldFeeMinor, newFeeMinor, period, at, timeZone }: PlanChange): ChangePreview {
  const rest = { period, from: at, to: period.end, timeZone }
  const creditMinor = prorate({ ...rest, amountMinor: oldFeeMinor })
  const chargeMinor = prorate({ ...rest, amountMinor: newFeeMinor })
  return { creditMinor, chargeMinor, netMinor: chargeMinor - creditMinor }
}

/** Counts the days of a period that have ended up to an instant within it; at its end, all of them. */
function dayCounter(period: Period, timeZone: string): (instant: number) => bigint {
  const first = localDay(period.start, timeZone)
  const daysSince = (instant: number) => BigInt(first.until(localDay(instant, timeZone), { largestUnit: 'day' }).days)
  const counted = new Map<number, bigint>()
  return (instant) => {
    const days = counted.get(instant) ?? (instant === period.end ? daysSince(instant - 1) + 1n : daysSince(instant))
    counted.set(instant, days)
    return days
  }
}

/** Of two numbers that aren't negative, half rounded up. */
function roundedQuotient(dividend: bigint, divisor: bigint): bigint {
  return (2n * dividend + divisor) / (2n * divisor)
}
