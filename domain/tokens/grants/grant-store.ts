import type { Change, Reach } from '../../change.ts'
import type { Page, PageAsked } from '../../page.ts'
import type { Grant } from './grant.ts'

export interface GrantFilter extends PageAsked {
  readonly customerId: string
}

/**
 * Where grants are kept. Each change is atomic with its audit records and answer, and marks the customer's limits due; each throws
 * `RepeatedRequest` for an Idempotency-Key that was used before and then changes nothing. What grants burnt is settled by
 * `EffectiveLimits`, and no change made here undoes that.
 */
export interface GrantStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<Grant | null>
  /** Of one customer, in the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: GrantFilter): Promise<Page<Grant>>
  /** The customer must be there. */
  insert(grant: Grant, change: Change): Promise<void>
  /** Writes since when it is taken back, over the version before `next`'s and no other one. */
  revoke(next: Grant, change: Change): Promise<'revoked' | 'other-version'>
}
