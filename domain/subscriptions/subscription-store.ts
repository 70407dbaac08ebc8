import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { Subscription, SubscriptionStatus } from './subscription.ts'
import type { Transition } from './subscription-life-cycle.ts'

/** Null: whatever it is. */
export interface SubscriptionFilter extends PageAsked {
  readonly customerId: string | null
  readonly status: SubscriptionStatus | null
}

/**
 * Where subscriptions are kept, with their periods and changes. What a transition says is written whole, with its audit records,
 * events and answer, and marks the customer's limits due; or nothing is. Each throws `RepeatedRequest` for an Idempotency-Key that
 * was used before.
 */
export interface SubscriptionStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<Subscription | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: SubscriptionFilter): Promise<Page<Subscription>>
  /**
   * A customer has one that is live, at most. `customer-changed`: customer or plan no longer are what they were a moment
   * ago, active and published, of one currency and kind. `overlaps`: it would begin before another one ended.
   */
  insert(created: Transition, change: Change): Promise<'inserted' | 'another-is-live' | 'customer-changed' | 'overlaps'>
  /** Over the version before the transition's, and no other one. */
  update(transition: Transition, change: Change): Promise<'updated' | 'other-version'>
  /** Those whose period has ended by now, longest ago first; each is given out once per `leaseMs`, and until it is renewed. */
  takeDue(now: number, leaseMs: number): Promise<readonly Subscription[]>
}
