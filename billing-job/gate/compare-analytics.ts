/**
 * Does ClickHouse have of each stretch what the ledger has? Sums are compared first, as they were given. Where they differ, usage may
 * just have come late, so both are asked again: the ledger, then ClickHouse once it has everything that the ledger had, then the
 * ledger once more. A stretch that the ledger told alike both times and ClickHouse otherwise differs.
 */
import type { CustomerStretch, LedgerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import type {
  GateLedger,
  PartitionStand,
  QuarterTokens,
  StretchSums
} from '../../domain/billing/invoices/gate-ports.ts'
import type { ParkReason, StoreDifference } from '../../domain/billing/invoices/park-reason.ts'
import { TOKEN_POOLS, type TokenPool } from '../../domain/tokens/token-pools.ts'
import { type Deadline, inBatches } from './patience.ts'

export interface AnalyticsPorts {
  readonly ledger: Pick<GateLedger, 'stands' | 'stretchSums' | 'quarterSums'>
  readonly analytics: StretchSums
}

/** Stretches that one statement asks about: some 30 KB of parameters, some 10,000 rows. */
export const STRETCHES_A_STATEMENT = 500
/** Differences that a reason names. */
export const DIFFERENCES_TOLD_MAX = 10
/** Stretches that are looked at by the quarter-hour, thousands of rows each; further ones are told as a whole. */
const NARROWED_MAX = 50

type ModelTokens = ReadonlyMap<string, Readonly<Record<TokenPool, bigint>>>

interface Differing {
  readonly stretch: CustomerStretch
  readonly ledger: ModelTokens
  readonly other: ModelTokens
}

/** Customers that differ, or for whom ClickHouse can't say before the deadline. */
export async function compareAnalytics(
  stretches: readonly LedgerStretch[],
  { ledger, analytics }: AnalyticsPorts,
  deadline: Deadline
): Promise<ReadonlyMap<string, ParkReason>> {
  const told = await sumsOf(analytics, stretches)
  const suspects = stretches.filter(({ models }, i) => !agree(models, told[i] ?? new Map()))
  if (suspects.length === 0) return new Map()
  const { differing, behind, lagging } = await lookAgain(suspects, { ledger, analytics }, deadline)
  const reasons = new Map<string, ParkReason>()
  for (const { customerId } of behind) reasons.set(customerId, { code: 'analytics-behind', partitions: lagging })
  const narrowed = await narrow(differing, { ledger, analytics })
  for (const [customerId, ofCustomer] of Map.groupBy(narrowed, ({ stretch }) => stretch.customerId)) {
    const differences = ofCustomer.flatMap(({ differences }) => differences).slice(0, DIFFERENCES_TOLD_MAX)
    reasons.set(customerId, { code: 'stores-differ', store: 'clickhouse', differences })
  }
  return reasons
}

interface Looked {
  readonly differing: readonly Differing[]
  /** ClickHouse had not caught up with them in time, or usage of them did not stop coming. */
  readonly behind: readonly CustomerStretch[]
  readonly lagging: readonly number[]
}

async function lookAgain(
  suspects: readonly CustomerStretch[],
  { ledger, analytics }: AnalyticsPorts,
  deadline: Deadline
): Promise<Looked> {
  const differing: Differing[] = []
  let open = suspects
  for (;;) {
    const before = await sumsOf(ledger, open)
    const lagging = await awaitAnalytics(ledger, deadline)
    if (lagging.length > 0) return { differing, behind: open, lagging }
    const others = await sumsOf(analytics, open)
    const after = await sumsOf(ledger, open)
    const moving: CustomerStretch[] = []
    for (const [i, stretch] of open.entries()) {
      const [early, other, late] = [before[i] ?? new Map(), others[i] ?? new Map(), after[i] ?? new Map()]
      if (!agree(early, late)) moving.push(stretch)
      else if (!agree(late, other)) differing.push({ stretch, ledger: late, other })
    }
    open = moving
    if (open.length === 0) return { differing, behind: [], lagging: [] }
    if (!(await deadline.pause())) return { differing, behind: open, lagging: laggingOf(await ledger.stands()) }
  }
}

/** Resolves when ClickHouse has everything that the ledger had at the call; else, at the deadline, with the partitions that lag. */
async function awaitAnalytics(ledger: Pick<GateLedger, 'stands'>, deadline: Deadline): Promise<readonly number[]> {
  const goal = await ledger.stands()
  for (let stands = goal; ; stands = await ledger.stands()) {
    const lagging = laggingOf(goal, stands)
    if (lagging.length === 0 || !(await deadline.pause())) return lagging
  }
}

function laggingOf(
  goal: ReadonlyMap<number, PartitionStand>,
  stands: ReadonlyMap<number, PartitionStand> = goal
): readonly number[] {
  return [...goal]
    .filter(([partition, { ledger }]) => (stands.get(partition)?.analytics ?? 0) < ledger)
    .map(([partition]) => partition)
    .sort((a, b) => a - b)
}

/** In the order of the stretches, models without usage left out. */
async function sumsOf(store: StretchSums, stretches: readonly CustomerStretch[]): Promise<readonly ModelTokens[]> {
  const sums: ModelTokens[] = []
  for (const batch of inBatches(stretches, STRETCHES_A_STATEMENT)) {
    const rows = Map.groupBy(await store.stretchSums(batch), ({ stretch }) => stretch)
    for (const i of batch.keys()) sums.push(new Map((rows.get(i) ?? []).map(({ model, tokens }) => [model, tokens])))
  }
  return sums
}

function agree(one: ModelTokens, other: ModelTokens): boolean {
  return differencesOf(one, other).length === 0
}

function differencesOf(ledger: ModelTokens, other: ModelTokens): Omit<StoreDifference, 'from' | 'to'>[] {
  return [...new Set([...ledger.keys(), ...other.keys()])].sort().flatMap((model) =>
    TOKEN_POOLS.map((pool) => ({
      model,
      pool,
      ledger: ledger.get(model)?.[pool] ?? 0n,
      other: other.get(model)?.[pool] ?? 0n
    })).filter((sums) => sums.ledger !== sums.other)
  )
}

interface Told {
  readonly stretch: CustomerStretch
  readonly differences: readonly StoreDifference[]
}

/** Differences from the first quarter to the last one in which the stores differ, of so many stretches as are cheap to look at. */
async function narrow(
  differing: readonly Differing[],
  { ledger, analytics }: AnalyticsPorts
): Promise<readonly Told[]> {
  const looked = differing.slice(0, NARROWED_MAX)
  const stretches = looked.map(({ stretch }) => stretch)
  const quarters =
    stretches.length === 0
      ? { ledger: [], other: [] }
      : { ledger: await ledger.quarterSums(stretches), other: await analytics.quarterSums(stretches) }
  const byStretch = {
    ledger: Map.groupBy(quarters.ledger, ({ stretch }) => stretch),
    other: Map.groupBy(quarters.other, ({ stretch }) => stretch)
  }
  return differing.map(({ stretch, ledger: ledgerSums, other }, i) => ({
    stretch,
    differences: differencesOf(ledgerSums, other).map((sums) => {
      const whole = { ...sums, from: stretch.from, to: stretch.to }
      if (i >= looked.length) return whole
      return narrowed(whole, byStretch.ledger.get(i) ?? [], byStretch.other.get(i) ?? [])
    })
  }))
}

/** The difference as it is, when the quarters do not sum to it: usage came meanwhile. */
function narrowed(
  whole: StoreDifference,
  ledgerRows: readonly QuarterTokens[],
  otherRows: readonly QuarterTokens[]
): StoreDifference {
  const ledger = tokensByQuarter(ledgerRows, whole)
  const other = tokensByQuarter(otherRows, whole)
  if (sum(ledger.values()) !== whole.ledger || sum(other.values()) !== whole.other) return whole
  const quarters = [...new Set([...ledger.keys(), ...other.keys()])]
    .filter((quarter) => (ledger.get(quarter) ?? 0n) !== (other.get(quarter) ?? 0n))
    .sort((a, b) => a - b)
  const [from = whole.from, to = (quarters.at(-1) ?? whole.to - 1) + 1] = [quarters[0]]
  const within = (tokens: ReadonlyMap<number, bigint>): bigint =>
    sum([...tokens].filter(([quarter]) => quarter >= from && quarter < to).map(([, amount]) => amount))
  return { ...whole, from, to, ledger: within(ledger), other: within(other) }
}

function tokensByQuarter(
  rows: readonly QuarterTokens[],
  { model, pool }: Pick<StoreDifference, 'model' | 'pool'>
): ReadonlyMap<number, bigint> {
  return new Map(rows.filter((row) => row.model === model).map(({ quarter, tokens }) => [quarter, tokens[pool]]))
}

function sum(amounts: Iterable<bigint>): bigint {
  let total = 0n
  for (const amount of amounts) total += amount
  return total
}
