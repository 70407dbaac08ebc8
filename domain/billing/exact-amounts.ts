/**
 * Exact arithmetic on amounts. Decimals become integers of 10^-12, the finest that a plan can state, and stay integers until
 * `roundedQuotient` makes minor units of them, once. No float ever holds money.
 */

/** What `parseDecimal` counts in: 1 is this many. */
export const DECIMAL_ONE = 10n ** 12n

const DECIMAL = /^(\d{1,30})(?:\.(\d{1,12}))?$/

/** `0.0025` in units of 10^-12. Throws a RangeError for a sign, an exponent or more than 12 digits after the point. */
export function parseDecimal(text: string): bigint {
  const [, whole, part = ''] = DECIMAL.exec(text) ?? []
  if (whole === undefined) throw new RangeError(`${text} is no decimal with at most 12 digits after the point`)
  return BigInt(whole) * DECIMAL_ONE + BigInt(part.padEnd(12, '0'))
}

/** The nearest integer, halves away from zero, so that a credit rounds as the charge it takes back. The divisor is above zero. */
export function roundedQuotient(dividend: bigint, divisor: bigint): bigint {
  if (divisor <= 0n) throw new RangeError(`a divisor of ${divisor}`)
  return dividend < 0n ? -halfUp(-dividend, divisor) : halfUp(dividend, divisor)
}

function halfUp(dividend: bigint, divisor: bigint): bigint {
  return (2n * dividend + divisor) / (2n * divisor)
}

/**
 * Shares out a whole by weights, none below zero: each part is its exact value rounded down or up, and they sum to the whole.
 * Those with the largest remainders are rounded up; of equal ones the first. Throws a RangeError when there is something to share
 * out and no weight.
 */
export function allocate(total: bigint, weights: readonly bigint[]): readonly bigint[] {
  if (total < 0n) return allocate(-total, weights).map((part) => -part)
  const sum = sumOf(weights)
  if (total === 0n) return weights.map(() => 0n)
  if (sum === 0n || weights.some((weight) => weight < 0n))
    throw new RangeError(`${total} can't be shared out by the weights ${weights.join(', ')}`)
  const parts = weights.map((weight) => (total * weight) / sum)
  const remainders = weights.map((weight, at) => ({ at, remainder: (total * weight) % sum }))
  remainders.sort((a, b) => (a.remainder === b.remainder ? a.at - b.at : a.remainder > b.remainder ? -1 : 1))
  const roundedUp = new Set(remainders.slice(0, Number(total - sumOf(parts))).map(({ at }) => at))
  return parts.map((part, at) => (roundedUp.has(at) ? part + 1n : part))
}

export function sumOf(amounts: readonly bigint[]): bigint {
  return amounts.reduce((sum, amount) => sum + amount, 0n)
}

/** `Math.min` takes no bigint. */
export function smallerOf(a: bigint, b: bigint): bigint {
  if (a < b) return a
  return b
}
