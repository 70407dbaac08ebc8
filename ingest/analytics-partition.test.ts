// The product's own loop on models of its ports that keep the promises written there. The adapters have tests of their own.

import fc from 'fast-check'
import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import type { AnalyticsBlocks, Block, MeteredEvent, PartitionSource, UsageLog, Work } from '../domain/ports.ts'
import type { UsageRecord } from '../domain/tokens/usage-event.ts'
import { usageEvent } from '../test/counted-events.ts'
import { type AnalyticsReport, runAnalyticsPartition } from './analytics-partition.ts'

/** Same seed, same history. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const STEPS_MAX = 50_000

/** One partition: its log, what the ledger says of it, and the two stores the loop moves. */
class World {
  readonly random: () => number
  /** Offsets that hold a record; the others are holes. */
  readonly offsets: readonly number[]
  readonly end: number
  readonly uncounted: ReadonlySet<number>
  readonly tokens = new Set<string>()
  readonly rows: number[] = []
  ledgerCursor = 0
  done = 0
  next: Block | null = null
  chaos = true
  clickHouseIsAway = false
  opens = 0
  #steps = 0
  readonly reports: AnalyticsReport[] = []

  constructor(seed: number, length: number) {
    this.random = randomFrom(seed)
    this.end = length
    this.offsets = Array.from({ length }, (_, offset) => offset).filter(() => this.random() < 0.9)
    this.uncounted = new Set(this.offsets.filter(() => this.random() < 0.2))
  }

  /** Other work goes on meanwhile; with chaos, a call fails before its effect or loses its answer. */
  async call<T>(effect: () => T): Promise<T> {
    for (let turns = Math.floor(this.random() * 4); turns > 0; turns--) await Promise.resolve()
    const fate = this.chaos ? this.random() : 1
    if (fate < 0.05) throw new RetryableError('away', 'before the effect')
    const answer = effect()
    if (fate < 0.1) throw new RetryableError('away', 'after the effect')
    return answer
  }

  readonly blocks: AnalyticsBlocks = {
    open: () => this.call(() => ({ done: this.done, next: this.next, ledgerCursor: this.ledgerCursor })),
    record: (_, block) =>
      this.call(() => {
        if (block.to > this.ledgerCursor) throw new Error(`${block.to} is past L ${this.ledgerCursor}`)
        if (this.next !== null || block.from !== this.done) return false
        this.next = block
        return true
      }),
    finish: (_, block) =>
      this.call(() => {
        if (this.next?.from !== block.from || this.next.to !== block.to) return false
        this.done = block.to
        this.next = null
        return true
      }),
    uncounted: (_, from, to) =>
      this.call(() => new Set([...this.uncounted].filter((offset) => offset >= from && offset < to)))
  }

  readonly log: UsageLog = {
    append: (_, block: Block, events: readonly MeteredEvent[]) =>
      this.call(() => {
        if (this.clickHouseIsAway) throw new RetryableError('away', 'ClickHouse is away')
        const token = `${block.from}-${block.to}`
        if (this.tokens.has(token)) return
        this.tokens.add(token)
        this.rows.push(...events.map(({ offset }) => offset))
      })
  }

