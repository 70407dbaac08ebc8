/**
 * Do the log, the ledger, ClickHouse and Redis agree? Works while traffic goes on: log and ledger are read at one moment (L of
 * each partition), ClickHouse up to the same offsets, and Redis, which runs ahead, is asked again until the ledger has caught
 * up with what it said.
 */
import type { LedgerRow, LogReader } from '../domain/ports.ts'
import { compareCounters, type MeteredCustomer, nameOfAmount } from '../domain/tokens/reconcile/compare-counters.ts'
import { dayName, totalOf, type UsageDay, UsageDays } from '../domain/tokens/usage-day.ts'
import type { Decoded, UsageRecord } from '../domain/tokens/usage-event.ts'

/** What reconciling asks of the stores. */
export interface ReconcilePorts {
  readonly log: LogReader
  readonly decode: (record: UsageRecord) => Decoded
  ledgerAndLog(sumLog: SumLog): Promise<LedgerAndLog>
  /** Resolves when ClickHouse holds everything before these offsets; false when it takes too long. */
  awaitAnalytics(cursors: ReadonlyMap<number, number>): Promise<boolean>
  clickHouseDays(cursors: ReadonlyMap<number, number>): AsyncIterable<UsageDay>
  meterCustomer(customerId: string): Promise<MeteredCustomer | null>
  ledgerRows(customerId: string): Promise<{ readonly rows: readonly LedgerRow[]; readonly total: bigint }>
  /** Waits between two looks at a store that moves. */
  pause(): Promise<void>
  /** Milliseconds since the epoch. */
  now(): number
}

export type SumLog = (stretch: {
  readonly partition: number
  readonly from: number
  readonly to: number
  readonly uncounted: ReadonlySet<number>
}) => Promise<readonly UsageDay[]>

export interface LedgerAndLog {
  readonly cursors: ReadonlyMap<number, number>
  readonly ledger: readonly UsageDay[]
  readonly log: readonly UsageDay[]
  readonly withoutLimits: readonly string[]
}

/** One number that two stores tell differently. */
export interface Difference {
  readonly customerId: string
  /** `2026-03-31`, or null for a sum over all time. */
  readonly day: string | null
  readonly what: 'log' | 'clickhouse' | 'redis total' | `redis counter ${string}`
  readonly ledger: string
  readonly other: string
}

export interface CustomerSums {
  readonly customerId: string
  readonly log: bigint
  readonly ledger: bigint
  readonly clickhouse: bigint
  /** Null: the meter can't know now. */
  readonly redis: bigint | null
}

export interface Reconciliation {
  readonly customers: readonly CustomerSums[]
  readonly differences: readonly Difference[]
  /** Customers whose counters still wait for the ledger: not compared with Redis. */
  readonly seeding: readonly string[]
  readonly withoutLimits: readonly string[]
  /** False: ClickHouse did not catch up in time, and every difference of it may be lag. */
  readonly analyticsCaughtUp: boolean
}

/** Looks at a customer in Redis until ledger and meter stand still and agree, at most so often. */
const LOOKS_MAX = 20

export async function reconcile(ports: ReconcilePorts): Promise<Reconciliation> {
  const { cursors, ledger, log, withoutLimits } = await ports.ledgerAndLog((stretch) => sumLog(ports, stretch))
  const analyticsCaughtUp = await ports.awaitAnalytics(cursors)
  const clickhouse: UsageDay[] = []
  for await (const day of ports.clickHouseDays(cursors)) clickhouse.push(day)
  const differences = [...compareDays('log', ledger, log), ...compareDays('clickhouse', ledger, clickhouse)]
  const sums = { log: sumByCustomer(log), ledger: sumByCustomer(ledger), clickhouse: sumByCustomer(clickhouse) }
  const customers: CustomerSums[] = []
  const seeding: string[] = []
  for (const customerId of [
    ...new Set([...sums.log.keys(), ...sums.ledger.keys(), ...sums.clickhouse.keys()])
  ].sort()) {
    const looked = await lookAtMeter(ports, customerId)
    if (looked.seeding) seeding.push(customerId)
    differences.push(...looked.differences)
    customers.push({
      customerId,
      log: sums.log.get(customerId) ?? 0n,
      ledger: sums.ledger.get(customerId) ?? 0n,
      clickhouse: sums.clickhouse.get(customerId) ?? 0n,
      redis: looked.total
    })
  }
  return { customers, differences, seeding, withoutLimits, analyticsCaughtUp }
}

