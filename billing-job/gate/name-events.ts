/**
 * Which events make ClickHouse differ from the log in a stretch of a customer's time: what a parked difference is explained with.
 * Reads the customer's partition alone, from where the first event of the stretch can have arrived, a chunk of events at a time.
 *
 * Where no event is named, ClickHouse's events are those of the log. Then `logged`, what the log comes to, tells where to look: at the
 * ledger when it says otherwise; when it says the same, at the roll-up that the gate compares.
 */
import type { CustomerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type { LogArrivals, StretchEvents } from '../../domain/billing/invoices/gate-ports.ts'
import type { LogReader, MeteredEvent } from '../../domain/ports.ts'
import { quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import { TOKEN_POOLS, type TokenPool } from '../../domain/tokens/token-pools.ts'
import {
  contentOf,
  type Decoded,
  identityOf,
  type UsageEvent,
  type UsageRecord
} from '../../domain/tokens/usage-event.ts'

export interface NameEventsPorts {
  readonly log: LogReader
  readonly arrivals: LogArrivals
  readonly decode: (record: UsageRecord) => Decoded
  /** How far (ms) ahead of its arrival an event's time may lie. */
  readonly leadMs: number
  /** Offsets of a partition in [from, to) that were not counted. */
  uncounted(partition: number, from: number, to: number): Promise<ReadonlySet<number>>
  readonly analytics: StretchEvents
}

export interface NamedEvent {
  /**
   * `missing`: counted, and not in ClickHouse. `unknown`: in ClickHouse, and the log has no counted event of the customer and stretch
   * at that offset. `repeated`: in ClickHouse more than once. `altered`: another event, or other tokens, than the log has there.
   */
  readonly finding: 'missing' | 'unknown' | 'repeated' | 'altered'
  readonly partition: number
  readonly offset: number
  /** As the log has it; of an unknown one as ClickHouse does. */
  readonly event: UsageEvent
}

export interface NamedEvents {
  readonly partition: number
  /** Offsets looked at, [from, to). */
  readonly from: number
  readonly to: number
  /** The first hundred, by offset as they were found. */
  readonly named: readonly NamedEvent[]
  /** Findings beyond those. */
  readonly more: number
  /** Events in ClickHouse whose records retention has removed: nothing is said of them. */
  readonly expired: number
  /** Events in ClickHouse of other partitions, which a producer with a partitioner of its own may have chosen: not looked at. */
  readonly elsewhere: number
  /** Counted tokens of the stretch that the log has at these offsets, by model. */
  readonly logged: ReadonlyMap<string, Readonly<Record<TokenPool, bigint>>>
}

const NAMED_MAX = 100
/** Events of the customer held at a time: some 20 MB, and each chunk is one statement for ClickHouse. */
const CHUNK_EVENTS = 20_000
const OFFSET_MAX = Number.MAX_SAFE_INTEGER

/**
 * `through`: offset by partition before which ledger and ClickHouse should have everything, for instance the smaller of both
 * stands. Throws a RetryableError when the log or ClickHouse is away.
 */
export async function nameEvents(
  stretch: CustomerStretch,
  through: ReadonlyMap<number, number>,
  ports: NameEventsPorts
): Promise<NamedEvents> {
  const ends = await ports.log.ends()
  const partition = partitionOf(stretch.customerId, ends.length)
  const arrivals = await ports.arrivals.arrivedBy(quarterStartMs(stretch.from) - ports.leadMs)
  const kept = ends[partition]?.first ?? 0
  const from = Math.max(kept, arrivals.find((arrival) => arrival.partition === partition)?.offset ?? kept)
  const to = Math.max(from, through.get(partition) ?? 0)
  const naming = new Naming(partition)
  const place = { ...stretch, partition }
  let expired = 0
  // No record before `from` can hold an event of the stretch, unless the log begins there.
  for await (const stray of ports.analytics.stretchEvents({ ...place, fromOffset: 0, toOffset: from })) {
    if (from === kept) expired++
    else naming.name('unknown', stray)
  }
  for await (const chunk of countedChunks(stretch, { partition, from, to }, ports)) {
    const held = ports.analytics.stretchEvents({ ...place, fromOffset: chunk.from, toOffset: chunk.to })
    await naming.compare(chunk.events, held)
  }
  await nameBeyond(
    naming,
    ports.analytics.stretchEvents({ ...place, fromOffset: to, toOffset: OFFSET_MAX }),
    async () => {
      return (await ports.log.ends())[partition]?.end ?? 0
    }
  )
  let elsewhere = 0
  for (const [other, count] of await ports.analytics.countEvents(stretch)) if (other !== partition) elsewhere += count
  return { partition, from, to, expired, elsewhere, ...naming.result() }
}

/** What ClickHouse has at offsets that the log has not reached. The end is asked for after ClickHouse: it is ahead of what that can know. */
async function nameBeyond(
  naming: Naming,
  held: AsyncIterable<MeteredEvent>,
  endOfLog: () => Promise<number>
): Promise<void> {
  let end: number | null = null
  for await (const one of held) {
    end ??= await endOfLog()
    if (one.offset >= end) naming.name('unknown', one)
  }
}

class Naming {
  readonly #partition: number
  readonly #named: NamedEvent[] = []
  #more = 0
  readonly #logged = new Map<string, Record<TokenPool, bigint>>()

  constructor(partition: number) {
    this.#partition = partition
  }

  name(finding: NamedEvent['finding'], { offset, event }: MeteredEvent): void {
    if (this.#named.length >= NAMED_MAX) this.#more++
    else this.#named.push({ finding, partition: this.#partition, offset, event })
  }

  /** Counted events of some offsets, and what ClickHouse holds there. */
  async compare(counted: readonly MeteredEvent[], held: AsyncIterable<MeteredEvent>): Promise<void> {
    const missing = new Map(counted.map((one) => [one.offset, one]))
    const logged = new Map(missing)
    for (const { event } of counted) this.#add(event)
    for await (const one of held) {
      const twin = logged.get(one.offset)
      if (twin === undefined) this.name('unknown', one)
      else if (!missing.delete(one.offset)) this.name('repeated', twin)
      else if (!isSame(twin.event, one.event)) this.name('altered', twin)
    }
    for (const one of missing.values()) this.name('missing', one)
  }

  result(): Pick<NamedEvents, 'named' | 'more' | 'logged'> {
    return { named: this.#named, more: this.#more, logged: this.#logged }
  }

  #add({ model, tokens }: UsageEvent): void {
    const sums = this.#logged.get(model) ?? { input: 0n, cacheRead: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n }
    for (const pool of TOKEN_POOLS) sums[pool] += BigInt(tokens[pool])
    this.#logged.set(model, sums)
  }
}

/** ClickHouse keeps text well-formed, so text is compared as it would keep it. */
function isSame(one: UsageEvent, other: UsageEvent): boolean {
  const tell = (event: UsageEvent): string => `${event.occurredAt} ${identityOf(event)} ${contentOf(event)}`
  return tell(one) === tell(other) || tell(one).toWellFormed() === tell(other)
}

interface Chunk {
  readonly from: number
  readonly to: number
  readonly events: readonly MeteredEvent[]
}

/** The customer's counted events of the stretch; the chunks cover the offsets without a gap. */
async function* countedChunks(
  stretch: CustomerStretch,
  range: { readonly partition: number; readonly from: number; readonly to: number },
  ports: Pick<NameEventsPorts, 'log' | 'decode' | 'uncounted'>
): AsyncGenerator<Chunk> {
  const { partition, from, to } = range
  const [start, end] = [quarterStartMs(stretch.from), quarterStartMs(stretch.to)]
  let chunkFrom = from
  let events: MeteredEvent[] = []
  for await (const batch of ports.log.read(partition, from, to)) {
    const ofStretch = batch.records.flatMap((record) => {
      const decoded = ports.decode(record)
      if ('rejection' in decoded || decoded.event.customerId !== stretch.customerId) return []
      const { occurredAt } = decoded.event
      if (occurredAt < start || occurredAt >= end) return []
      return [{ offset: record.offset, arrivedAt: record.arrivedAt, event: decoded.event }]
    })
    if (ofStretch.length > 0) {
      const uncounted = await ports.uncounted(partition, batch.from, batch.to)
      events.push(...ofStretch.filter(({ offset }) => !uncounted.has(offset)))
    }
    if (events.length < CHUNK_EVENTS) continue
    yield { from: chunkFrom, to: batch.to, events }
    chunkFrom = batch.to
    events = []
  }
  if (chunkFrom < to) yield { from: chunkFrom, to, events }
}
