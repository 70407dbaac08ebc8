// Users of customers, one a row. Lists follow their ids, as those of customers do.

import { type DatabaseTransactionConnection, type ListSqlToken, sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import { isOwner, type User } from '../../domain/customers/user.ts'
import type { UserFilter, UserKey, UserStore } from '../../domain/customers/user-store.ts'
import type { Page } from '../../domain/page.ts'
import { erasePersonal } from '../change/erase-personal.ts'
import { isTaken, refusable } from '../change/refusable.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { toUser, USER_COLUMNS, USER_ROW } from './user-row.ts'

const BEFORE_ALL_IDS = [''] as const
const EMAIL_TAKEN = 'customer_user_email'

const WRITTEN = rowParser('customer_user', Type.Object({ id: Type.String() }))
const OWNERS = rowParser('customer_user', Type.Object({ is_owner: Type.Boolean(), has_others: Type.Boolean() }))
const NO_ROWS = rowParser('customer_user', Type.Never())

export class PostgresUserStore implements UserStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, { customerId, id }: UserKey): Promise<User | null> {
    const row = await this.#database.transaction(reach, `find the user ${id} of ${customerId}`, (transaction) =>
      transaction.maybeOne(sql.type(USER_ROW)`
        select ${USER_COLUMNS} from customer_user where id = ${id} and customer_id = ${customerId}`)
    )
    return row === null ? null : toUser(row)
  }

  async list(reach: Reach, customerId: string, filter: UserFilter): Promise<Page<User>> {
    const [afterId] = decodePageKey<readonly [string]>(filter.cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, `list the users of ${customerId}`, (transaction) =>
      transaction.any(sql.type(USER_ROW)`
        select ${USER_COLUMNS} from customer_user
         where customer_id = ${customerId} and id > ${afterId} and ${conditions(filter)}
         order by id
         limit ${filter.limit + 1}`)
    )
    return pageById(rows, filter.limit, toUser)
  }

  async insert(user: User, change: Change): Promise<'inserted' | 'email-taken'> {
    return refusable((refuse) =>
      this.#database.change(change, `insert the user ${user.id} of ${user.customerId}`, async (transaction) => {
        const { id, customerId, email, name, role, status, lastSeenAt, version, createdAt, updatedAt } = user
        try {
          await transaction.query(sql.type(NO_ROWS)`
            insert into customer_user (id, customer_id, email, name, role, status, last_seen_at, version, created_at, updated_at)
            values (${id}, ${customerId}, ${email}, ${name}, ${role}, ${status}, ${instantOrNull(lastSeenAt)}, ${version},
                    ${instant(createdAt)}, ${instant(updatedAt)})`)
        } catch (error) {
          if (isTaken(error, EMAIL_TAKEN)) throw refuse('email-taken')
          throw error
        }
        return 'inserted' as const
      })
    )
  }

  /** last_seen_at is left as it is: it moves on without versions. */
  async update(next: User, change: Change): Promise<'updated' | 'last-owner' | 'other-version'> {
    return refusable((refuse) =>
      this.#database.change(change, `update the user ${next.id} to version ${next.version}`, async (transaction) => {
        if (!isOwner(next) && (await isLastOwner(transaction, next))) throw refuse('last-owner')
        if (!(await replace(transaction, next))) throw refuse('other-version')
        return 'updated' as const
      })
    )
  }

  /** The row before the trail, as in every change: who changes the user at this moment has committed, or finds another version. */
  async erase(next: User, change: Change): Promise<'erased' | 'other-version'> {
    return refusable((refuse) =>
      this.#database.change(change, `erase the user ${next.id} of ${next.customerId}`, async (transaction) => {
        if (!(await replace(transaction, next))) throw refuse('other-version')
        await erasePersonal(transaction, next.customerId, next.id)
        return 'erased' as const
      })
    )
  }
}

/** False: another version stands there. */
async function replace(transaction: DatabaseTransactionConnection, next: User): Promise<boolean> {
  const updated = await transaction.maybeOne(sql.type(WRITTEN)`
    update customer_user
       set email = ${next.email}, name = ${next.name}, role = ${next.role}, status = ${next.status},
           version = ${next.version}, updated_at = ${instant(next.updatedAt)}
     where id = ${next.id} and customer_id = ${next.customerId} and version = ${next.version - 1}
    returning id`)
  return updated !== null
}

/**
 * Asked under the customer's lock, which whoever takes an owner away takes first: of two owners who leave at once, the second
 * one to ask sees the first one gone.
 */
async function isLastOwner(transaction: DatabaseTransactionConnection, { id, customerId }: UserKey): Promise<boolean> {
  await transaction.maybeOne(sql.type(WRITTEN)`select id from customer where id = ${customerId} for no key update`)
  const owners = await transaction.one(sql.type(OWNERS)`
    select coalesce(bool_or(id = ${id}), false) as is_owner, coalesce(bool_or(id <> ${id}), false) as has_others
      from customer_user
     where customer_id = ${customerId} and role = 'owner' and status <> 'disabled'`)
  return owners.is_owner && !owners.has_others
}

function conditions({ status, role, email }: UserFilter): ListSqlToken {
  return sql.join(
    [
      sql.fragment`true`,
      ...(status === null ? [] : [sql.fragment`status = ${status}`]),
      ...(role === null ? [] : [sql.fragment`role = ${role}`]),
      ...(email === null ? [] : [sql.fragment`lower(email) = lower(${email})`])
    ],
    sql.fragment` and `
  )
}
