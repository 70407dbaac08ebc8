// Instants are milliseconds in the domain and timestamptz in Postgres; slonik gives them back as milliseconds, pg when asked.

import { type FragmentSqlToken, sql } from 'slonik'

export function instant(ms: number): FragmentSqlToken {
  return sql.fragment`to_timestamp(${ms}::double precision / 1000)`
}

export function instantOrNull(ms: number | null): FragmentSqlToken {
  return ms === null ? sql.fragment`null::timestamptz` : instant(ms)
}

/** A column of instants as milliseconds, in text that pg runs: it has no parser of ours. */
export function msColumn(name: string, column = name): string {
  return `(extract(epoch from ${column}) * 1000)::double precision as ${name}`
}
