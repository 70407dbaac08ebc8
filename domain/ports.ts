/**
 * What the pipeline asks of the outside, in its own words; what the API asks stands in api-ports.ts. An adapter keeps the promise that stands here; the simulation's models
 * keep the same ones. Unless a comment says otherwise, a method that throws a `RetryableError` changed nothing that a second
 * call would do twice, and any other throw is a defect that ends the process.
 */
import type { CompiledLimits, Counter, CustomerLimits } from './tokens/limit.ts'
import type { TokenPools } from './tokens/token-pools.ts'
import type { UncountedReason, UsageEvent, UsageRecord } from './tokens/usage-event.ts'

// ---- the log ---------------------------------------------------------------------------------------------------------

/** Records of one partition in offset order. Holes are legal: `to` is the offset after the last one that was looked at. */
export interface RecordBatch {
  readonly from: number
  readonly to: number
  readonly records: readonly UsageRecord[]
}

/** What a partition's loop does next. */
export type Work =
  | { readonly kind: 'batch'; readonly batch: RecordBatch }
  /** Time to flush. `drainedAt`: the log was seen to end at the last batch given, at this time (ms); null when it was not. */
  | { readonly kind: 'tick'; readonly drainedAt: number | null }
  /** Flush and return: the process stops or the partition was taken away. */
  | { readonly kind: 'stop' }

/** One partition of the log as a consumer's loop takes it. Used by one loop at a time. */
export interface PartitionSource {
  /**
   * Begins at an offset, forgetting whatever was fetched. Throws `ForeignLogError` when the log ends before it, or when the
   * record before it did not arrive at `previousArrivedAt` (null: not known): another topic stands under the old name.
   */
  open(offset: number, previousArrivedAt: number | null): Promise<void>
  /** The next batch, which begins where the last one ended, or a tick, or the end. At most one call at a time. */
  next(): Promise<Work>
  /** Tells lag dashboards how far the effects reach. Nothing reads it back; it may fail without harm and never throws. */
  report(offset: number): void
}

/** Reads stretches of the log again, outside of any consumer group's position. */
export interface LogReader {
  /** First offset still kept and the offset after the last one, per partition. */
  ends(): Promise<readonly { readonly first: number; readonly end: number }[]>
  /** Records in [from, to), in order, in batches. What retention has removed is left out. */
  read(partition: number, from: number, to: number): AsyncIterable<RecordBatch>
}

/** A record that could not be counted, to be kept whole with the reason. */
export interface DeadLetter {
  readonly partition: number
  readonly record: UsageRecord
  readonly reason: UncountedReason
  readonly field: string | null
  readonly message: string
}

export interface DeadLetters {
  /** Resolves when the broker has them all. At least once: a retry may write one twice. */
  append(letters: readonly DeadLetter[]): Promise<void>
}

// ---- the meter, as its consumer sees it ------------------------------------------------------------------------------

export type Verdict = 'counted' | 'duplicate' | 'conflict'

export interface MeteredEvent {
  readonly offset: number
  readonly arrivedAt: number
  readonly event: UsageEvent
}

/** A partition's stand in a shard. */
export interface ShardAt {
  readonly shard: number
  readonly partition: number
  readonly generation: number
}

export interface ShardBatch extends ShardAt {
  /** The shard's cursor must stand here, or the batch is refused. */
  readonly expectedCursor: number
  /** Where the cursor stands afterwards. */
  readonly end: number
  /** Everything that arrived up to this time (ms) is counted once the batch is. */
  readonly countedUpTo: number
  /** Of this shard, offsets in [expectedCursor, end), ascending. */
  readonly events: readonly MeteredEvent[]
}

/**
 * A counter that began at zero in the middle of its window waits for what came before. `at` is the partition's cursor at that
 * moment; what the ledger holds for the partition when L stands there is what is missing.
 */
export interface Cut {
  readonly id: string
  readonly shard: number
  readonly customerId: string
  /** Each lists just the windows that are to be seeded. */
  readonly counters: readonly Counter[]
  readonly at: number
  /** How far this partition's seeding got: empty, or the key after which the next chunk of ledger rows begins. */
  readonly progress: string
}

/** An addition to a counter's window. `subject` is the user or model of an each-user or each-model counter, else empty. */
export interface CounterAmount {
  readonly counterId: string
  readonly startQuarter: number
  readonly subject: string
  readonly amount: number
}

