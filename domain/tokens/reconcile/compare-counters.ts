/**
 * Does what the meter has counted of a customer agree with the ledger? Redis runs ahead of the ledger, by what the consumer has not
 * flushed yet. So it is held against two looks at the ledger: one from before the meter was asked, and one from when the ledger
 * had passed everything that the meter had counted by then. Each counter has to lie in between. Where both looks say the same it
 * has to be that; where usage came in meanwhile, a difference smaller than that usage is not seen.
 */
import type { CounterAmount, LedgerRow } from '../../ports.ts'
import { amountsOf } from '../counter-amounts.ts'
import type { Counter } from '../limit.ts'
import { quarterOf } from '../quarter-hour.ts'

/** What the meter has counted of a customer. */
export interface MeteredCustomer {
  /** All tokens ever. */
  readonly total: number
  readonly counters: readonly Counter[]
  readonly amounts: readonly CounterAmount[]
  /** Some counter still waits for what the ledger held before it began: no amount says anything. */
  readonly seeding: boolean
}

/** One sum that meter and ledger tell differently. */
export interface CounterDifference {
  /** Scope, measure and kind of window, as compile-limits.ts spells them. */
  readonly counterId: string
  /** Of the counter's window; of a rolling counter the quarter itself. */
  readonly startQuarter: number
  /** The user or model of an each-user or each-model counter, else empty. */
  readonly subject: string
  /** Tokens, or for a cost Σ tokens × weight. Of two looks that differ, the one that is nearer. */
  readonly ledger: bigint
  readonly other: bigint
  /** Both looks at the ledger said the same: nothing that arrives later makes it right. */
  readonly isSettled: boolean
}

export interface LedgerLooks {
  /** Read before the meter was asked. Rows between two quarters of `separatingQuarters` may be added up. */
  readonly before: readonly LedgerRow[]
  /** Read after the ledger had passed what the meter had counted. The same list when the ledger stood still. */
  readonly after: readonly LedgerRow[]
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** Quarter-hours that a rolling limit no longer looks at may lack late events, and are dropped when the counter is next used. */
export function compareCounters(meter: MeteredCustomer, { before, after, now }: LedgerLooks): CounterDifference[] {
  const isLookedAt = lookedAt(meter.counters, now)
  const expectedOf = (rows: readonly LedgerRow[]): ReadonlyMap<string, CounterAmount> =>
    byName(amountsOf(meter.counters, rows, 0).filter(isLookedAt))
  const late = expectedOf(after)
  const early = before === after ? late : expectedOf(before)
  const metered = byName(meter.amounts.filter(isLookedAt))
  const differences: CounterDifference[] = []
  for (const [name, { counterId, startQuarter, subject }] of new Map([...metered, ...late, ...early])) {
    const other = metered.get(name)?.amount ?? 0
    const bounds = [early.get(name)?.amount ?? 0, late.get(name)?.amount ?? 0] as const
    const ledger = Math.min(Math.max(other, Math.min(...bounds)), Math.max(...bounds))
    if (ledger === other) continue
    const isSettled = bounds[0] === bounds[1]
    differences.push({
      counterId,
      startQuarter,
      subject,
      ledger: BigInt(ledger),
      other: BigInt(other),
      isSettled
    })
  }
  return differences
}

/** Spells a counter's window and subject, as people are told of it. */
export function nameOfAmount({ counterId, startQuarter, subject }: Omit<CounterAmount, 'amount'>): string {
  return `${counterId}@${startQuarter}${subject === '' ? '' : `#${subject}`}`
}

/**
 * Quarters, ascending, between which rows of the ledger may be added up without changing what they come to in any counter; what lies
 * before the first counts nowhere. A rolling counter is told quarter by quarter, up to the one after next: events may be a lead
 * ahead of the clock.
 */
export function separatingQuarters(counters: readonly Counter[], now: number): readonly number[] {
  const quarters = new Set<number>()
  for (const { windows, rollingHours } of counters) {
    for (const bound of windows.flat()) quarters.add(bound)
    if (rollingHours === 0) continue
    for (let quarter = firstOfRolling(rollingHours, now); quarter <= quarterOf(now) + 2; quarter++)
      quarters.add(quarter)
  }
  return [...quarters].sort((a, b) => a - b)
}

function lookedAt(counters: readonly Counter[], now: number): (amount: CounterAmount) => boolean {
  const firstQuarters = new Map(
    counters
      .filter(({ rollingHours }) => rollingHours > 0)
      .map(({ id, rollingHours }) => [id, firstOfRolling(rollingHours, now)])
  )
  return ({ counterId, startQuarter }) => startQuarter >= (firstQuarters.get(counterId) ?? startQuarter)
}

function firstOfRolling(rollingHours: number, now: number): number {
  return quarterOf(now) - rollingHours * 4 + 1
}

function byName(amounts: readonly CounterAmount[]): Map<string, CounterAmount> {
  return new Map(amounts.map((amount) => [nameOfAmount(amount), amount]))
}
