/**
 * Postgres in memory: the ledger with its cursors, as consumers and repairers see it, the bounds of ClickHouse's blocks, and the
 * customers' limits. Each method is one transaction, and keeps the promise written on its port.
 */
import type {
  LedgerCustomer,
  LedgerFlush,
  LedgerPosition,
  LedgerRepair,
  LedgerRow,
  UsageLedger
} from '../../domain/ports.ts'
import type { CustomerLimits } from '../../domain/tokens/limit.ts'
import { NO_TOKENS, TOKEN_POOLS, type TokenPool } from '../../domain/tokens/token-pools.ts'
import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import type { UsageTopic } from './log-models.ts'
import type { SimulatedProcess, World } from './world.ts'

const CUT_PART_ROWS = 2
const CHUNK_CUSTOMERS = 2

type KeptRow = { -readonly [K in keyof LedgerRow]: K extends 'tokens' ? Record<TokenPool, number> : LedgerRow[K] }

interface KeptPartition {
  position: LedgerPosition
  readonly rows: Map<string, KeptRow>
  readonly uncounted: Map<number, UncountedReason>
  /** Of ClickHouse's blocks. */
  done: number
  next: { from: number; to: number } | null
}

interface KeptLimits {
  readonly limits: CustomerLimits
  readonly renewAt: number
}

export class Postgres {
  readonly partitions: readonly KeptPartition[]
  readonly limits = new Map<string, KeptLimits>()
  readonly #world: World
  readonly #topic: UsageTopic
  readonly #repairers = new Map<number, SimulatedProcess>()
  readonly #generations: number[]

