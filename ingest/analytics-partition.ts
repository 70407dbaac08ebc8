/**
 * The analytics consumer of one partition: copies what was counted to the searchable log (ClickHouse), in blocks. It follows
 * the ledger and never passes L, because whether an offset was counted is known only behind L.
 *
 * A block's bounds are recorded before it is inserted, and the insert is known by them. So it may die or be overtaken between
 * any two awaited lines:
 *   before the bounds are recorded   nothing happened; the next consumer cuts a block of its own
 *   after, before the insert         the next one reads the same bounds and inserts the same block
 *   after the insert                 it inserts the same block again, which changes nothing
 *   overtaken                        recording or finishing answers false: it begins again at what is done
 * It holds no clock and no client. While a store is away it stays, tries again at each tick, and drops what it is given beyond
 * a bound, to read that again later: memory stays flat however long it takes.
 */
import { RetryableError } from '../domain/errors.ts'
import type { AnalyticsBlocks, Block, MeteredEvent, PartitionSource, RecordBatch, UsageLog } from '../domain/ports.ts'
import type { Decoded, UsageRecord } from '../domain/tokens/usage-event.ts'

export interface AnalyticsPartitionOptions {
  readonly partition: number
  readonly source: PartitionSource
  readonly blocks: AnalyticsBlocks
  readonly log: UsageLog
  readonly decode: (record: UsageRecord) => Decoded
  /** A block is cut at so many records, or at a tick: at once while it is small, later while it grows. */
  readonly blockEventsMax: number
  readonly report?: (report: AnalyticsReport) => void
}

export type AnalyticsReport =
  | { readonly kind: 'appended'; readonly partition: number; readonly block: Block; readonly events: number }
  /** A store is away; tried again at the next tick. */
  | { readonly kind: 'delayed'; readonly partition: number; readonly error: RetryableError }
  /** Another consumer recorded or finished a block: this one begins again. */
  | { readonly kind: 'overtaken'; readonly partition: number }

/** Runs until the source says stop. */
export async function runAnalyticsPartition(options: AnalyticsPartitionOptions): Promise<void> {
  const { partition, report } = options
  for (;;) {
    const session = await AnalyticsSession.open(options)
    if ((await session.run()) === 'stopped') return
    report?.({ kind: 'overtaken', partition })
  }
}

interface HeldRecord {
  readonly offset: number
  readonly arrivedAt: number
  readonly decoded: Decoded
}

/**
 * A row costs ClickHouse half as much processor time in a block of 50,000 as in one of 4,000. So a block that holds more than a few and still
 * grows waits for more, to every fifth tick: under load what is searchable is some seconds behind.
 */
const SMALL_BLOCK_EVENTS = 1_000
const GROWING_TICKS_MAX = 5

/** Blocks' worth of records that may wait: one that is being inserted and one that is coming in. */
const HELD_BLOCKS_MAX = 2

/** From one opening to the next: as long as nobody else moves the partition's blocks. */
class AnalyticsSession {
  readonly #options: AnalyticsPartitionOptions
  #done: number
  #next: Block | null
  #ledgerCursor: number
  /** Records in [done, held), decoded as they come so that a block is not decoded at one go. */
  #records: HeldRecord[] = []
  #held: number
  /** Something was dropped after `held`, to be read again. */
  #hasDropped = false
  /** A store was away: nothing is tried before the next tick. */
  #isDelayed = false
  /** What `held` was at the last tick, and for how many ticks the block at hand has grown. */
  #heldAtTick: number
  #growingTicks = 0

  private constructor(
    options: AnalyticsPartitionOptions,
    stand: { done: number; next: Block | null; ledgerCursor: number }
  ) {
    this.#options = options
    this.#done = stand.done
    this.#next = stand.next
    this.#ledgerCursor = stand.ledgerCursor
    this.#held = stand.done
    this.#heldAtTick = stand.done
  }

  static async open(options: AnalyticsPartitionOptions): Promise<AnalyticsSession> {
    const stand = await options.blocks.open(options.partition)
    await options.source.open(stand.done, null)
    return new AnalyticsSession(options, stand)
  }