async function sumLog(ports: ReconcilePorts, stretch: Parameters<SumLog>[0]): Promise<readonly UsageDay[]> {
  const days = new UsageDays()
  for await (const batch of ports.log.read(stretch.partition, stretch.from, stretch.to)) {
    for (const record of batch.records) {
      if (stretch.uncounted.has(record.offset)) continue
      const decoded = ports.decode(record)
      // What the ledger counted although it can't be decoded shows as a difference of that day.
      if ('event' in decoded) days.add(decoded.event)
    }
  }
  return days.all()
}

function compareDays(
  what: 'log' | 'clickhouse',
  ledger: readonly UsageDay[],
  other: readonly UsageDay[]
): Difference[] {
  const differences: Difference[] = []
  const others = new Map(other.map((day) => [keyOf(day), day]))
  for (const day of ledger) {
    const twin = others.get(keyOf(day))
    others.delete(keyOf(day))
    if (twin === undefined || tell(day) !== tell(twin)) {
      differences.push({
        customerId: day.customerId,
        day: dayName(day.day),
        what,
        ledger: tell(day),
        other: twin ? tell(twin) : 'nothing'
      })
    }
  }
  for (const day of others.values()) {
    differences.push({ customerId: day.customerId, day: dayName(day.day), what, ledger: 'nothing', other: tell(day) })
  }
  return differences
}

function keyOf(day: UsageDay): string {
  return `${day.day}|${day.customerId}`
}

function tell({ tokens, events }: UsageDay): string {
  const { input, cacheRead, cacheWrite, output, reasoning } = tokens
  return `${input}+${cacheRead}+${cacheWrite}+${output}+${reasoning} tokens of ${events} events`
}

function sumByCustomer(days: readonly UsageDay[]): Map<string, bigint> {
  const sums = new Map<string, bigint>()
  for (const day of days) sums.set(day.customerId, (sums.get(day.customerId) ?? 0n) + totalOf(day))
  return sums
}

interface MeterLook {
  readonly total: bigint | null
  readonly seeding: boolean
  readonly differences: readonly Difference[]
}

/** Redis runs ahead of the ledger by at most a flush: only a difference that stays while both stand still is one. */
async function lookAtMeter(ports: ReconcilePorts, customerId: string): Promise<MeterLook> {
  let before = ''
  let look: MeterLook = { total: null, seeding: false, differences: [] }
  for (let i = 0; i < LOOKS_MAX; i++) {
    const meter = await ports.meterCustomer(customerId)
    if (meter !== null) {
      const ledger = await ports.ledgerRows(customerId)
      const differences = meter.seeding ? [] : compareMeter(meter, { customerId, now: ports.now(), ...ledger })
      look = { total: BigInt(meter.total), seeding: meter.seeding, differences }
      const now = `${meter.total}|${ledger.total}`
      if (!meter.seeding && (differences.length === 0 || now === before)) return look
      before = now
    }
    await ports.pause()
  }
  if (look.total !== null) return look
  return {
    ...look,
    differences: [{ customerId, day: null, what: 'redis total', ledger: 'unknown', other: "the meter can't know" }]
  }
}

interface LedgerLook {
  readonly customerId: string
  readonly now: number
  readonly rows: readonly LedgerRow[]
  readonly total: bigint
}

function compareMeter(meter: MeteredCustomer, ledger: LedgerLook): Difference[] {
  const { customerId, rows, now, total } = ledger
  const counters = compareCounters(meter, { before: rows, after: rows, now }).map((one) => ({
    customerId,
    day: null,
    what: `redis counter ${nameOfAmount(one)}` as const,
    ledger: String(one.ledger),
    other: String(one.other)
  }))
  if (total === BigInt(meter.total)) return counters
  const ofAll = {
    customerId,
    day: null,
    what: 'redis total',
    ledger: String(total),
    other: String(meter.total)
  } as const
  return [ofAll, ...counters]
}
