// Where the next page begins, as callers carry it: opaque, so that nobody builds or takes one apart.

import { ForeignCursorError, type Page } from '../../domain/page.ts'

export type PageKey = readonly (string | number)[]

export function encodePageKey(key: PageKey): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}

/** A page of a list in the order of ids, from one row more than `limit` if there is one: that row says that another page follows. */
export function pageById<Row extends { readonly id: string }, T>(
  rows: readonly Row[],
  limit: number,
  tell: (row: Row) => T
): Page<T> {
  const page = rows.slice(0, limit)
  const last = rows.length > limit ? page.at(-1) : undefined
  return { rows: page.map(tell), next: last === undefined ? null : encodePageKey([last.id]) }
}

/** The key in the shape of `first`, the key before every row, which an empty string stands for. Throws `ForeignCursorError`. */
export function decodePageKey<Key extends PageKey>(encoded: string, first: Key): Key {
  if (encoded === '') return first
  const parts = parseParts(encoded)
  if (parts === null || !hasShapeOf(first, parts)) throw new ForeignCursorError(encoded)
  return parts
}

function parseParts(encoded: string): unknown[] | null {
  try {
    const parts: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString())
    return Array.isArray(parts) ? parts : null
  } catch {
    return null
  }
}

function hasShapeOf<Key extends PageKey>(first: Key, parts: readonly unknown[]): parts is Key & unknown[] {
  return parts.length === first.length && parts.every((part, i) => typeof part === typeof first[i] && isText(part))
}

/** Postgres has no text with a zero character in it. */
function isText(part: unknown): boolean {
  return typeof part !== 'string' || !part.includes('\0')
}
