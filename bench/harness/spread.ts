/** What is told of several rounds: the middle one, and how far apart they lie. */
export interface Spread {
  readonly min: number
  readonly median: number
  readonly max: number
}

/** Of at least one number. The median of an even count is the mean of the two in the middle. */
export function spreadOf(numbers: readonly number[]): Spread {
  const sorted = numbers.toSorted((a, b) => a - b)
  const [min, max] = [sorted[0], sorted.at(-1)]
  const above = sorted[Math.floor(sorted.length / 2)]
  const below = sorted[Math.floor((sorted.length - 1) / 2)]
  if (min === undefined || max === undefined || above === undefined || below === undefined) {
    throw new RangeError('there is no spread of no rounds')
  }
  return { min, median: (above + below) / 2, max }
}
