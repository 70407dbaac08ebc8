/**
 * Makes a shard of the meter usable again after its Redis server restarted, lost its tail or came back empty, and makes it in
 * the first place. One repairer at a time, by an advisory lock; should two overlap all the same, the later generation wins.
 *
 *   1. raise the shard's generation and commit: no flush of an older one lands, so the ledger stands still for this shard
 *   2. take the shard: it refuses everything but this repairer
 *   3. roll a state that only lags forward from its cursors to L; build any other from the ledger and the log
 *   4. open it
 *
 * Dying between any two steps leaves a shard that refuses everything; the next repairer begins at 1.
 */
import { RetryableError } from '../domain/errors.ts'
import type {
  BuiltCustomer,
  LedgerCustomer,
  LedgerRepair,
  LogReader,
  MeteredEvent,
  MeterRepair
} from '../domain/ports.ts'
import { compileLimits } from '../domain/tokens/compile-limits.ts'
import { amountsOf } from '../domain/tokens/counter-amounts.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { shardOf } from '../domain/tokens/shard.ts'
import type { Decoded, UsageRecord } from '../domain/tokens/usage-event.ts'
import { tell } from './channels.ts'

export interface RepairPorts {
  readonly meter: MeterRepair
  readonly ledger: LedgerRepair
  readonly log: LogReader
  readonly decode: (record: UsageRecord) => Decoded
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly shards: number
  readonly partitions: number
}

/** Limits may look back over a billing period of a year and the one before it. */
const LOOK_BACK_MS = 800 * 86_400_000
/** The longest rolling limit. */
const ROLLING_MAX_MS = 24 * 3_600_000
/** Events and customers a script takes at a time: some ten milliseconds of Redis. */
const CHUNK_EVENTS = 1_000
const CHUNK_CUSTOMERS = 100

/**
 * Resolves when the shard is usable, or another repairer overtook this one; the caller looks at it anew. `seen` is the generation
 * in which the caller found it unusable: under a later one somebody has repaired it meanwhile. Throws `RetryableError` while
 * another repairer is at work.
 */
export async function repairShard(shard: number, seen: number, ports: RepairPorts): Promise<'repaired' | 'overtaken'> {
  const done = await ports.ledger.withLock(shard, () => repairLocked(shard, seen, ports))
  if (done === null)
    throw new RetryableError('shard-under-repair', `shard ${shard} is being repaired by another process`)
  return done
}

async function repairLocked(shard: number, seen: number, ports: RepairPorts): Promise<'repaired' | 'overtaken'> {
  const generation = await ports.ledger.raiseGeneration(shard, seen)
  if (generation === null) return 'overtaken'
  const known = await ports.ledger.cursors()
  const ledgerCursors = Array.from({ length: ports.partitions }, (_, partition) => known[partition] ?? 0)
  const begun = await ports.meter.begin(shard, generation, ports.partitions)
  if (begun.refused) return 'overtaken'
  const repair = { shard, generation, ledgerCursors, ports }
  const mode = begun.cursors === null ? 'build' : 'roll-forward'
  const whole = begun.cursors === null ? await build(repair) : await rollForward(repair, begun.cursors)
  if (!whole || !(await ports.meter.finish(shard, generation, mode === 'build' ? ledgerCursors : null)))
    return 'overtaken'
  tell('repaired', { shard, generation, mode })
  return 'repaired'
}

interface Repair {
  readonly shard: number
  readonly generation: number
  readonly ledgerCursors: readonly number[]
  readonly ports: RepairPorts
}

/** What the ledger has and the shard lacks is counted again, cursor and effects together. */
async function rollForward(repair: Repair, cursors: readonly number[]): Promise<boolean> {
  const { shard, generation, ports } = repair
  for (const [partition, end] of repair.ledgerCursors.entries()) {
    let from = cursors[partition] ?? 0
    for await (const { to, events } of countedEvents(repair, partition, { from, to: end })) {
      if (!(await ports.meter.rollForward(shard, generation, { partition, from, to, events }))) return false
      from = to
    }
  }
  return restoreLimits(repair)
}

