import type { Boundary, BoundaryStory, StretchUsage } from './boundary-story.ts'
import type { Drafted } from './draft-invoice.ts'
import type { Issuer } from './invoice.ts'
import type { ParkReason, ToldParkReason } from './park-reason.ts'

export interface BillingRound {
  /** ms: what became due before it is billed. */
  readonly dueBefore: number
  /** ms: what was tried at or after it is not tried again. */
  readonly startedAt: number
  readonly now: number
  /** Boundaries, at most. */
  readonly limit: number
  /** Earlier periods that ended within so many ms before a boundary are rated again. */
  readonly adjustmentWindowMs: number
  /** Begins the numbers of invoices, and names their series. */
  readonly numberPrefix: string
  readonly issuer: Issuer
  /** Somebody looks at them before they are finalized. */
  readonly asDrafts: boolean
  /** One subscription alone; null: all. */
  readonly subscriptionId: string | null
}

export interface ToldStory {
  readonly story: BoundaryStory
  /** Of each stretch of the story. */
  readonly usage: readonly StretchUsage[]
}

/** What became of the boundaries of a round. */
export interface RoundOutcome {
  readonly invoiced: number
  /** Nothing was to be invoiced. */
  readonly empty: number
  readonly parked: number
}

export interface BillingStatus {
  /** Due before now less the grace, and not parked. */
  readonly due: number
  readonly parked: number
  /** Of those parked, by the code of the reason; codes without any are left out. */
  readonly parkedByReason: ReadonlyMap<ParkReason['code'], number>
  /** Of both. */
  readonly oldestDueAt: number | null
}

export interface ParkedBoundary {
  readonly subscriptionId: string
  readonly customerId: string
  readonly boundary: number
  readonly reason: ToldParkReason
  readonly attemptedAt: number
}

/** What billing says of the boundaries of a round. */
export interface Judging {
  /** Asked before usage is read, so that what is read is complete. Null: it is. */
  behind(stories: readonly BoundaryStory[]): Promise<ParkReason | null>
  /** In the order told. */
  judge(told: readonly ToldStory[]): Promise<readonly Drafted[]>
}

/** Where due work, its facts and invoices are kept. */
export interface BillingStore {
  /**
   * Takes boundaries that are due, those of a subscription in order, has them judged, and writes what came of it with numbers,
   * lines, burnt grants, used credit, audit records and events: all of it, or nothing when `judge` throws. Nobody else bills what is
   * in hand, and nothing else is given to its customers meanwhile. Null: nothing was due.
   */
  billDue(round: BillingRound, judging: Judging): Promise<RoundOutcome | null>
  /** What an invoice of the running period would say: the same story as if the period ended at `at`. Null: no such subscription, or none that lives. */
  storyNow(subscriptionId: string, at: number, adjustmentWindowMs: number): Promise<ToldStory | null>
  /** What an invoice of the boundary was made from, as it stands now; without periods before. */
  storyAt(boundary: Boundary): Promise<BoundaryStory>
  /** Of one subscription alone when it is named. */
  status(dueBefore: number, subscriptionId?: string): Promise<BillingStatus>
  /** Oldest first, at most `limit`; of one subscription alone when it is named. */
  listParked(limit: number, subscriptionId?: string): Promise<readonly ParkedBoundary[]>
}
