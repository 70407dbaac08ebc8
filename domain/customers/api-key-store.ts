import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { ApiKey } from './api-key.ts'

export interface ApiKeyFilter extends PageAsked {
  /** Null: of every customer within reach, and of the platform. */
  readonly customerId: string | null
}

/** A key, and the hash of the secret that was told. */
export interface NewApiKey {
  readonly key: ApiKey
  readonly hash: string
}

/**
 * Where API keys are kept. Each change is atomic with its audit records, events and answer; each throws `RepeatedRequest` for an
 * Idempotency-Key that was used before and then changes nothing.
 */
export interface ApiKeyStore {
  /** Null also for one that exists out of reach, as the platform's are for a customer. */
  find(reach: Reach, id: string): Promise<ApiKey | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: ApiKeyFilter): Promise<Page<ApiKey>>
  insert(made: NewApiKey, change: Change): Promise<'inserted' | 'unknown-customer'>
  /** Over the version before `next`'s, and no other one; with `successor` when it was made in its place. */
  update(next: ApiKey, successor: NewApiKey | null, change: Change): Promise<'updated' | 'other-version'>
}

/** The look-up of whoever presents a key, in one statement. */
export interface ApiKeyLookup {
  /** The key of this hash, which is used at `at`, ms; it is noted once a minute. Null: there is none. */
  use(hash: string, at: number): Promise<ApiKey | null>
}
