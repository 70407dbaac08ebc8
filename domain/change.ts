/**
 * What goes into the transaction of a change beside the change itself, so that none of it can be there without the others: the
 * audit records, the events for other services, and the answer that a repeat of the request gets.
 */
import type { AuditRecord } from './audit/audit-record.ts'
import type { PublishedEvent } from './published-event.ts'

/** Whose rows may be seen and written. Postgres enforces it by row-level security, whatever a statement says. */
export type Reach = { readonly kind: 'platform' } | { readonly kind: 'customer'; readonly customerId: string }

export const PLATFORM: Reach = { kind: 'platform' }

export interface Change {
  readonly reach: Reach
  readonly audit: readonly AuditRecord[]
  readonly events: readonly PublishedEvent[]
  /** Null when the caller gave no Idempotency-Key. */
  readonly request: IdempotentRequest | null
}

export interface IdempotentRequest {
  /** Whose key it is: two callers may use the same one. */
  readonly caller: string
  readonly key: string
  /** Hash of method, route and body: the same key with another request is refused. */
  readonly fingerprint: string
  /** What is answered, now and to each repeat. */
  readonly answer: StoredAnswer
}

export type RequestKey = Pick<IdempotentRequest, 'caller' | 'key' | 'fingerprint'>

export interface StoredAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** JSON text. */
  readonly body: string
}

/**
 * Thrown by whatever writes a change when its Idempotency-Key was used before: nothing was changed. Thrown and not returned, as
 * no store could do anything with it but hand it on to the one place that answers.
 */
export class RepeatedRequest extends Error {
  /** Null: the key came with another request; `in-flight`: the first one has not ended. */
  readonly earlier: StoredAnswer | 'in-flight' | null

  constructor(earlier: StoredAnswer | 'in-flight' | null) {
    super('this Idempotency-Key was used before')
    this.name = 'RepeatedRequest'
    this.earlier = earlier
  }
}

export interface IdempotencyStore {
  /** The answer of the request with this key; null: the key came with another request; undefined: it did not come yet. */
  find(request: RequestKey): Promise<StoredAnswer | null | undefined>
  /** Forgets answers from before `before`, ms, some thousands at a time; says how many. */
  forget(before: number): Promise<number>
}