/** A tail that was cut off took with it the limits that were set meanwhile: unless they return, their customers are unknown. */
async function restoreLimits({ shard, generation, ports }: Repair): Promise<boolean> {
  const now = ports.now()
  let after = ''
  for (;;) {
    const { limits, next } = await ports.ledger.limits(after)
    const ours = limits.filter(({ customerId }) => shardOf(customerId, ports.shards) === shard)
    for (let i = 0; i < ours.length; i += CHUNK_CUSTOMERS) {
      const chunk = ours.slice(i, i + CHUNK_CUSTOMERS)
      const outdated = await ports.meter.outdated(shard, generation, chunk)
      if (outdated === null) return false
      for (const one of chunk) {
        if (!outdated.has(one.customerId)) continue
        if (!(await ports.meter.setLimits(shard, generation, compileLimits(one, now).compiled))) return false
      }
    }
    if (next === null) return true
    after = next
  }
}

/** An empty shard: counters as the ledger has them, marks of every counted event that the log still has. */
async function build(repair: Repair): Promise<boolean> {
  const { shard, generation, ports } = repair
  for await (const customers of builtCustomers(repair)) {
    if (!(await ports.meter.build(shard, generation, { customers, marks: [] }))) return false
  }
  const ends = await ports.log.ends()
  for (const [partition, to] of repair.ledgerCursors.entries()) {
    const from = ends[partition]?.first ?? 0
    for await (const { events } of countedEvents(repair, partition, { from, to })) {
      if (!(await ports.meter.build(shard, generation, { customers: [], marks: events }))) return false
    }
  }
  // A repairer that lost its lock unawares may have read while others wrote: what it built is then no moment of the ledger.
  const still = await ports.ledger.cursors()
  return repair.ledgerCursors.every((cursor, partition) => (still[partition] ?? 0) === cursor)
}

/** The shard's counted events of a stretch of the log, in chunks; `to` is where each chunk ends, the last one at the stretch's end. */
async function* countedEvents(
  { shard, ports }: Repair,
  partition: number,
  stretch: { readonly from: number; readonly to: number }
): AsyncGenerator<{ to: number; events: MeteredEvent[] }> {
  if (stretch.from >= stretch.to) return
  const uncounted = await ports.ledger.uncounted(partition, stretch.from, stretch.to)
  for await (const batch of ports.log.read(partition, stretch.from, stretch.to)) {
    for (let i = 0; i < batch.records.length; i += CHUNK_EVENTS) {
      const chunk = batch.records.slice(i, i + CHUNK_EVENTS)
      const events: MeteredEvent[] = []
      for (const record of chunk) {
        if (uncounted.has(record.offset)) continue
        const decoded = ports.decode(record)
        if ('rejection' in decoded)
          throw new Error(`partition ${partition}, offset ${record.offset}: counted once, refused now`)
        const { event } = decoded
        if (shardOf(event.customerId, ports.shards) === shard)
          events.push({ offset: record.offset, arrivedAt: record.arrivedAt, event })
      }
      const last = chunk.at(-1)
      if (last !== undefined) yield { to: last.offset + 1, events }
    }
  }
  yield { to: stretch.to, events: [] }
}

async function* builtCustomers({ shard, ports }: Repair): AsyncGenerator<BuiltCustomer[]> {
  const now = ports.now()
  let after = ''
  for (;;) {
    const { customers, next } = await ports.ledger.customers(after, quarterOf(now - LOOK_BACK_MS))
    const built = customers
      .filter(({ customerId }) => shardOf(customerId, ports.shards) === shard)
      .map((one) => builtCustomer(one, now))
    for (let i = 0; i < built.length; i += CHUNK_CUSTOMERS) yield built.slice(i, i + CHUNK_CUSTOMERS)
    if (next === null) return
    after = next
  }
}

function builtCustomer({ customerId, total, limits, rows }: LedgerCustomer, now: number): BuiltCustomer {
  if (limits === null) return { customerId, total, limits: null, amounts: [] }
  const { compiled } = compileLimits(limits, now)
  return {
    customerId,
    total,
    limits: compiled,
    amounts: amountsOf(compiled.counters, rows, quarterOf(now - ROLLING_MAX_MS))
  }
}

/** The partitions of one process find a shard unusable at the same moment: they wait for one repair. */
export function oncePerShard(
  act: (shard: number, generation: number) => Promise<unknown>
): (shard: number, generation: number) => Promise<unknown> {
  const running = new Map<number, Promise<unknown>>()
  return async (shard, generation) => {
    const repair = running.get(shard) ?? act(shard, generation).finally(() => running.delete(shard))
    running.set(shard, repair)
    await repair
  }
}
