/** The calls whose usage the demo meters: read from a trace of a real service, or made from a seed. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Random } from './random.ts'

/** One call of a model. */
export interface Call {
  /** When it was made, ms since the epoch. */
  readonly occurredAt: number
  readonly contextTokens: number
  readonly generatedTokens: number
}

/** The columns of a trace, in any order. */
const COLUMNS = ['TIMESTAMP', 'ContextTokens', 'GeneratedTokens'] as const

/**
 * The calls of a CSV trace, re-timed so that the last one was made at `endsAt`; what lay between two calls still does. Throws
 * on a line that is no call, naming it.
 */
export async function readTrace(file: string, endsAt: number): Promise<readonly Call[]> {
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })
  const calls: Call[] = []
  let columns: readonly number[] | null = null
  let number = 0
  for await (const line of lines) {
    number++
    if (line.trim() === '') continue
    const cells = line.split(',')
    if (columns === null) {
      columns = COLUMNS.map((name) => cells.indexOf(name))
      if (columns.includes(-1)) throw new Error(`${file}: the first line does not name ${COLUMNS.join(', ')}`)
      continue
    }
    const [time, context, generated] = columns.map((column) => cells[column] ?? '')
    calls.push({
      occurredAt: timeOf(time ?? '', `${file}:${number}`),
      contextTokens: countOf(context ?? '', `${file}:${number}`),
      generatedTokens: countOf(generated ?? '', `${file}:${number}`)
    })
  }
  const last = calls.reduce((latest, { occurredAt }) => Math.max(latest, occurredAt), 0)
  return calls.map((call) => ({ ...call, occurredAt: call.occurredAt + endsAt - last }))
}

function timeOf(text: string, where: string): number {
  const time = Date.parse(`${text.replace(' ', 'T').replace(/(\.\d{3})\d*$/, '$1')}Z`)
  if (Number.isNaN(time)) throw new Error(`${where}: TIMESTAMP is no time: ${text}`)
  return time
}

function countOf(text: string, where: string): number {
  const count = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(count) || count < 0)
    throw new Error(`${where}: not a count of tokens: ${text}`)
  return count
}

/** So many calls over the hour before `endsAt`. */
export function* makeCalls(count: number, endsAt: number, random: Random): Generator<Call> {
  const hourMs = 3_600_000
  for (let i = 0; i < count; i++) {
    yield {
      occurredAt: endsAt - hourMs + Math.floor((hourMs * i) / count),
      contextTokens: 1 + Math.floor(random.next() ** 3 * 8_000),
      generatedTokens: 1 + Math.floor(random.next() ** 3 * 1_500)
    }
  }
}
