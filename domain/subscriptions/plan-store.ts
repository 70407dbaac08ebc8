import type { Change, Reach } from '../change.ts'
import type { Page, PageAsked } from '../page.ts'
import type { PlanStatus, PlanVersion } from './plan.ts'

/** Null: whatever it is. */
export interface PlanFilter extends PageAsked {
  readonly code: string | null
  readonly status: PlanStatus | null
}

/** A draft and the change that brings it. */
export interface NewDraft {
  readonly plan: PlanVersion
  readonly change: Change
}

/**
 * The plans, which are the platform's: only within its reach can they be written. A customer's reach finds what was published
 * and is not held back for the other kind of customer, and lists what of that is not archived. A change is atomic with its audit
 * records and its answer, and throws `RepeatedRequest` for an Idempotency-Key that was used before.
 */
export interface PlanStore {
  /** Null also for one that exists out of reach. */
  find(reach: Reach, id: string): Promise<PlanVersion | null>
  /** In the order of ids, which is the order of creation. Throws `ForeignCursorError`. */
  list(reach: Reach, filter: PlanFilter): Promise<Page<PlanVersion>>
  /**
   * Inserts what `draftOf` makes of the next version of a code: from 1, without gaps. Drafts of one code wait for each other, so
   * `draftOf` is asked once.
   */
  insert(code: string, draftOf: (version: number) => NewDraft): Promise<PlanVersion>
  /** Over the revision before `next`'s, and no other one. */
  update(next: PlanVersion, change: Change): Promise<'updated' | 'other-version'>
}
