// API keys, one a row, and the look-up by hash that stands in front of each request whose key is not in a process's cache.

import { type DatabaseTransactionConnection, ForeignKeyIntegrityConstraintViolationError, sql } from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../../domain/change.ts'
import type { ApiKey } from '../../domain/customers/api-key.ts'
import type { ApiKeyFilter, ApiKeyLookup, ApiKeyStore, NewApiKey } from '../../domain/customers/api-key-store.ts'
import type { Page } from '../../domain/page.ts'
import { refusable } from '../change/refusable.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { instant, instantOrNull } from '../encoding/instant.ts'
import { decodePageKey, pageById } from '../encoding/page-key.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableText = Type.Union([Type.String(), Type.Null()])
const NullableInstant = Type.Union([Type.Number(), Type.Null()])

const API_KEY_ROW = rowParser(
  'api_key',
  Type.Object({
    id: Type.String(),
    customer_id: NullableText,
    name: Type.String(),
    scopes: Type.Array(Type.String()),
    expires_at: NullableInstant,
    revoked_at: NullableInstant,
    replaced_by: NullableText,
    last_used_at: NullableInstant,
    version: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)
const WRITTEN = rowParser('api_key', Type.Object({ id: Type.String() }))

const COLUMNS = sql.fragment`
  id, customer_id, name, scopes, expires_at, revoked_at, replaced_by, last_used_at, version, created_at, updated_at`

const BEFORE_ALL_IDS = [''] as const
/** A use is written down once in so long: a busy key would else cost a write for each look-up. */
const USE_NOTED_EVERY_MS = 60_000

export class PostgresApiKeyStore implements ApiKeyStore, ApiKeyLookup {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async use(hash: string, at: number): Promise<ApiKey | null> {
    const row = await this.#database.run('look an API key up', (pool) =>
      pool.maybeOne(sql.type(API_KEY_ROW)`
        with found as (
          select ${COLUMNS} from api_key where hash = ${hash}
        ), noted as (
          update api_key set last_used_at = ${instant(at)}
            from found
           where api_key.id = found.id and found.revoked_at is null
             and (found.expires_at is null or found.expires_at > ${instant(at)})
             and (found.last_used_at is null or found.last_used_at <= ${instant(at - USE_NOTED_EVERY_MS)})
        )
        select ${COLUMNS} from found`)
    )
    return row === null ? null : toApiKey(row)
  }

  async find(reach: Reach, id: string): Promise<ApiKey | null> {
    const row = await this.#database.transaction(reach, `find the API key ${id}`, (transaction) =>
      transaction.maybeOne(sql.type(API_KEY_ROW)`select ${COLUMNS} from api_key where id = ${id}`)
    )
    return row === null ? null : toApiKey(row)
  }

  async list(reach: Reach, { customerId, cursor, limit }: ApiKeyFilter): Promise<Page<ApiKey>> {
    const [afterId] = decodePageKey<readonly [string]>(cursor, BEFORE_ALL_IDS)
    const ofCustomer = customerId === null ? sql.fragment`true` : sql.fragment`customer_id = ${customerId}`
    const rows = await this.#database.transaction(reach, 'list API keys', (transaction) =>
      transaction.any(sql.type(API_KEY_ROW)`
        select ${COLUMNS} from api_key
         where id > ${afterId} and ${ofCustomer}
         order by id
         limit ${limit + 1}`)
    )
    return pageById(rows, limit, toApiKey)
  }

  async insert(made: NewApiKey, change: Change): Promise<'inserted' | 'unknown-customer'> {
    return refusable((refuse) =>
      this.#database.change(change, `insert the API key ${made.key.id}`, async (transaction) => {
        try {
          await insertKey(transaction, made)
        } catch (error) {
          if (error instanceof ForeignKeyIntegrityConstraintViolationError) throw refuse('unknown-customer')
          throw error
        }
        return 'inserted' as const
      })
    )
  }

  async update(next: ApiKey, successor: NewApiKey | null, change: Change): Promise<'updated' | 'other-version'> {
    return refusable((refuse) =>
      this.#database.change(change, `update the API key ${next.id} to version ${next.version}`, async (transaction) => {
        const updated = await transaction.maybeOne(sql.type(WRITTEN)`
          update api_key
             set expires_at = ${instantOrNull(next.expiresAt)}, revoked_at = ${instantOrNull(next.revokedAt)},
                 replaced_by = ${next.replacedBy}, version = ${next.version}, updated_at = ${instant(next.updatedAt)}
           where id = ${next.id} and version = ${next.version - 1}
          returning id`)
        if (updated === null) throw refuse('other-version')
        if (successor !== null) await insertKey(transaction, successor)
        return 'updated' as const
      })
    )
  }
}

async function insertKey(transaction: DatabaseTransactionConnection, { key, hash }: NewApiKey): Promise<void> {
  await transaction.one(sql.type(WRITTEN)`
    insert into api_key (id, customer_id, name, hash, scopes, expires_at, version, created_at, updated_at)
    values (${key.id}, ${key.customerId}, ${key.name}, ${hash}, ${sql.array([...key.scopes], 'text')},
            ${instantOrNull(key.expiresAt)}, ${key.version}, ${instant(key.createdAt)}, ${instant(key.updatedAt)})
    returning id`)
}

function toApiKey(row: Row<typeof API_KEY_ROW>): ApiKey {
  return {
    id: row.id,
    customerId: row.customer_id,
    name: row.name,
    scopes: row.scopes,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    replacedBy: row.replaced_by,
    lastUsedAt: row.last_used_at,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}
