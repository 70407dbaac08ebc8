/**
 * A query parameter's value comes over HTTP escaped as a field of tab-separated values, and the engine's binding escapes
 * what it is given in the same way; so it is unescaped in between. Null travels as `\N`.
 */
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', '0': '\0' }

/**
 * Inside an Array, Map or Tuple a backslash before a quote is what keeps a string together, and the binding would not put
 * it back. There the quote is doubled instead, which the engine reads the same.
 */
export function readParameter(sql: string, name: string, wire: string): string | null {
  if (wire === '\\N') return null
  const quote = isComposite(sql, name) ? "''" : "'"
  return wire.replaceAll(/\\(.)/gs, (_, letter: string) => (letter === "'" ? quote : (ESCAPES[letter] ?? letter)))
}

function isComposite(sql: string, name: string): boolean {
  return new RegExp(String.raw`\{\s*${name}\s*:\s*(?:Array|Map|Tuple|Nested)\b`).test(sql)
}
