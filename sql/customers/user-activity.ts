import { sql } from 'slonik'
import { Type } from 'typebox'
import { PLATFORM } from '../../domain/change.ts'
import type { SeenUser, UserActivity } from '../../domain/customers/user-activity.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant } from '../encoding/instant.ts'
import { rowParser } from '../encoding/row-parser.ts'

const NO_ROWS = rowParser('customer_user', Type.Never())
const COUNT = rowParser('customer_user', Type.Object({ users: Type.Number() }))
/** Users in one statement. */
const CHUNK_USERS = 5_000

export class PostgresUserActivity implements UserActivity {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  /** In the order of ids: two processes that note the same users at once wait for one another, and never in a circle. */
  async noteSeen(users: readonly SeenUser[]): Promise<void> {
    const inOrder = users.toSorted((a, b) => (a.userId < b.userId ? -1 : 1))
    for (let from = 0; from < inOrder.length; from += CHUNK_USERS) {
      const chunk = inOrder.slice(from, from + CHUNK_USERS)
      const columns = sql.unnest(
        chunk.map(({ customerId, userId, at }) => [customerId, userId, at]),
        ['text', 'text', 'float8']
      )
      await this.#database.transaction(PLATFORM, `note ${chunk.length} users as seen`, (transaction) =>
        transaction.query(sql.type(NO_ROWS)`
          with seen as (
            select known.id, to_timestamp(told.at / 1000) as at
              from ${columns} as told (customer_id, id, at)
              join customer_user as known using (customer_id, id)
             where known.last_seen_at is null or known.last_seen_at < to_timestamp(told.at / 1000)
             order by known.id
               for update of known
          )
          update customer_user set last_seen_at = seen.at from seen where customer_user.id = seen.id`)
      )
    }
  }

  async countSince(instants: readonly number[]): Promise<readonly number[]> {
    return this.#database.run('count the users seen of late', (pool) =>
      Promise.all(
        instants.map(async (at) => {
          const { users } = await pool.one(sql.type(COUNT)`
            select count(*)::float8 as users from customer_user where last_seen_at >= ${instant(at)}`)
          return users
        })
      )
    )
  }
}
