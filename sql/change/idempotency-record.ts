// What was answered to a request with an Idempotency-Key. Records are written by write-change.ts, and kept for a day.

import { type CommonQueryMethods, sql } from 'slonik'
import { Type } from 'typebox'
import type { RequestKey, StoredAnswer } from '../../domain/change.ts'
import { instant } from '../encoding/instant.ts'
import { rowParser } from '../encoding/row-parser.ts'

const RECORD = rowParser(
  'idempotency_record',
  Type.Object({
    fingerprint: Type.String(),
    status: Type.Integer(),
    headers: Type.Record(Type.String(), Type.String()),
    body: Type.String()
  })
)

const FORGOTTEN = rowParser('idempotency_record', Type.Object({ key: Type.String() }))

/** So many go in one statement, which is to stay far below the time of a statement. */
const FORGOTTEN_MAX = 5_000

/** The answer of the request with this key; null: the key came with another request; undefined: it did not come yet. */
export async function findRecord(
  database: CommonQueryMethods,
  request: RequestKey
): Promise<StoredAnswer | null | undefined> {
  const found = await database.maybeOne(sql.type(RECORD)`
    select fingerprint, status, headers, body from idempotency_record
     where caller = ${request.caller} and key = ${request.key}`)
  if (found === null) return undefined
  const { fingerprint, status, headers, body } = found
  return fingerprint === request.fingerprint ? { status, headers, body } : null
}

/** As `findRecord`, when somebody else is known to have claimed the key. */
export async function findAnswer(
  database: CommonQueryMethods,
  request: RequestKey
): Promise<StoredAnswer | 'in-flight' | null> {
  const found = await findRecord(database, request)
  return found === undefined ? 'in-flight' : found
}

/** Removes records from before `before`, the oldest first; answers how many. */
export async function removeOldRecords(database: CommonQueryMethods, before: number): Promise<number> {
  const removed = await database.any(sql.type(FORGOTTEN)`
    delete from idempotency_record
     where ctid in (
       select ctid from idempotency_record where created_at < ${instant(before)} order by created_at limit ${FORGOTTEN_MAX}
     )
    returning key`)
  return removed.length
}
