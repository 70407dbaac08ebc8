// Grants, one a row. The customer's limits are marked first: whoever composes them holds that row and then settles grants, and two
// that took the rows in another order would wait for each other.

import { sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import type { Page } from '../../domain/page.ts'
import type { Grant } from '../../domain/tokens/grants/grant.ts'
import type { GrantFilter, GrantStore } from '../../domain/tokens/grants/grant-store.ts'
import { refusable } from '../change/refusable.ts'
import { holdHead } from '../change/write-change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { GRANT_COLUMNS, GRANT_ROW, toGrant } from './grant-row.ts'
import { markLimitsDue } from './mark-limits-due.ts'

const BEFORE_ALL_IDS = [''] as const

const NO_ROWS = rowParser('customer_grant', Type.Never())
const WRITTEN = rowParser('customer_grant', Type.Object({ id: Type.String() }))

export class PostgresGrantStore implements GrantStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(reach: Reach, id: string): Promise<Grant | null> {
    const row = await this.#database.transaction(reach, `find the grant ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(GRANT_ROW)`select ${GRANT_COLUMNS} from customer_grant where id = ${id}`)
    )
    return row === null ? null : toGrant(row)
  }

  async list(reach: Reach, { customerId, limit, cursor }: GrantFilter): Promise<Page<Grant>> {
    const [afterId] = decodePageKey<readonly [string]>(cursor, BEFORE_ALL_IDS)
    const rows = await this.#database.transaction(reach, `list the grants of ${customerId}`, (transaction) =>
      transaction.any(sql.type(GRANT_ROW)`
        select ${GRANT_COLUMNS} from customer_grant
         where customer_id = ${customerId} and id > ${afterId}
         order by id
         limit ${limit + 1}`)
    )
    return pageById(rows, limit, toGrant)
  }

  async insert(grant: Grant, change: Change): Promise<void> {
    await this.#database.change(change, `insert the grant ${grant.id}`, async (transaction) => {
      const { id, customerId, amount, priority, source, effectiveAt, expiresAt, limitId, version } = grant
      const tokens = amount.kind === 'tokens' ? amount.tokens : null
      const money = amount.kind === 'money' ? amount : null
      await markLimitsDue(transaction, customerId)
      await transaction.query(sql.type(NO_ROWS)`
        insert into customer_grant (id, customer_id, amount_tokens, amount_minor, currency, priority, source, effective_at,
                                    expires_at, limit_id, revoked_at, version, created_at, updated_at)
        values (${id}, ${customerId}, ${tokens}, ${money?.amountMinor ?? null}, ${money?.currency ?? null}, ${priority},
                ${source}, ${instant(effectiveAt)}, ${instantOrNull(expiresAt)}, ${limitId},
                ${instantOrNull(grant.revokedAt)}, ${version}, ${instant(grant.createdAt)}, ${instant(grant.updatedAt)})`)
    })
  }

  async revoke(next: Grant, change: Change): Promise<'revoked' | 'other-version'> {
    return refusable((refuse) =>
      this.#database.change(change, `take the grant ${next.id} back`, async (transaction) => {
        await markLimitsDue(transaction, next.customerId)
        // As billing does, which holds the trail when it burns grants: in another order they would wait for each other for ever.
        await holdHead(transaction, next.customerId)
        const updated = await transaction.maybeOne(sql.type(WRITTEN)`
          update customer_grant
             set revoked_at = ${instantOrNull(next.revokedAt)}, version = ${next.version}, updated_at = ${instant(next.updatedAt)}
           where id = ${next.id} and version = ${next.version - 1}
          returning id`)
        if (updated === null) throw refuse('other-version')
        return 'revoked' as const
      })
    )
  }
}
