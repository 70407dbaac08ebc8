/** Processor time of some of what ran, of a side's reading: `meter`, `redis`. */
import type { Round } from './scenario.ts'

/**
 * Microseconds per event of every process and service whose name begins so. Services in containers have no figure, so that what is
 * left is that of our processes.
 */
export function microsOf(round: Round, side: string, names: readonly string[]): number {
  const figures = Object.entries(round.readings.get(side) ?? {})
  const own = figures.filter(([name]) => /MicrosPerEvent$/.test(name) && names.some((begin) => name.startsWith(begin)))
  if (own.length === 0) throw new Error(`the side ${side} read no processor time of ${names.join(', ')}`)
  return own.reduce((sum, [, micros]) => sum + micros, 0)
}