/** Refused = the cursor, generation or server run is not what the caller thinks: forget everything unflushed, begin again at L. */
export type Refusable<T> = ({ readonly refused: false } & T) | { readonly refused: true }

export interface ShardPosition {
  readonly cursor: number
  /** Verdicts other than `counted` since L, by offset: a replay asks this record, it never judges again. */
  readonly verdicts: ReadonlyMap<number, Verdict>
  readonly cuts: readonly Cut[]
}

/** The real-time meter. Every method is one atomic step in Redis. */
export interface ConsumerMeter {
  /**
   * Refused: there is no state, or it is of another generation or server run, half written, or under repair. `newer`: the
   * state's generation is a later one than the caller's, so what the caller read of the ledger is out of date.
   */
  open(
    at: ShardAt
  ): Promise<({ readonly refused: false } & ShardPosition) | { readonly refused: true; readonly newer: boolean }>
  /** Counts a batch: marks, counters, holds, cursor at once. A verdict per event, and the cuts that wait for this partition. */
  apply(batch: ShardBatch): Promise<Refusable<{ readonly verdicts: readonly Verdict[]; readonly cuts: readonly Cut[] }>>
  /** Forgets verdicts before `flushed`, renews `countedUpTo` (null: leave it), tells the cuts that wait for this partition. */
  tick(
    at: ShardAt & { readonly cursor: number; readonly flushed: number; readonly countedUpTo: number | null }
  ): Promise<Refusable<{ readonly cuts: readonly Cut[] }>>
  /** Adds a chunk of what came before a cut, once: only while the partition's progress is `cut.progress`. `next` null ends it. */
  seed(
    at: ShardAt,
    cut: Cut,
    chunk: { readonly amounts: readonly CounterAmount[]; readonly next: string | null }
  ): Promise<void>
  /** The moment was missed: the counters of a cut that is still open begin again at zero, now. */
  cutAgain(at: ShardAt, cut: Cut): Promise<void>
}

/** The steps by which a repairer makes a shard usable again. Each answers false when the repairer was overtaken. */
export interface MeterRepair {
  /**
   * Takes the shard for this generation; from now on it refuses everything else. `cursors`: where a state that only lags
   * stands, per partition, to be rolled forward; null: there is no whole state, it is to be built from empty.
   */
  begin(
    shard: number,
    generation: number,
    partitions: number
  ): Promise<Refusable<{ readonly cursors: readonly number[] | null }>>
  /** Counts events that are known to be counted, with their marks, and moves the partition's cursor from → to with them. */
  rollForward(shard: number, generation: number, chunk: RollForward): Promise<boolean>
  /** Adds to a shard built from empty: counters of customers, and marks of counted events. Repeats change nothing. */
  build(
    shard: number,
    generation: number,
    part: { readonly customers: readonly BuiltCustomer[]; readonly marks: readonly MeteredEvent[] }
  ): Promise<boolean>
  /**
   * Which customers of a shard that was rolled forward have older limits there than these versions, or none: its tail took
   * them with it. Null when the repairer was overtaken.
   */
  outdated(
    shard: number,
    generation: number,
    versions: readonly Pick<CustomerLimits, 'customerId' | 'version'>[]
  ): Promise<ReadonlySet<string> | null>
  /** Puts limits in force again, as `LimitMeter.setLimits` does. */
  setLimits(shard: number, generation: number, limits: CompiledLimits): Promise<boolean>
  /** Opens the shard. `cursors`: where a shard built from empty stands; null after a roll-forward. Open cuts are cut again. */
  finish(shard: number, generation: number, cursors: readonly number[] | null): Promise<boolean>
}

export interface RollForward {
  readonly partition: number
  readonly from: number
  readonly to: number
  readonly events: readonly MeteredEvent[]
}

/** A customer as a shard built from empty begins with it. */
export interface BuiltCustomer {
  readonly customerId: string
  /** All tokens ever, for reconciling. */
  readonly total: bigint
  readonly limits: CompiledLimits | null
  readonly amounts: readonly CounterAmount[]
}

// ---- the ledger ------------------------------------------------------------------------------------------------------

/** One partition's line of the ledger for (customer, user, model, quarter). */
export interface LedgerRow {
  readonly customerId: string
  readonly userId: string
  readonly model: string
  readonly quarter: number
  readonly tokens: TokenPools
  readonly events: number
}

