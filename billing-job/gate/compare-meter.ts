/**
 * Does the meter agree with the ledger about everybody who has limits? Most do at the first look. The others may just be used: the
 * ledger is read, the meter, and the ledger again once it has passed what the meter had counted (compare-counters.ts).
 *
 * What is billed is the ledger, and ClickHouse confirms it for the period to the token; the meter is a third opinion on whatever its
 * limits count. So a customer about whom it has none is billed:
 *   seeding        its counters still wait for the ledger at the deadline
 *   unflushed      the ledger does not pass what the meter has counted: what the gate demands of it, it has
 *   limits set     meanwhile: other counters than those that the ledger was read for
 * A shard that can't know, restarted or under repair, is a store that is away: a RetryableError, and the run comes back to it.
 */
import type { GateLedger, GateMeter } from '../../domain/billing/invoices/gate-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { LedgerRow } from '../../domain/ports.ts'
import {
  type CounterDifference,
  compareCounters,
  type MeteredCustomer,
  separatingQuarters
} from '../../domain/tokens/reconcile/compare-counters.ts'
import { type Clock, type Deadline, inBatches } from './patience.ts'

export interface MeterPorts {
  readonly ledger: Pick<GateLedger, 'stands' | 'counterRows'>
  readonly meter: GateMeter
  readonly clock: Clock
}

/** Customers at a time: some 50 ms in which Redis answers these scripts between those of checks. */
const CUSTOMERS_A_BATCH = 500
/** Looks in a row in which counters that move have to lie outside of what the ledger says: corrections may make it look so once. */
const MOVING_LOOKS = 3

/** A customer who is to be looked at again. */
interface Open {
  readonly customerId: string
  /** Null: the shard could not know. */
  readonly metered: MeteredCustomer | null
  /** The last looks in a row that differed in counters which usage moves. */
  readonly movingLooks: number
}

type Rows = ReadonlyMap<string, readonly LedgerRow[]>

/** Differences by customer. */
export async function compareMeter(
  customerIds: readonly string[],
  ports: MeterPorts,
  deadline: Deadline
): Promise<ReadonlyMap<string, readonly CounterDifference[]>> {
  const differing = new Map<string, readonly CounterDifference[]>()
  let open = await firstLook(customerIds, ports)
  while (open.length > 0) {
    open = await lookAgain(open, { ...ports, differing }, deadline)
    if (open.length > 0 && !(await deadline.pause())) break
  }
  for (const { customerId, metered } of open) {
    if (metered === null) {
      throw new RetryableError(
        'meter-unavailable',
        `the shard of ${customerId} can't be used: nothing is billed without it`
      )
    }
  }
  return differing
}

async function firstLook(
  customerIds: readonly string[],
  { ledger, meter, clock }: MeterPorts
): Promise<readonly Open[]> {
  const open: Open[] = []
  for (const batch of inBatches(customerIds, CUSTOMERS_A_BATCH)) {
    const metered = await meter.customers(batch)
    const now = clock.now()
    const rows = await counterRows(ledger, metered, now)
    for (const [customerId, found] of metered) {
      const ofLedger = rows.get(customerId) ?? []
      // Without limits there is no counter to compare.
      if (found?.counters.length === 0) continue
      const differs = (): boolean =>
        found === null || compareCounters(found, { before: ofLedger, after: ofLedger, now }).length > 0
      if (found?.seeding || differs()) open.push({ customerId, metered: found, movingLooks: 0 })
    }
  }
  return open
}

/** Those that are still open; those that differ are added. */
async function lookAgain(
  open: readonly Open[],
  ports: MeterPorts & { readonly differing: Map<string, readonly CounterDifference[]> },
  deadline: Deadline
): Promise<readonly Open[]> {
  const { ledger, meter, clock, differing } = ports
  const now = clock.now()
  const known = new Map(open.map(({ customerId, metered }) => [customerId, metered]))
  const before = await counterRows(ledger, known, now)
  const metered = new Map<string, MeteredCustomer | null>()
  for (const batch of inBatches([...known.keys()], CUSTOMERS_A_BATCH)) {
    for (const [customerId, found] of await meter.customers(batch)) metered.set(customerId, found)
  }
  const isFlushed = await awaitLedger(ledger, await meter.countedThrough([...known.keys()]), deadline)
  const after = await counterRows(ledger, known, now)
  const still: Open[] = []
  for (const last of open) {
    const { customerId } = last
    const found = metered.get(customerId) ?? null
    if (found === null || found.seeding || !isFlushed || !sameCounters(found, last.metered)) {
      still.push({ customerId, metered: found, movingLooks: 0 })
      continue
    }
    const looks = { before: before.get(customerId) ?? [], after: after.get(customerId) ?? [], now }
    const differences = compareCounters(found, looks)
    const settled = differences.filter(({ isSettled }) => isSettled)
    const movingLooks = last.movingLooks + 1
    if (settled.length > 0) differing.set(customerId, settled)
    else if (differences.length > 0 && movingLooks >= MOVING_LOOKS) differing.set(customerId, differences)
    else if (differences.length > 0) still.push({ customerId, metered: found, movingLooks })
  }
  return still
}

async function counterRows(
  ledger: Pick<GateLedger, 'counterRows'>,
  metered: ReadonlyMap<string, MeteredCustomer | null>,
  now: number
): Promise<Rows> {
  const asked = [...metered].flatMap(([customerId, found]) => {
    const quarters = separatingQuarters(found?.counters ?? [], now)
    return quarters.length === 0 ? [] : [{ customerId, quarters }]
  })
  const rows = new Map<string, readonly LedgerRow[]>()
  for (const batch of inBatches(asked, CUSTOMERS_A_BATCH)) {
    for (const [customerId, ofCustomer] of await ledger.counterRows(batch)) rows.set(customerId, ofCustomer)
  }
  return rows
}

/** False when the ledger has not got there by the deadline. */
async function awaitLedger(
  ledger: Pick<GateLedger, 'stands'>,
  countedThrough: ReadonlyMap<number, number>,
  deadline: Deadline
): Promise<boolean> {
  for (;;) {
    const stands = await ledger.stands()
    if ([...countedThrough].every(([partition, offset]) => (stands.get(partition)?.ledger ?? 0) >= offset)) return true
    if (!(await deadline.pause())) return false
  }
}

/** Limits that are set anew bring other counters or windows: what the ledger was read for then says nothing about them. */
function sameCounters(one: MeteredCustomer, other: MeteredCustomer | null): boolean {
  return JSON.stringify(one.counters) === JSON.stringify(other?.counters)
}
