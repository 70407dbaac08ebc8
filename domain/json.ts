/** What JSON can say: the content of events, audit records and metadata. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [name: string]: Json
}

/** One text for one value: object keys in code-unit order, no spaces. Hashes are taken over it. */
export function canonicalJson(value: Json): string {
  if (isJsonList(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
}

/** `Array.isArray` does not narrow a readonly list. */
export function isJsonList(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}
