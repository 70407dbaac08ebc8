import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { Customer, CustomerKind, CustomerStatus } from './customer.ts'

/** Null: whatever it is. */
export interface CustomerFilter extends PageAsked {
  readonly status: CustomerStatus | null
  readonly kind: CustomerKind | null
  readonly externalId: string | null
  /** How the legal name begins, in upper or lower case. */
  readonly search: string | null
}

/**
 * Where customers are kept. Each change is atomic with its audit records, events and answer; each throws `RepeatedRequest` for an
 * Idempotency-Key that was used before and then changes nothing. Whoever answers quota checks denies those of a customer that is
 * suspended or closed.
 */
export interface CustomerStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<Customer | null>
  /** In the order of ids: of creation, to the millisecond. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: CustomerFilter): Promise<Page<Customer>>
  insert(customer: Customer, change: Change): Promise<'inserted' | 'external-id-taken'>
  /**
   * Over the version before `next`'s, and no other one. `currency-in-use`: a currency stays once there is a subscription, however
   * soon it was made; `subscribed`: a customer whose subscription is not over is not closed. A change of status or zone is due to be put in force with the customer's limits, also when nobody does it at once.
   */
  update(
    next: Customer,
    change: Change
  ): Promise<'updated' | 'external-id-taken' | 'currency-in-use' | 'subscribed' | 'other-version'>
}
