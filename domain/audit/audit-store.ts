/** What keeps the audit trail, as its readers see it, and whoever writes to it beside the changes of the API. */
import type { Change, Reach } from '../change.ts'
import type { JsonObject } from '../json.ts'
import type { Page, PageAsked } from '../page.ts'
import type { Actor, AuditRecord } from './audit-record.ts'
import type { ChainHead } from './chain.ts'
import type { ChainStand, StoredRecord } from './verify-chain.ts'

// ---- what other services tell ----------------------------------------------------------------------------------------

export interface AuditPosition {
  /** The next offset whose record is not in the trail. */
  readonly cursor: number
  /** Arrival of the record before it, null when there is none. */
  readonly previousArrivedAt: number | null
}

export interface ReceivedRecord {
  readonly offset: number
  readonly record: AuditRecord
}

export interface AuditBatch {
  readonly partition: number
  /** The position this batch stands on; any other in the store means fenced. */
  readonly from: AuditPosition
  readonly to: AuditPosition
  readonly records: readonly ReceivedRecord[]
}

export type Appended =
  | { readonly outcome: 'appended'; readonly appended: number; readonly duplicates: number }
  /** Records whose id is taken by one with another content: nothing was written. They are to be left out, and kept elsewhere. */
  | { readonly outcome: 'conflicts'; readonly offsets: ReadonlySet<number> }
  /** Another consumer moved the partition's cursor: nothing was written. */
  | { readonly outcome: 'fenced' }

/** The trail as the consumer of a topic appends to it. */
export interface AuditTrail {
  /** A partition never seen begins at 0. */
  open(partition: number): Promise<AuditPosition>
  /** One transaction: the records at the ends of their trails, each once, and the cursor; or nothing. */
  append(batch: AuditBatch): Promise<Appended>
}

// ---- what is looked up -----------------------------------------------------------------------------------------------

/** Its cursor begins at the newest. */
export interface AuditFilter extends PageAsked {
  /** Null: of every trail within reach. */
  readonly customerId: string | null
  readonly entityKind: string | null
  readonly entityId: string | null
  readonly actorId: string | null
  /** Exact, or all that begin with what stands before a final `*`. */
  readonly action: string | null
  /** Half-open [from, to), ms. */
  readonly from: number | null
  readonly to: number | null
}

/** A record as it is told: personal values in their places, null where one was erased. */
export interface KeptRecord extends ChainHead {
  readonly id: string
  readonly customerId: string | null
  readonly action: string
  readonly actor: Actor
  readonly entity: { readonly kind: string; readonly id: string }
  readonly before: JsonObject | null
  readonly after: JsonObject | null
  readonly at: number
  readonly origin: { readonly source: string; readonly id: string } | null
}

export interface AuditSearch {
  /** Newest first. Throws a `ForeignCursorError` for a cursor that is not of this list. */
  list(reach: Reach, filter: AuditFilter): Promise<Page<KeptRecord>>
}

export interface AuditEraser {
  /**
   * Takes out of a customer's trail what names or finds one of its users: the values of records about the user, and the address
   * of what the user did. Digests stay, so that the trail still verifies. Answers how many records were touched; again, none.
   * For what reached the trail after the user was erased: erasing one (`UserStore.erase`) does it by itself.
   */
  erasePersonal(customerId: string, userId: string, change: Change): Promise<number>
}

// ---- what is verified ------------------------------------------------------------------------------------------------

/** The trails as they stand in the tables, for whoever verifies them. */
export interface AuditChains {
  /** Every trail that has a head or a record, in pages; an empty id is the platform's own. */
  customers(): AsyncIterable<string>
  /** One snapshot of a trail's head and its end. */
  stand(customerId: string): Promise<ChainStand>
  /** Its records up to a sequence, in order. */
  records(customerId: string, throughSequence: number): AsyncIterable<StoredRecord>
}