/** Where a partition stands. Cursor and generations are one row, changed by compare-and-set. */
export interface LedgerPosition {
  /** L: the next offset whose effect is not in the ledger. */
  readonly cursor: number
  /** Arrival of the record before L, null when there is none. */
  readonly previousArrivedAt: number | null
  /** By shard. */
  readonly generations: readonly number[]
  /** By shard: the end of the last flushed batch that touched it. */
  readonly shardCursors: readonly number[]
}

export interface LedgerFlush {
  readonly partition: number
  /** The position this flush stands on; any other in the store means fenced. */
  readonly from: LedgerPosition
  readonly to: LedgerPosition
  /** Several rows may have one key; they are summed. */
  readonly rows: readonly LedgerRow[]
  /** Offsets in [from.cursor, to.cursor) that were not counted. */
  readonly uncounted: readonly Uncounted[]
}

export interface Uncounted {
  readonly offset: number
  readonly reason: UncountedReason
  readonly field: string | null
  readonly message: string
}

export interface UsageLedger {
  /** One snapshot; a partition never seen begins at 0. */
  open(partition: number): Promise<LedgerPosition>
  /** One transaction: rows, uncounted offsets and cursor, or nothing. `fenced`: someone else moved the cursor or raised a generation. */
  flush(flush: LedgerFlush): Promise<'moved' | 'fenced'>
  /**
   * A part of the partition's rows for each of several cuts, in their order. In the same snapshot, `position` is checked: refused
   * when the store's is another.
   */
  readForCuts(ask: {
    readonly partition: number
    readonly position: LedgerPosition
    readonly cuts: readonly CutRange[]
  }): Promise<Refusable<{ readonly parts: readonly LedgerPart[] }>>
}

/** Rows of a customer from a quarter on, in key order after a key (empty: from the start). */
export interface CutRange {
  readonly customerId: string
  readonly sinceQuarter: number
  readonly after: string
}

/** `next`: the key after which the next part begins, null at the end. */
export interface LedgerPart {
  readonly rows: readonly LedgerRow[]
  readonly next: string | null
}

/** The ledger as a repairer reads it. */
export interface LedgerRepair {
  /** Runs the work under the shard's advisory lock, or answers null at once when another holds it. Freed when the session ends. */
  withLock<T>(shard: number, work: () => Promise<T>): Promise<T | null>
  /**
   * Raises a shard's generation for every partition and commits: from then on no flush of an older one lands. Null, and nothing
   * changes, when the generation is no longer `from`: another repairer was here.
   */
  raiseGeneration(shard: number, from: number): Promise<number | null>
  /** L of every partition of the log. */
  cursors(): Promise<readonly number[]>
  /** Uncounted offsets of a partition in [from, to). */
  uncounted(partition: number, from: number, to: number): Promise<ReadonlySet<number>>
  /** The limits of customers in id order after one (empty: from the start). */
  limits(after: string): Promise<{ readonly limits: readonly CustomerLimits[]; readonly next: string | null }>
  /** Customers in id order after one (empty: from the start): their ledger over all partitions, and their limits. */
  customers(
    after: string,
    sinceQuarter: number
  ): Promise<{ readonly customers: readonly LedgerCustomer[]; readonly next: string | null }>
}

export interface LedgerCustomer {
  readonly customerId: string
  readonly total: bigint
  readonly limits: CustomerLimits | null
  readonly rows: readonly LedgerRow[]
}

// ---- analytics -------------------------------------------------------------------------------------------------------

export interface Block {
  readonly from: number
  readonly to: number
}

/** The bounds of ClickHouse blocks, recorded before each insert so that a replay cuts the same ones. */
export interface AnalyticsBlocks {
  /** `done`: everything before it is in ClickHouse. `next`: recorded, maybe inserted. `ledgerCursor`: L, never to be passed. */
  open(
    partition: number
  ): Promise<{ readonly done: number; readonly next: Block | null; readonly ledgerCursor: number }>
  /** False when another consumer recorded one or moved on. */
  record(partition: number, block: Block): Promise<boolean>
  /** False when another consumer finished it. */
  finish(partition: number, block: Block): Promise<boolean>
  uncounted(partition: number, from: number, to: number): Promise<ReadonlySet<number>>
}

export interface UsageLog {
  /** Appends a block. The same partition and bounds again change nothing, whether or not the first answer was lost. */
  append(partition: number, block: Block, events: readonly MeteredEvent[]): Promise<void>
}
