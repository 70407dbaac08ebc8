import type { IdempotencyStore, RequestKey, StoredAnswer } from '../../domain/change.ts'
import type { EntityDatabase } from '../connect-slonik.ts'
import { findRecord, removeOldRecords } from './idempotency-record.ts'

export class PostgresIdempotencyStore implements IdempotencyStore {
  readonly #database: EntityDatabase

  constructor(database: EntityDatabase) {
    this.#database = database
  }

  async find(request: RequestKey): Promise<StoredAnswer | null | undefined> {
    return this.#database.run('find the answer of a repeated request', (pool) => findRecord(pool, request))
  }

  async forget(before: number): Promise<number> {
    return this.#database.run('forget old answers', (pool) => removeOldRecords(pool, before))
  }
}