  async run(): Promise<'stopped' | 'overtaken'> {
    for (;;) {
      const work = await this.#options.source.next()
      // What is held is not lost: it stands in the log behind what is done.
      if (work.kind === 'stop') return 'stopped'
      if (work.kind === 'batch') {
        this.#hold(work.batch)
        if (this.#isDelayed || this.#records.length < this.#options.blockEventsMax) continue
      }
      if ((await this.#advance(work.kind === 'tick')) === 'overtaken') return 'overtaken'
    }
  }

  #hold(batch: RecordBatch): void {
    if (this.#hasDropped || this.#isFull()) {
      this.#hasDropped = true
      return
    }
    for (const record of batch.records) {
      this.#records.push({ offset: record.offset, arrivedAt: record.arrivedAt, decoded: this.#options.decode(record) })
    }
    this.#held = batch.to
  }

  /** Never before a recorded block is whole, else it could never be inserted. */
  #isFull(): boolean {
    const enough = this.#records.length >= this.#options.blockEventsMax * HELD_BLOCKS_MAX
    return enough && (this.#next === null || this.#held >= this.#next.to)
  }

  /** Inserts what may be inserted. At a tick it looks first where L stands by now, and takes also what fills no block. */
  async #advance(isTick: boolean): Promise<'overtaken' | null> {
    const takesPart = isTick && !this.#waitsForMore()
    this.#isDelayed = false
    try {
      if (isTick && this.#hasMore() && !(await this.#refresh())) return 'overtaken'
      for (;;) {
        this.#next ??= await this.#record(takesPart)
        if (this.#next === null || this.#held < this.#next.to) break
        await this.#insert(this.#next)
      }
      await this.#readDropped()
      return null
    } catch (error) {
      if (error instanceof Overtaken) return 'overtaken'
      if (!(error instanceof RetryableError)) throw error
      this.#isDelayed = true
      this.#options.report?.({ kind: 'delayed', partition: this.#options.partition, error })
      return null
    }
  }

  /** Asked at each tick: whether the block at hand is worth waiting for. */
  #waitsForMore(): boolean {
    const hasGrown = this.#held > this.#heldAtTick && this.#records.length > SMALL_BLOCK_EVENTS
    this.#heldAtTick = this.#held
    this.#growingTicks = hasGrown ? this.#growingTicks + 1 : 0
    return this.#growingTicks % GROWING_TICKS_MAX !== 0
  }

  /** Without it, where L stands does not matter: an idle partition asks Postgres for nothing. */
  #hasMore(): boolean {
    return this.#held > this.#done || this.#next !== null
  }

  /** False when the blocks are not where this session left them, be it that the answer to its own last step was lost. */
  async #refresh(): Promise<boolean> {
    const stand = await this.#options.blocks.open(this.#options.partition)
    this.#ledgerCursor = stand.ledgerCursor
    return stand.done === this.#done && stand.next?.from === this.#next?.from && stand.next?.to === this.#next?.to
  }

  async #record(takesPart: boolean): Promise<Block | null> {
    const { partition, blocks, blockEventsMax } = this.#options
    const firstOfNext = this.#records[blockEventsMax]
    const reach = Math.min(this.#ledgerCursor, this.#held)
    const to = firstOfNext === undefined ? reach : Math.min(reach, firstOfNext.offset)
    if (to <= this.#done) return null
    const last = this.#records[blockEventsMax - 1]
    const isWhole = last !== undefined && last.offset < to
    if (!isWhole && !takesPart) return null
    const block = { from: this.#done, to }
    if (!(await blocks.record(partition, block))) throw new Overtaken()
    return block
  }

  async #insert(block: Block): Promise<void> {
    const { partition, source, blocks, log, report } = this.#options
    const uncounted = await blocks.uncounted(partition, block.from, block.to)
    const beyond = this.#records.findIndex(({ offset }) => offset >= block.to)
    const count = beyond === -1 ? this.#records.length : beyond
    const events = this.#countedOf(this.#records.slice(0, count), uncounted)
    if (events.length > 0) await log.append(partition, block, events)
    if (!(await blocks.finish(partition, block))) throw new Overtaken()
    this.#records.splice(0, count)
    this.#done = block.to
    this.#next = null
    source.report(block.to)
    report?.({ kind: 'appended', partition, block, events: events.length })
  }

  #countedOf(records: readonly HeldRecord[], uncounted: ReadonlySet<number>): readonly MeteredEvent[] {
    const counted = records.filter(({ offset }) => !uncounted.has(offset))
    return counted.map(({ offset, arrivedAt, decoded }) => {
      if ('event' in decoded) return { offset, arrivedAt, event: decoded.event }
      const { code, message } = decoded.rejection
      const place = `offset ${offset} of partition ${this.#options.partition}`
      throw new Error(`${place} was counted, but reads as ${code}: ${message}`)
    })
  }

  async #readDropped(): Promise<void> {
    if (!this.#hasDropped || this.#isFull()) return
    await this.#options.source.open(this.#held, this.#records.at(-1)?.arrivedAt ?? null)
    this.#hasDropped = false
  }
}

/** Another consumer moved the partition's blocks. Caught where a session ends. */
class Overtaken extends Error {}
