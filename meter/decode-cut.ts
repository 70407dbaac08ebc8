/** Cuts as the scripts tell them. An empty Lua table is neither a list nor an object, so lists are read with care. */
import type { Cut } from '../domain/ports.ts'
import type { Counter } from '../domain/tokens/limit.ts'

interface CutText {
  readonly id: string
  readonly customerId: string
  readonly counters: readonly Counter[]
  /** Decimal digits: the scripts' JSON would round a large offset. */
  readonly at: readonly string[]
}

/** Pairs of a cut's text and this partition's progress, flat. */
export function decodeCuts(flat: unknown, shard: number, partition: number): Cut[] {
  const cuts: Cut[] = []
  const words = wordsOf(flat)
  for (let i = 0; i + 1 < words.length; i += 2) {
    const text: CutText = JSON.parse(words[i] ?? '')
    cuts.push({
      id: text.id,
      shard,
      customerId: text.customerId,
      counters: withLists(text.counters),
      at: Number(text.at[partition] ?? 0),
      progress: words[i + 1] ?? ''
    })
  }
  return cuts
}

function withLists(counters: readonly Counter[]): readonly Counter[] {
  return counters.map((counter) => ({ ...counter, windows: Array.isArray(counter.windows) ? counter.windows : [] }))
}

/** A list of strings out of a reply. */
export function wordsOf(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.map(String) : []
}
