/** JSON Lines: an object a line. */
import type { ReadRow } from './read-csv.ts'

/** A file without line feeds would be one line. */
const LINE_LENGTH_MAX = 1_048_576

/** What of a line that is no JSON the report shows. */
const SHOWN_LENGTH_MAX = 1_000

/** A line that is no JSON is a row with a fault; empty lines are none. */
export async function* readJsonLines(text: AsyncIterable<string>): AsyncGenerator<ReadRow> {
  let line = 0
  let rest = ''
  for await (const chunk of text) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LINE_LENGTH_MAX)
      throw new Error(`line ${line + lines.length + 1} is longer than ${LINE_LENGTH_MAX}`)
    for (const each of lines) {
      line += 1
      if (each.trim() !== '') yield readLine(each, line)
    }
  }
  if (rest.trim() !== '') yield readLine(rest, line + 1)
}

function readLine(text: string, line: number): ReadRow {
  try {
    return { line, values: JSON.parse(text), fault: null }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return { line, values: text.slice(0, SHOWN_LENGTH_MAX), fault: `is no JSON: ${error.message}` }
  }
}