  constructor(world: World, topic: UsageTopic, shards: number) {
    this.#world = world
    this.#topic = topic
    this.#generations = new Array(shards).fill(0)
    const position = {
      cursor: 0,
      previousArrivedAt: null,
      generations: [...this.#generations],
      shardCursors: [...this.#generations]
    }
    this.partitions = topic.partitions.map(() => ({
      position,
      rows: new Map(),
      uncounted: new Map(),
      done: 0,
      next: null
    }))
    world.onEnd.push((process) => this.endSessions(process))
  }

  partition(partition: number): KeptPartition {
    const kept = this.partitions[partition]
    if (kept === undefined) throw new RangeError(`no partition ${partition}`)
    return kept
  }

  generation(shard: number): number {
    return this.#generations[shard] ?? 0
  }

  /** Advisory locks go with their session. */
  endSessions(process: SimulatedProcess): void {
    for (const [shard, repairer] of this.#repairers) if (repairer === process) this.#repairers.delete(shard)
  }

  /** Who holds the advisory lock of a shard. */
  repairer(shard: number): SimulatedProcess | undefined {
    return this.#repairers.get(shard)
  }

  takeLock(shard: number, process: SimulatedProcess): boolean {
    if (this.#repairers.has(shard)) return false
    this.#repairers.set(shard, process)
    return true
  }

  freeLock(shard: number, process: SimulatedProcess): void {
    if (this.#repairers.get(shard) === process) this.#repairers.delete(shard)
  }

  raiseGeneration(shard: number, from: number): number | null {
    if (this.generation(shard) !== from) return null
    const raised = from + 1
    this.#generations[shard] = raised
    for (const kept of this.partitions) kept.position = { ...kept.position, generations: [...this.#generations] }
    return raised
  }

  standsAt(partition: number, position: LedgerPosition): boolean {
    const { cursor, generations } = this.partition(partition).position
    return cursor === position.cursor && generations.join() === position.generations.join()
  }

  flush(flush: LedgerFlush): 'moved' | 'fenced' {
    const { partition, from, to, rows, uncounted } = flush
    if (!this.standsAt(partition, from)) return 'fenced'
    const kept = this.partition(partition)
    for (const row of rows) this.#add(kept, row)
    for (const { offset, reason } of uncounted) {
      if (offset < from.cursor || offset >= to.cursor)
        this.#world.wrong.push(`offset ${partition}:${offset} is left out by a flush that does not cover it`)
      if (kept.uncounted.has(offset)) this.#world.wrong.push(`offset ${partition}:${offset} is left out twice`)
      if (reason !== 'duplicate' && !this.#topic.deadLetters.has(`${partition}:${offset}:${reason}`))
        this.#world.wrong.push(`the ledger passed ${partition}:${offset}, ${reason}, before it was a dead letter`)
      kept.uncounted.set(offset, reason)
    }
    kept.position = to
    return 'moved'
  }

  #add(kept: KeptPartition, row: LedgerRow): void {
    const { customerId, userId, model, quarter } = row
    const key = keyOf(row)
    const sum = kept.rows.get(key) ?? { customerId, userId, model, quarter, tokens: { ...NO_TOKENS }, events: 0 }
    for (const pool of TOKEN_POOLS) sum.tokens[pool] += row.tokens[pool]
    sum.events += row.events
    kept.rows.set(key, sum)
  }

  rowsOf(partition: number, customerId: string): LedgerRow[] {
    const rows = [...this.partition(partition).rows.values()].filter((row) => row.customerId === customerId)
    return rows.map((row) => ({ ...row, tokens: { ...row.tokens } }))
  }

  customer(customerId: string, sinceQuarter: number): LedgerCustomer {
    const rows = this.partitions.flatMap((_, partition) => this.rowsOf(partition, customerId))
    const total = rows.reduce((sum, { tokens }) => sum + TOKEN_POOLS.reduce((all, pool) => all + tokens[pool], 0), 0)
    const limits = this.limits.get(customerId)?.limits ?? null
    return { customerId, total: BigInt(total), limits, rows: rows.filter(({ quarter }) => quarter >= sinceQuarter) }
  }

  customerIds(): string[] {
    const counted = this.partitions.flatMap(({ rows }) => [...rows.values()].map(({ customerId }) => customerId))
    return [...new Set([...counted, ...this.limits.keys()])].sort()
  }
}

function keyOf({ customerId, userId, model, quarter }: LedgerRow): string {
  return [customerId, userId, model, String(quarter).padStart(10, '0')].join('|')
}

export function simulatedLedger(process: SimulatedProcess, postgres: Postgres): UsageLedger {
  return {
    open: (partition) => process.call('ledger open', () => postgres.partition(partition).position),
    flush: (flush) =>
      process.call(`flush ${flush.partition} ${flush.from.cursor}-${flush.to.cursor}`, () => {
        const outcome = postgres.flush(flush)
        if (outcome === 'fenced') process.world.tell(`${process.name}: fenced`)
        return outcome
      }),
    readForCuts: ({ partition, position, cuts }) =>
      process.call(`read for cuts of ${cuts.map(({ customerId, after }) => `${customerId} after ${after}`)}`, () => {
        if (!postgres.standsAt(partition, position)) return { refused: true }
        const parts = cuts.map(({ customerId, sinceQuarter, after }) => {
          const all = postgres
            .rowsOf(partition, customerId)
            .filter((row) => row.quarter >= sinceQuarter && keyOf(row) > after)
          const rows = all.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)).slice(0, CUT_PART_ROWS)
          const last = rows.at(-1)
          return { rows, next: last === undefined || rows.length < CUT_PART_ROWS ? null : keyOf(last) }
        })
        return { refused: false, parts }
      })
  }
}

export function simulatedLedgerRepair(process: SimulatedProcess, postgres: Postgres): LedgerRepair {
  return {
    async withLock(shard, work) {
      if (!(await process.call(`lock ${shard}`, () => postgres.takeLock(shard, process), { failure: null })))
        return null
      try {
        return await work()
      } finally {
        await process.call(`unlock ${shard}`, () => postgres.freeLock(shard, process), { failure: null })
      }
    },
    raiseGeneration: (shard, from) =>
      process.call(`raise ${shard} from ${from}`, () => postgres.raiseGeneration(shard, from)),
    cursors: () => process.call('cursors', () => postgres.partitions.map(({ position }) => position.cursor)),
    uncounted: (partition, from, to) => process.call('uncounted', () => uncountedIn(postgres, partition, { from, to })),
    limits: (after) =>
      process.call(`limits after ${after}`, () => {
        const all = [...postgres.limits.values()]
          .map(({ limits }) => limits)
          .filter(({ customerId }) => customerId > after)
        const limits = all.sort((a, b) => (a.customerId < b.customerId ? -1 : 1)).slice(0, CHUNK_CUSTOMERS)
        return { limits, next: all.length > CHUNK_CUSTOMERS ? (limits.at(-1)?.customerId ?? null) : null }
      }),
    customers: (after, sinceQuarter) =>
      process.call(`customers after ${after}`, () => {
        const ids = postgres.customerIds().filter((id) => id > after)
        const customers = ids.slice(0, CHUNK_CUSTOMERS).map((id) => postgres.customer(id, sinceQuarter))
        return { customers, next: ids.length > CHUNK_CUSTOMERS ? (customers.at(-1)?.customerId ?? null) : null }
      })
  }
}

export function uncountedIn(
  postgres: Postgres,
  partition: number,
  stretch: { from: number; to: number }
): ReadonlySet<number> {
  const offsets = [...postgres.partition(partition).uncounted.keys()]
  return new Set(offsets.filter((offset) => offset >= stretch.from && offset < stretch.to))
}
