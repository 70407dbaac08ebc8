/**
 * The meter consumer of one partition: third stop on the way of one event. It takes batches of the log, has the meter count
 * them (Redis), sums what was counted, and about once a second writes the sums to the ledger (Postgres) with the cursor L, while it
 * counts on.
 *
 * It may die, freeze or be overtaken between any two awaited lines:
 *   before the meter applied a batch     the next consumer begins at L and applies it
 *   after, before the flush              the next one begins at L, finds Redis's cursor ahead, and sums those offsets by the
 *                                        verdicts on record without judging them again
 *   after the flush                      L stands behind them; nothing is left to do
 *   overtaken                            Redis's or the ledger's compare-and-set refuses: all that is unflushed is forgotten,
 *                                        and it begins again at L
 * It holds no clock and no client, so that the simulation runs these very lines. A store that is away throws
 * `RetryableError`; whoever runs the loop starts it again later, and it begins at L.
 */
import type {
  ConsumerMeter,
  Cut,
  DeadLetter,
  DeadLetters,
  LedgerPosition,
  MeteredEvent,
  PartitionSource,
  RecordBatch,
  ShardAt,
  UsageLedger,
  Verdict
} from '../domain/ports.ts'
import { shardOf } from '../domain/tokens/shard.ts'
import type { Decoded, UncountedReason, UsageRecord } from '../domain/tokens/usage-event.ts'
import { tell } from './channels.ts'
import { LedgerWriter } from './ledger/ledger-writer.ts'
import { settleCuts } from './ledger/settle-cuts.ts'

export interface MeterPartitionPorts {
  readonly source: PartitionSource
  readonly meter: ConsumerMeter
  readonly ledger: UsageLedger
  readonly deadLetters: DeadLetters
  readonly decode: (record: UsageRecord) => Decoded
  /** Makes a shard usable again that was found unusable in this generation, or leaves it to another who does. */
  readonly repair: (shard: number, generation: number) => Promise<unknown>
}

export interface MeterPartitionOptions {
  readonly partition: number
  readonly shards: number
  /** Records whose sums may wait in memory while Postgres is away; at more, consumption pauses. */
  readonly pendingRecordsMax: number
}

/** Runs until the source says stop. */
export async function runMeterPartition(ports: MeterPartitionPorts, options: MeterPartitionOptions): Promise<void> {
  for (;;) {
    const session = await MeterSession.open(ports, options)
    if (session === null) continue
    try {
      if ((await session.run()) === 'stopped') return
    } finally {
      await session.close()
    }
  }
}

/** A stand in one shard: its cursor for this partition as this session knows it, and the verdicts given since L. */
interface ShardStand {
  readonly at: ShardAt
  cursor: number
  readonly verdicts: ReadonlyMap<number, Verdict>
}

/** Events of a stretch by shard, and what of it can't be counted. */
interface Decoding {
  readonly byShard: ReadonlyMap<number, MeteredEvent[]>
  readonly poison: readonly DeadLetter[]
}

/** Events of one shard, and the verdict of each in the same order. */
interface Judged {
  readonly events: readonly MeteredEvent[]
  readonly verdicts: readonly Verdict[]
}

/** From one opening at L to the next: as long as nothing refuses, every record after L is counted in order. */
class MeterSession {
  readonly #ports: MeterPartitionPorts
  readonly #options: MeterPartitionOptions
  readonly #shards: readonly ShardStand[]
  readonly #writer: LedgerWriter
  #openCuts: Cut[]
  /** What the ledger's row says once all that is counted is written. */
  #position: LedgerPosition

  private constructor(
    ports: MeterPartitionPorts,
    options: MeterPartitionOptions,
    start: { ledger: LedgerPosition; shards: ShardStand[]; cuts: Cut[] }
  ) {
    this.#ports = ports
    this.#options = options
    this.#shards = start.shards
    this.#openCuts = start.cuts
    this.#writer = new LedgerWriter(ports.ledger, options.partition, start.ledger)
    this.#position = start.ledger
  }

