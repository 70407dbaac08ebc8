/** What the readers of the providers' usage objects have in common. */
import type { FieldReader } from '../field-reader.ts'
import type { TokenPools } from '../token-pools.ts'

/** One provider's way to report usage. */
export interface UsageDialect {
  readonly name: string
  /** Fields that `read` looks at, or that are known to count no further tokens. */
  readonly known: ReadonlySet<string>
  /** Whether an object has this dialect's shape and no field that belongs to another's. */
  fits(usage: Readonly<Record<string, unknown>>): boolean
  /** The pools; faults go to the reader. */
  read(usage: FieldReader): TokenPools
}

/** Whether any of the fields is there and not null. */
export function hasAny(usage: Readonly<Record<string, unknown>>, keys: readonly string[]): boolean {
  return keys.some((key) => usage[key] !== undefined && usage[key] !== null)
}

/**
 * A part must not be larger than what contains it. `whole` and `part` are names of fields as the provider writes them; the
 * answer is what is left of the whole, 0 after a fault.
 */
export function remainder(
  reader: FieldReader,
  whole: readonly [string, number],
  part: readonly [string, number]
): number {
  const rest = whole[1] - part[1]
  if (rest >= 0) return rest
  reader.reject(part[0], `is ${part[1]}, more than the ${whole[1]} of ${whole[0]}`, 'usage-does-not-add-up')
  return 0
}

/** A stated total must be the sum of its parts, which stand beside it as the provider writes them. */
export function checkSum(reader: FieldReader, total: readonly [string, number], parts: readonly number[]): void {
  let sum = 0
  for (const part of parts) sum += part
  if (sum === total[1]) return
  reader.reject(total[0], `is ${total[1]}, but its parts sum to ${sum}`, 'usage-does-not-add-up')
}

/**
 * Providers add fields. One whose name does not speak of tokens (a service tier, a cost) is passed over; one that does is
 * refused unless it says nothing, because the tokens it counts may lie in no pool.
 */
export function saysMoreTokens(key: string, value: unknown): boolean {
  if (!/token/i.test(key)) return false
  if (value === null || value === undefined || value === 0) return false
  if (typeof value === 'object') return Object.values(value).some((part) => part !== null && part !== 0)
  return true
}
