import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { User, UserStatus } from './user.ts'
import type { UserRole } from './user-role.ts'

/** Null: whatever it is. */
export interface UserFilter extends PageAsked {
  readonly status: UserStatus | null
  readonly role: UserRole | null
  /** Whole, in upper or lower case. */
  readonly email: string | null
}

/** Where a user is: ids of users are found in their own customer only. */
export interface UserKey {
  readonly customerId: string
  readonly id: string
}

/**
 * Where users are kept. Each change is atomic with its audit records, events and answer; each throws `RepeatedRequest` for an
 * Idempotency-Key that was used before and then changes nothing.
 */
export interface UserStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, key: UserKey): Promise<User | null>
  /** In the order of ids: of creation, to the millisecond. Throws `ForeignCursorError`. */
  list(reach: Reach, customerId: string, filter: UserFilter): Promise<Page<User>>
  /** The customer exists. */
  insert(user: User, change: Change): Promise<'inserted' | 'email-taken'>
  /**
   * Over the version before `next`'s, and no other one. `last-owner`: the customer would have nobody left who counts as an owner
   * (`isOwner`), however many such changes are made at once.
   */
  update(next: User, change: Change): Promise<'updated' | 'last-owner' | 'other-version'>
  /** As `update`, to what `eraseUser` made of it; the person's values leave the customer's trail in the same transaction. */
  erase(next: User, change: Change): Promise<'erased' | 'other-version'>
}
