// The audit trail as people look things up in it, and the one thing that is ever taken out of it: what names a person.

import { type DatabaseTransactionConnection, type FragmentSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import type { AuditEraser, AuditFilter, AuditSearch, KeptRecord } from '../../domain/audit/audit-store.ts'
import type { Change, Reach } from '../../domain/change.ts'
import { ForeignCursorError, type Page } from '../../domain/page.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { decodePageKey, encodePageKey } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { SEALED_ROW, toKeptRecord } from './audit-row.ts'

/** Time in ms, trail, sequence. */
const NEWEST = [0, '', 0] as const
const ROLE = rowParser('settings', Type.Object({ role: Type.String() }))
const ERASED = rowParser('audit_event', Type.Object({ id: Type.String() }))

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
      asEraser(transaction, async () => {
        const isOfUser = sql.fragment`
          case when digest = content #>> '{actor,address}' then actor_id = ${userId}
               else entity_kind = 'user' and entity_id = ${userId} end`
        const erased = await transaction.any(sql.type(ERASED)`
          update audit_event
             set personal = (select coalesce(jsonb_object_agg(digest, value), '{}')
                               from jsonb_each(personal) as kept (digest, value)
                              where not (${isOfUser}))
           where customer_id = ${customerId}
             and (actor_id = ${userId} or (entity_kind = 'user' and entity_id = ${userId}))
             and exists (select from jsonb_object_keys(personal) as kept (digest) where ${isOfUser})
          returning id`)
        return erased.length
      })
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
  const isOurs = Number.isSafeInteger(sequence) && !Number.isNaN(new Date(at).getTime())
  if (!isOurs) throw new ForeignCursorError(cursor)
  return [
    sql.fragment`occurred_at <= ${instant(at)}`,
    sql.fragment`(occurred_at, customer_id, sequence) < (${instant(at)}, ${customerId}, ${sequence})`
  ]
}

/** For one statement: the role may set the personal values of audit_event, and nothing else anywhere. */
async function asEraser<T>(transaction: DatabaseTransactionConnection, work: () => Promise<T>): Promise<T> {
  const { role } = await transaction.one(sql.type(ROLE)`select current_user::text as role`)
  await takeRole(transaction, 'tokenmeter_eraser')
  const result = await work()
  await takeRole(transaction, role)
  return result
}

/** Until the transaction ends. */
async function takeRole(transaction: DatabaseTransactionConnection, role: string): Promise<void> {
  await transaction.one(sql.type(ROLE)`select set_config('role', ${role}, true) as role`)
}
