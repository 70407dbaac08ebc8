/**
 * The gate before billing: usage is billed once the ledger has everything that arrived in time, and ClickHouse and the meter say the
 * same. It asks about whole batches, and about single customers only where something differs. It may hold the transaction of a
 * billing round, so it looks again for some seconds at most.
 */
import type { BillingGate, LedgerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type {
  GateLedger,
  GateMeter,
  LogArrival,
  LogArrivals,
  PartitionStand,
  StretchSums
} from '../../domain/billing/invoices/gate-ports.ts'
import type { ParkReason } from '../../domain/billing/invoices/park-reason.ts'
import { ForeignLogError } from '../../domain/errors.ts'
import { compareAnalytics, DIFFERENCES_TOLD_MAX } from './compare-analytics.ts'
import { compareMeter } from './compare-meter.ts'
import { type Clock, deadlineIn } from './patience.ts'

export interface StoresGateOptions {
  readonly log: LogArrivals
  readonly ledger: GateLedger
  readonly analytics: StretchSums
  readonly meter: GateMeter
  readonly clock: Clock
  /** How long (ms) a call looks again at stores that move, for each of its questions. 5 s unless told. */
  readonly patienceMs?: number
}

/** Flushes and blocks come once a second. A run may begin at the very instant that it asks about. */
const PATIENCE_MS = 5_000
/**
 * How far the broker's clock may lag behind ours, as for events ahead of their arrival. Of an instant that lies closer, records
 * may still arrive as earlier ones: nothing about it is remembered.
 */
const CLOCK_LAG_MAX_MS = 300_000
/** Instants remembered, of each kind; a run asks about some dozen, one for each time zone in which periods end. */
const INSTANTS_MAX = 1_000

/** What stays true of an instant: where the log stood, and which stores have passed that. */
interface Instant {
  readonly offsets: readonly LogArrival[]
  readonly passed: Set<keyof PartitionStand>
}

export class StoresGate implements BillingGate {
  readonly #options: StoresGateOptions
  readonly #instants = new Map<number, Instant>()
  /** Store and instant that were waited for in vain: a thousand rounds behind the same lag must not wait a thousand times. */
  readonly #missed = new Set<string>()

  constructor(options: StoresGateOptions) {
    this.#options = options
  }

  /** Throws a `ForeignLogError` when the log ends before the ledger's cursor: usage of another topic is not in this ledger. */
  async ledgerBehind(until: number): Promise<Extract<ParkReason, { code: 'ledger-behind' }> | null> {
    const partitions = await this.#behind('ledger', until)
    return partitions.length === 0 ? null : { code: 'ledger-behind', partitions }
  }

  async differences(stretches: readonly LedgerStretch[], until: number): Promise<ReadonlyMap<string, ParkReason>> {
    if (stretches.length === 0) return new Map()
    const customerIds = [...new Set(stretches.map(({ customerId }) => customerId))]
    const lagging = await this.#behind('analytics', until)
    if (lagging.length > 0) {
      return new Map(customerIds.map((customerId) => [customerId, { code: 'analytics-behind', partitions: lagging }]))
    }
    const { clock, patienceMs = PATIENCE_MS } = this.#options
    const parked = new Map(await compareAnalytics(stretches, this.#options, deadlineIn(patienceMs, clock)))
    const others = customerIds.filter((customerId) => !parked.has(customerId))
    for (const [customerId, all] of await compareMeter(others, this.#options, deadlineIn(patienceMs, clock))) {
      const differences = all.slice(0, DIFFERENCES_TOLD_MAX)
      parked.set(customerId, { code: 'stores-differ', store: 'redis', differences })
    }
    return parked
  }

  /** Partitions of which the store still lacks something that arrived before the instant when patience ends, ascending. */
  async #behind(store: keyof PartitionStand, until: number): Promise<readonly number[]> {
    const { clock, patienceMs = PATIENCE_MS } = this.#options
    const name = `${store} ${until}`
    const deadline = deadlineIn(this.#missed.has(name) ? 0 : patienceMs, clock)
    for (;;) {
      const behind = await this.#look(store, until)
      if (behind.length === 0) return behind
      if (await deadline.pause()) continue
      if (this.#missed.size >= INSTANTS_MAX) this.#missed.clear()
      this.#missed.add(name)
      return behind
    }
  }

  async #look(store: keyof PartitionStand, until: number): Promise<readonly number[]> {
    const known = this.#instants.get(until)
    if (known?.passed.has(store)) return []
    const stands = await this.#options.ledger.stands()
    const instant = known ?? (await this.#ask(until, stands))
    const behind = instant.offsets.filter(({ partition, offset }) => (stands.get(partition)?.[store] ?? 0) < offset)
    // Cursors never go back.
    if (behind.length === 0) instant.passed.add(store)
    return behind.map(({ partition }) => partition)
  }

  async #ask(until: number, stands: ReadonlyMap<number, PartitionStand>): Promise<Instant> {
    const { log, clock } = this.#options
    // Before the broker is asked: what arrives while it answers is not older than this.
    const isPast = until <= clock.now() - CLOCK_LAG_MAX_MS
    const offsets = await log.arrivedBy(until)
    assertSameLog(offsets, stands)
    const instant = { offsets, passed: new Set<keyof PartitionStand>() }
    if (!isPast) return instant
    if (this.#instants.size >= INSTANTS_MAX) this.#instants.clear()
    this.#instants.set(until, instant)
    return instant
  }
}

/** `stands` were read before the log was asked: a cursor beyond its end is one of another topic under the same name. */
function assertSameLog(offsets: readonly LogArrival[], stands: ReadonlyMap<number, PartitionStand>): void {
  const ends = new Map(offsets.map(({ partition, end }) => [partition, end]))
  for (const [partition, { ledger }] of stands) {
    const end = ends.get(partition) ?? 0
    if (ledger > end) {
      throw new ForeignLogError(
        `partition ${partition} of the log ends at ${end}, the ledger stands at ${ledger}: another topic stands under its name; nothing is billed`
      )
    }
  }
}