  /** Gives batches, and ticks in between, until `isOver`. */
  source(isOver: () => boolean): PartitionSource {
    let position = 0
    return {
      open: (offset) =>
        this.call(() => {
          this.opens++
          position = offset
        }),
      next: async (): Promise<Work> => {
        for (let turns = Math.floor(this.random() * 4); turns > 0; turns--) await Promise.resolve()
        if (++this.#steps > STEPS_MAX) throw new Error(`the history has not ended after ${STEPS_MAX} steps`)
        if (isOver()) return { kind: 'stop' }
        this.ledgerCursor = Math.min(this.end, this.ledgerCursor + Math.floor(this.random() * 4))
        if (position >= this.end || this.random() < 0.3) return { kind: 'tick', drainedAt: null }
        const from = position
        position = Math.min(this.end, position + 1 + Math.floor(this.random() * 7))
        const records = this.offsets.filter((offset) => offset >= from && offset < position).map(recordAt)
        return { kind: 'batch', batch: { from, to: position, records } }
      },
      report: () => undefined
    }
  }

  /** A consumer that is started again when a store was away, until `isOver`. */
  async consume(isOver: () => boolean): Promise<void> {
    const source = this.source(isOver)
    while (!isOver()) {
      try {
        await runAnalyticsPartition({
          partition: 0,
          source,
          blocks: this.blocks,
          log: this.log,
          decode: ({ offset }) => ({ event: usageEvent({ id: `${offset}` }) }),
          blockEventsMax: 5,
          report: (report) => this.reports.push(report)
        })
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
      }
    }
  }

  get counted(): number[] {
    return this.offsets.filter((offset) => !this.uncounted.has(offset))
  }
}

function recordAt(offset: number): UsageRecord {
  return { offset, arrivedAt: offset, key: null, value: null, headers: {} }
}

t.test('whatever fails, and whoever overtakes whom, each counted event is appended once and no other', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 120 }), async (seed, length) => {
      const world = new World(seed, length)
      let steps = 0
      const isDone = () => world.done >= world.end
      // Two consumers of one partition, as after a rebalance that the first did not notice; the second may die.
      await Promise.all([
        world.consume(() => {
          if (++steps > 3_000) world.chaos = false
          return isDone()
        }),
        world.consume(() => isDone() || world.random() < 0.002)
      ])
      const rows = [...world.rows].sort((a, b) => a - b)
      return JSON.stringify(rows) === JSON.stringify(world.counted)
    }),
    { numRuns: 300 }
  )
})

t.test(
  'while ClickHouse is away it reads on but holds no more than its bound, and appends all afterwards',
  async (t) => {
    const world = new World(7, 600)
    world.chaos = false
    world.ledgerCursor = world.end
    world.clickHouseIsAway = true
    let asked = 0
    await world.consume(() => {
      if (++asked === 2_000) world.clickHouseIsAway = false
      return world.done >= world.end
    })
    t.same(world.rows, world.counted)
    t.ok(world.reports.some(({ kind }) => kind === 'delayed'))
    t.ok(world.opens > 1, 'what it had dropped was read again')
  }
)

t.test('what was counted but can not be read is a defect, not a loss', async (t) => {
  const world = new World(1, 20)
  world.chaos = false
  world.ledgerCursor = world.end
  const run = runAnalyticsPartition({
    partition: 3,
    source: world.source(() => false),
    blocks: world.blocks,
    log: world.log,
    decode: () => ({ rejection: { code: 'not-json', field: null, message: 'no' } }),
    blockEventsMax: 5
  })
  await t.rejects(run, { message: /of partition 3 was counted, but reads as not-json/ })
})

/** Gives each list of records as a batch with a tick after it; an empty list is a tick without a batch. */
async function blocksOf(batchSizes: readonly number[]): Promise<readonly Block[]> {
  const world = new World(1, 0)
  world.chaos = false
  world.ledgerCursor = Number.MAX_SAFE_INTEGER
  let position = 0
  const works: Work[] = batchSizes.flatMap((size): Work[] => {
    const tick: Work = { kind: 'tick', drainedAt: null }
    if (size === 0) return [tick]
    const from = position
    position += size
    const records = Array.from({ length: size }, (_, i) => recordAt(from + i))
    return [{ kind: 'batch', batch: { from, to: position, records } }, tick]
  })
  const appended: Block[] = []
  await runAnalyticsPartition({
    partition: 0,
    source: {
      open: async () => undefined,
      next: async () => works.shift() ?? { kind: 'stop' },
      report: () => undefined
    },
    blocks: world.blocks,
    log: { append: async (_, block) => void appended.push(block) },
    decode: ({ offset }) => ({ event: usageEvent({ id: `${offset}` }) }),
    blockEventsMax: 50_000
  })
  return appended
}

t.test('a block that grows fast waits for more, five ticks at most, and a small or quiet one for none', async (t) => {
  t.same(await blocksOf([10, 10]), [
    { from: 0, to: 10 },
    { from: 10, to: 20 }
  ])
  t.same(await blocksOf([2_000, 2_000, 2_000, 2_000, 2_000, 10]), [
    { from: 0, to: 10_000 },
    { from: 10_000, to: 10_010 }
  ])
  t.same(await blocksOf([2_000, 2_000, 0]), [{ from: 0, to: 4_000 }])
})
