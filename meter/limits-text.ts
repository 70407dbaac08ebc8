/**
 * A customer's limits as the scripts keep them: the windows of a counter in one list (start, end, start, end, …), which they
 * unpack with each check and each batch.
 */
import type { CompiledLimits, Counter, WindowBounds } from '../domain/tokens/limit.ts'

type KeptCounter = Omit<Counter, 'windows'> & { readonly windows: readonly number[] }

export type KeptLimits = Omit<CompiledLimits, 'counters'> & { readonly counters: readonly KeptCounter[] }

export function keptLimits(limits: CompiledLimits): KeptLimits {
  return { ...limits, counters: limits.counters.map((counter) => ({ ...counter, windows: counter.windows.flat() })) }
}

/** Counters as a script wrote them; empty text: none. */
export function decodeCounters(text: string): readonly Counter[] {
  if (text === '') return []
  const counters: readonly KeptCounter[] = JSON.parse(text)
  return counters.map((counter) => ({ ...counter, windows: inPairs(counter.windows) }))
}

/** An empty Lua table is neither a list nor an object. */
function inPairs(windows: readonly number[] | object): readonly WindowBounds[] {
  if (!Array.isArray(windows)) return []
  const pairs: WindowBounds[] = []
  for (let i = 0; i + 1 < windows.length; i += 2) pairs.push([windows[i] ?? 0, windows[i + 1] ?? 0])
  return pairs
}