  /** Null when a shard had to be repaired, or moved on meanwhile: what was read is out of date. */
  static async open(ports: MeterPartitionPorts, options: MeterPartitionOptions): Promise<MeterSession | null> {
    const { partition } = options
    const ledger = await ports.ledger.open(partition)
    const shards: ShardStand[] = []
    const cuts: Cut[] = []
    for (let shard = 0; shard < options.shards; shard++) {
      const at = { shard, partition, generation: ledger.generations[shard] ?? 0 }
      const opened = await ports.meter.open(at)
      if (opened.refused) {
        if (!opened.newer) await ports.repair(shard, at.generation)
        return null
      }
      shards.push({ at, cursor: opened.cursor, verdicts: opened.verdicts })
      cuts.push(...opened.cuts)
    }
    await ports.source.open(ledger.cursor, ledger.previousArrivedAt)
    return new MeterSession(ports, options, { ledger, shards, cuts })
  }

  async run(): Promise<'stopped' | 'refused'> {
    if (!(await this.#settleReached())) return 'refused'
    for (;;) {
      const work = await this.#ports.source.next()
      if (work.kind === 'stop') {
        await this.#flush()
        return 'stopped'
      }
      const goesOn = work.kind === 'tick' ? await this.#tick(work.drainedAt) : await this.#take(work.batch)
      if (!goesOn) return 'refused'
    }
  }

  /** A batch is, for each shard, all replay or all fresh, and never spans a known cut: it is cut at their cursors. */
  async #take(batch: RecordBatch): Promise<boolean> {
    let from = batch.from
    let next = 0
    while (from < batch.to) {
      let to = batch.to
      for (const stop of [...this.#shards.map(({ cursor }) => cursor), ...this.#openCuts.map(({ at }) => at)]) {
        if (stop > from && stop < to) to = stop
      }
      let end = next
      while (end < batch.records.length && (batch.records[end]?.offset ?? to) < to) end++
      if (!(await this.#count({ from, to, records: batch.records.slice(next, end) }))) return false
      next = end
      from = to
    }
    return this.#writer.records <= this.#options.pendingRecordsMax || this.#flush()
  }

  async #count(stretch: RecordBatch): Promise<boolean> {
    const { byShard, poison } = await this.#decode(stretch)
    const arrivedAt = stretch.records.at(-1)?.arrivedAt ?? this.#position.previousArrivedAt
    const judged: Judged[] = []
    const found: Cut[] = []
    const shardCursors = [...this.#position.shardCursors]
    for (const [shard, events] of byShard) {
      const stand = this.#shards[shard]
      if (stand === undefined) throw new Error(`shard ${shard} of ${this.#shards.length} does not exist`)
      if (stretch.from < stand.cursor) {
        judged.push({ events, verdicts: events.map(({ offset }) => stand.verdicts.get(offset) ?? 'counted') })
      } else {
        const reply = await this.#ports.meter.apply({
          ...stand.at,
          expectedCursor: stand.cursor,
          end: stretch.to,
          countedUpTo: arrivedAt ?? 0,
          events
        })
        if (reply.refused) return this.#fenced('redis')
        stand.cursor = stretch.to
        judged.push({ events, verdicts: reply.verdicts })
        found.push(...reply.cuts.filter((cut) => !this.#knows(cut)))
      }
      shardCursors[shard] = stretch.to
    }
    // Cuts placed since the last batch: the ledger closes before this one.
    if (found.length > 0 && !((await this.#flush()) && (await this.#settle(found)))) return false
    const uncounted = await this.#sum(stretch, judged, poison)
    this.#position = { ...this.#position, cursor: stretch.to, previousArrivedAt: arrivedAt, shardCursors }
    tell('batchCounted', {
      partition: this.#options.partition,
      records: stretch.records.length,
      counted: stretch.records.length - uncounted.length,
      uncounted,
      arrivedAt: arrivedAt ?? 0
    })
    return this.#settleReached()
  }

  /** What can't be decoded is a dead letter, acknowledged by the broker before any cursor passes it. */
  async #decode(stretch: RecordBatch): Promise<Decoding> {
    const byShard = new Map<number, MeteredEvent[]>()
    const { partition, shards } = this.#options
    const poison: DeadLetter[] = []
    for (const record of stretch.records) {
      const decoded = this.#ports.decode(record)
      if ('rejection' in decoded) {
        const { code: reason, field, message } = decoded.rejection
        poison.push({ partition, record, reason, field, message })
        continue
      }
      const { event } = decoded
      const shard = shardOf(event.customerId, shards)
      const events = byShard.get(shard)
      const metered = { offset: record.offset, arrivedAt: record.arrivedAt, event }
      if (events === undefined) byShard.set(shard, [metered])
      else events.push(metered)
    }
    if (poison.length > 0) await this.#ports.deadLetters.append(poison)
    return { byShard, poison }
  }

  /** Sums what was counted; answers why the rest was not. Conflicts are dead letters before L passes them. */
  async #sum(
    { records }: RecordBatch,
    judged: readonly Judged[],
    poison: readonly DeadLetter[]
  ): Promise<UncountedReason[]> {
    const { partition } = this.#options
    const uncounted: UncountedReason[] = []
    /** Why, by offset. */
    const conflicts = new Map<number, string>()
    for (const { record, reason, field, message } of poison) {
      this.#writer.pending.leaveOut({ offset: record.offset, reason, field, message })
      uncounted.push(reason)
    }
    for (const { events, verdicts } of judged) {
      for (const [i, { offset, event }] of events.entries()) {
        const verdict = verdicts[i]
        if (verdict === undefined)
          throw new Error(`the meter gave no verdict on offset ${offset} of partition ${partition}`)
        if (verdict === 'counted') {
          this.#writer.pending.add(event)
          continue
        }
        const before = `event ${event.id} of source ${event.source} was counted before`
        const message = verdict === 'conflict' ? `${before} with other tokens, user or model` : before
        this.#writer.pending.leaveOut({ offset, reason: verdict, field: 'id', message })
        uncounted.push(verdict)
        if (verdict === 'conflict') conflicts.set(offset, message)
      }
    }
    if (conflicts.size === 0) return uncounted
    const letters = records.flatMap((record): DeadLetter[] => {
      const message = conflicts.get(record.offset)
      return message === undefined ? [] : [{ partition, record, reason: 'conflict', field: 'id', message }]
    })
    await this.#ports.deadLetters.append(letters)
    return uncounted
  }

  async #tick(drainedAt: number | null): Promise<boolean> {
    if (!this.#writer.begin(this.#position)) return false
    this.#ports.source.report(this.#writer.flushed.cursor)
    const countedUpTo = drainedAt ?? this.#position.previousArrivedAt
    return (await this.#renew(this.#shards, countedUpTo)) && this.#settleReached()
  }

  /** The sign of life in some shards, and the cuts that their replies tell. */
  async #renew(shards: readonly ShardStand[], countedUpTo: number | null): Promise<boolean> {
    for (const { at, cursor } of shards) {
      const reply = await this.#ports.meter.tick({ ...at, cursor, flushed: this.#writer.flushed.cursor, countedUpTo })
      if (reply.refused) return this.#fenced('redis')
      this.#openCuts.push(...reply.cuts.filter((cut) => !this.#knows(cut)))
    }
    return true
  }

  /** L is brought to the position; false when someone else moved it or raised a generation. */
  #flush(): Promise<boolean> {
    return this.#writer.finish(this.#position)
  }

  /** Resolves when nothing of this session is under way any more. */
  close(): Promise<void> {
    return this.#writer.idle()
  }

  #knows(cut: Cut): boolean {
    return this.#openCuts.some(({ id, shard }) => id === cut.id && shard === cut.shard)
  }

  /** Cuts that the position has reached: L is brought there, and the ledger's sums are added. */
  async #settleReached(): Promise<boolean> {
    const reached = this.#takeReached()
    return reached.length === 0 || ((await this.#flush()) && (await this.#settle(reached)))
  }

  #takeReached(): readonly Cut[] {
    const reached = this.#openCuts.filter(({ at }) => at <= this.#position.cursor)
    this.#openCuts = this.#openCuts.filter((cut) => !reached.includes(cut))
    return reached
  }

  /**
   * L stands at the cuts. A reply tells only some of those that wait, the oldest: asks on until none is left that is to be
   * settled here, or the rest would have missed their moment and begun again with it, at each partition in turn, for ever.
   */
  async #settle(cuts: readonly Cut[]): Promise<boolean> {
    const { partition } = this.#options
    const shards = this.#shards.map(({ at }) => at)
    for (let due = cuts; due.length > 0; due = this.#takeReached()) {
      const place = { partition, position: this.#writer.flushed, shards }
      if (!(await settleCuts(this.#ports, place, due))) return this.#fenced('postgres')
      const touched = this.#shards.filter(({ at }) => due.some(({ shard }) => shard === at.shard))
      if (!(await this.#renew(touched, null))) return false
    }
    return true
  }

  #fenced(store: 'redis' | 'postgres'): false {
    tell('fenced', { partition: this.#options.partition, store })
    return false
  }
}
