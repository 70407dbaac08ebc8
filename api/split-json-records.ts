/**
 * Cuts the JSON text of a batch into its records without parsing it, so that a record's size is known before it is parsed and
 * one that is too large never is. Structure is ASCII, and no byte of a longer UTF-8 character looks like it.
 */
const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

export type SplitRecords =
  /** One record, not in a list. */
  | { readonly kind: 'single'; readonly record: Buffer }
  | { readonly kind: 'batch'; readonly records: readonly Buffer[] }
  /** More records than were allowed. */
  | { readonly kind: 'too-many' }
  /** The list doesn't close where the text ends. Faults inside a record are left to whoever parses it. */
  | { readonly kind: 'malformed' }

export function splitJsonRecords(text: Buffer, recordsMax: number): SplitRecords {
  const start = skipBlank(text, 0)
  if (text[start] !== OPEN_LIST) return { kind: 'single', record: text }
  const records: Buffer[] = []
  let from = start + 1
  if (text[skipBlank(text, from)] === CLOSE_LIST) {
    return skipBlank(text, skipBlank(text, from) + 1) === text.length
      ? { kind: 'batch', records }
      : { kind: 'malformed' }
  }
  for (;;) {
    const end = endOfRecord(text, from)
    if (end === text.length) return { kind: 'malformed' }
    if (records.length === recordsMax) return { kind: 'too-many' }
    records.push(text.subarray(from, end))
    from = end + 1
    if (text[end] === CLOSE_LIST) break
  }
  return skipBlank(text, from) === text.length ? { kind: 'batch', records } : { kind: 'malformed' }
}

/** Where the comma or bracket stands that ends the record, or the text's length. */
function endOfRecord(text: Buffer, from: number): number {
  let depth = 0
  for (let at = from; at < text.length; at += 1) {
    const byte = text[at]
    if (byte === QUOTE) at = endOfString(text, at)
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth += 1
    else if (depth === 0 && (byte === COMMA || byte === CLOSE_LIST)) return at
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1
  }
  return text.length
}

/** Where the closing quote stands, or the text's length. */
function endOfString(text: Buffer, quote: number): number {
  for (let at = quote + 1; at < text.length; at += 1) {
    if (text[at] === BACKSLASH) at += 1
    else if (text[at] === QUOTE) return at
  }
  return text.length
}

function skipBlank(text: Buffer, from: number): number {
  let at = from
  while (text[at] === 0x20 || text[at] === 0x09 || text[at] === 0x0a || text[at] === 0x0d) at += 1
  return at
}
