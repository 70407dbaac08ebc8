// Instants are milliseconds in the domain and timestamptz in Postgres; slonik gives them back as milliseconds.

import { type FragmentSqlToken, sql } from 'slonik'

export function instant(ms: number): FragmentSqlToken {
  return sql.fragment`to_timestamp(${ms}::double precision / 1000)`
}

export function instantOrNull(ms: number | null): FragmentSqlToken {
  return ms === null ? sql.fragment`null::timestamptz` : instant(ms)
}
