// The audit trail as people look things up in it, and the erasing of what came in about a person who was erased before.

import { type FragmentSqlToken, sql } from 'slonik'
import type { AuditEraser, AuditFilter, AuditSearch, KeptRecord } from '../../domain/audit/audit-store.ts'
import type { Change, Reach } from '../../domain/change.ts'
import { ForeignCursorError, type Page } from '../../domain/page.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { decodePageKey, encodePageKey } from '../encoding/page-key.ts'
import { SEALED_ROW, toKeptRecord } from './audit-row.ts'
import { erasePersonal } from './erase-personal.ts'

/** Time in ms, trail, sequence. */
const NEWEST = [0, '', 0] as const
/** The first instant that RFC 3339 can spell; of much earlier ones Postgres has none. */
const EARLIEST_MS = Date.parse('0000-01-01T00:00:00Z')

export class PostgresAuditStore implements AuditSearch, AuditEraser {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async list(reach: Reach, filter: AuditFilter): Promise<Page<KeptRecord>> {
    const conditions = sql.join(conditionsOf(filter), sql.fragment` and `)
    const found = await this.#database.transaction(reach, 'look up audit records', (transaction) =>
      transaction.any(sql.type(SEALED_ROW)`
        select sequence, hash, content, personal
          from audit_event
         where ${conditions}
         order by occurred_at desc, customer_id desc, sequence desc
         limit ${filter.limit + 1}`)
    )
    const rows = found.slice(0, filter.limit).map(toKeptRecord)
    const last = found.length > filter.limit ? rows.at(-1) : undefined
    return { rows, next: last === undefined ? null : encodePageKey([last.at, last.customerId ?? '', last.sequence]) }
  }

  async erasePersonal(customerId: string, userId: string, change: Change): Promise<number> {
    return this.#database.change(change, `erase user ${userId} of ${customerId} from the audit trail`, (transaction) =>
      erasePersonal(transaction, customerId, userId)
    )
  }
}

/** `customer_id` is named once more by row-level security: the two never widen each other. */
function conditionsOf(filter: AuditFilter): FragmentSqlToken[] {
  const { customerId, entityKind, entityId, actorId, action, from, to, cursor } = filter
  const conditions = [sql.fragment`true`]
  if (customerId !== null) conditions.push(sql.fragment`customer_id = ${customerId}`)
  if (entityKind !== null) conditions.push(sql.fragment`entity_kind = ${entityKind}`)
  if (entityId !== null) conditions.push(sql.fragment`entity_id = ${entityId}`)
  if (actorId !== null) conditions.push(sql.fragment`actor_id = ${actorId}`)
  if (action?.endsWith('*')) conditions.push(sql.fragment`starts_with(action, ${action.slice(0, -1)})`)
  else if (action !== null) conditions.push(sql.fragment`action = ${action}`)
  if (from !== null) conditions.push(sql.fragment`occurred_at >= ${instant(from)}`)
  if (to !== null) conditions.push(sql.fragment`occurred_at < ${instant(to)}`)
  if (cursor !== '') conditions.push(...before(cursor))
  return conditions
}

/** The first condition says nothing new: it is the one that an index by customer and time can begin at. */
function before(cursor: string): FragmentSqlToken[] {
  const [at, customerId, sequence] = decodePageKey<readonly [number, string, number]>(cursor, NEWEST)
  const isOurs = Number.isSafeInteger(sequence) && at >= EARLIEST_MS && !Number.isNaN(new Date(at).getTime())
  if (!isOurs) throw new ForeignCursorError(cursor)
  return [
    sql.fragment`occurred_at <= ${instant(at)}`,
    sql.fragment`(occurred_at, customer_id, sequence) < (${instant(at)}, ${customerId}, ${sequence})`
  ]
}
