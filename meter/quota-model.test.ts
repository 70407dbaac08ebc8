// Random histories of holds, usage, ends, changes of limits and recounts on the real Redis, beside a model that keeps every
// counted event and computes what each limit must say from scratch.

import fc from 'fast-check'
import t from 'tap'
import type { LedgerRow } from '../domain/ports.ts'
import { amountsOf, matches, weighted, weightsFor } from '../domain/tokens/counter-amounts.ts'
import type { CompiledLimits, Counter } from '../domain/tokens/limit.ts'
import { quarterOf, quarterStartMs } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPools } from '../domain/tokens/token-pools.ts'
import {
  count,
  freshMeter,
  type LimitForTest,
  limitsOf,
  type MeterForTest,
  positionOf,
  standOf,
  usageEvent
} from '../test/meter-shard.ts'

const BASE_MS = 1_900_000_200_000
const NOW = quarterOf(BASE_MS)
const PARTITIONS = [0, 1]
const TTL_MS = 60_000

/** Lists of windows that share starts, ends or nothing, so that a change of limits keeps, loses and brings back windows. */
const WINDOWS: readonly Counter['windows'][] = [
  [
    [NOW - 8, NOW - 4],
    [NOW - 4, NOW + 4],
    [NOW + 4, NOW + 8]
  ],
  [
    [NOW - 6, NOW + 1],
    [NOW + 1, NOW + 9]
  ],
  [[NOW - 4, NOW + 2]]
]

const LIMITS: readonly LimitForTest[] = [
  { id: 'total', max: 900 },
  { id: 'each-user', max: 500, scope: { kind: 'each-user' } },
  { id: 'cost', max: 2_000, weights: { '*': [1, 0, 0, 3, 0], big: [5, 1, 1, 9, 2] } },
  { id: 'hour', max: 700, rollingHours: 1 },
  { id: 'ada', max: 100, mode: 'soft', scope: { kind: 'user', userId: 'ada' } },
  { id: 'each-model', max: 800, scope: { kind: 'each-model' } }
]

interface ModelHold {
  readonly userId: string
  readonly model: string
  readonly asked: TokenPools
  tokens: TokenPools
  live: boolean
  settled: boolean
  expiresAt: number
}

interface Usage {
  readonly partition: number
  readonly row: LedgerRow
}

/** What the meter must say, from everything that happened. */
class Model {
  readonly usage: Usage[] = []
  readonly holds = new Map<string, ModelHold>()
  limits: CompiledLimits | null = null
  nowMs = BASE_MS

  sweep(): void {
    for (const hold of this.holds.values()) if (hold.expiresAt <= this.nowMs) hold.live = false
  }

  /** used and held per limit that applies. */
  standing(
    userId: string,
    model: string
  ): Map<string, readonly [used: number, held: number, max: number, hard: boolean]> {
    this.sweep()
    const lines = new Map<string, readonly [number, number, number, boolean]>()
    for (const limit of this.limits?.limits ?? []) {
      const counter = this.limits?.counters.find(({ id }) => id === limit.counterId)
      if (counter === undefined || !matches(counter.scope, userId, model)) continue
      const mine = (of: { userId: string; model: string }) =>
        matches(counter.scope, of.userId, of.model) &&
        (counter.scope.kind !== 'each-user' || of.userId === userId) &&
        (counter.scope.kind !== 'each-model' || of.model === model)
      const worth = (of: { model: string; tokens: TokenPools }) => weighted(of.tokens, weightsFor(counter, of.model))
      const [from, to] = currentWindow(counter)
      const rows = this.usage
        .map(({ row }) => row)
        .filter((row) => mine(row) && row.quarter >= from && row.quarter < to)
      const held = [...this.holds.values()].filter((hold) => hold.live && mine(hold))
      lines.set(limit.id, [sum(rows.map(worth)), sum(held.map(worth)), limit.max, limit.mode === 'hard'])
    }
    return lines
  }

  /** Whether a hold may grow from some tokens to others. */
  admits(hold: { userId: string; model: string }, from: TokenPools, to: TokenPools): boolean {
    for (const [id, [used, held, max, hard]] of this.standing(hold.userId, hold.model)) {
      const counterId = this.limits?.limits.find((limit) => limit.id === id)?.counterId
      const counter = this.limits?.counters.find((one) => one.id === counterId)
      if (counter === undefined) continue
      const weights = weightsFor(counter, hold.model)
      const growth = weighted(to, weights) - weighted(from, weights)
      if (hard && growth > 0 && used + held + growth > max) return false
    }
    return true
  }
}

function currentWindow(counter: Counter): readonly [number, number] {
  if (counter.rollingHours > 0) return [NOW - counter.rollingHours * 4 + 1, NOW + 1]
  return counter.windows.find(([start, end]) => start <= NOW && NOW < end) ?? [0, 0]
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}

interface World {
  readonly meter: MeterForTest
  readonly model: Model
  readonly customerId: string
}

/** What a consumer does with cuts: where the moment was missed it cuts again, then it adds what each partition had before. */
async function settleCuts({ meter, model, customerId }: World): Promise<void> {
  for (const partition of PARTITIONS) {
    const { cursor, cuts } = await positionOf(meter, standOf(partition))
    const missed = cuts.find((cut) => cut.customerId === customerId && cut.at < cursor)
    if (missed !== undefined) await meter.consumer.cutAgain(standOf(partition), missed)
  }
  for (const partition of PARTITIONS) {
    const { cuts } = await positionOf(meter, standOf(partition))
    for (const cut of cuts.filter((one) => one.customerId === customerId)) {
      const rows = model.usage.filter((usage) => usage.partition === partition).map(({ row }) => row)
      await meter.consumer.seed(standOf(partition), cut, { amounts: amountsOf(cut.counters, rows, 0), next: null })
    }
  }
}

type Step = (world: World) => Promise<void>

const pools = fc.record({
  input: fc.nat(40),
  cacheRead: fc.nat(5),
  cacheWrite: fc.nat(5),
  output: fc.nat(40),
  reasoning: fc.nat(9)
})
const user = fc.constantFrom('', 'ada', 'bo#b@1')
const model = fc.constantFrom('big', 'small')
const holdId = fc.constantFrom('h1', 'h2', 'h3', 'h4')

const useTokens = fc
  .record({
    userId: user,
    model,
    tokens: pools,
    holdId: fc.option(holdId, { nil: '' }),
    partition: fc.nat(1),
    back: fc.nat(7)
  })
  .map(
    ({ partition, back, ...content }): Step =>
      async (world) => {
        const occurredAt = quarterStartMs(NOW - back)
        const event = usageEvent({ ...content, customerId: world.customerId, occurredAt })
        await count(world.meter, [event, event], { at: standOf(partition), countedUpTo: world.model.nowMs })
        const row = { customerId: world.customerId, ...content, quarter: NOW - back, events: 1 }
        world.model.usage.push({ partition, row })
        const hold = world.model.holds.get(content.holdId)
        if (hold !== undefined) hold.live = false
      }
  )

const holdTokens = fc.record({ holdId, userId: user, model, tokens: pools }).map(
  (ask): Step =>
    async (world) => {
      await settleCuts(world)
      world.model.sweep()
      const reply = await world.meter.quota.hold({ ...ask, customerId: world.customerId, ttlMs: TTL_MS })
      const before = world.model.holds.get(ask.holdId)
      if (before !== undefined) {
        const same = before.userId === ask.userId && before.model === ask.model && samePools(before.asked, ask.tokens)
        agree(reply.outcome, same ? (before.live ? 'again' : 'ended') : 'conflict', 'a hold that exists')
        return
      }
      const admitted = world.model.admits(ask, NO_TOKENS, ask.tokens)
      agree(reply.outcome, admitted ? 'held' : 'refused', 'a new hold')
      if (!admitted) return
      const { userId, tokens } = ask
      const expiresAt = world.model.nowMs + TTL_MS
      world.model.holds.set(ask.holdId, {
        userId,
        model: ask.model,
        asked: tokens,
        tokens,
        live: true,
        settled: false,
        expiresAt
      })
    }
)

const extendHold = fc.record({ holdId, tokens: fc.option(pools) }).map(
  (change): Step =>
    async (world) => {
      await settleCuts(world)
      world.model.sweep()
      const reply = await world.meter.quota.extend({ ...change, customerId: world.customerId, ttlMs: TTL_MS })
      const hold = world.model.holds.get(change.holdId)
      if (hold === undefined) return agree(reply.outcome, 'not-found', 'an extension')
      if (!hold.live) return agree(reply.outcome, 'ended', 'an extension')
      const admitted = world.model.admits(hold, hold.tokens, change.tokens ?? hold.tokens)
      agree(reply.outcome, admitted ? 'held' : 'refused', 'an extension')
      if (!admitted) return
      hold.tokens = change.tokens ?? hold.tokens
      hold.expiresAt = world.model.nowMs + TTL_MS
    }
)

const endHold = fc
  .record({ holdId, how: fc.constantFrom('settle' as const, 'release' as const), tokens: fc.option(pools) })
  .map(
    (change): Step =>
      async (world) => {
        world.model.sweep()
        await world.meter.quota.end({ ...change, customerId: world.customerId })
        const hold = world.model.holds.get(change.holdId)
        if (hold === undefined || !hold.live) return
        if (change.how === 'release') hold.live = false
        else hold.tokens = change.tokens ?? hold.tokens
      }
  )

const setLimits = fc
  .record({
    chosen: fc.subarray([...LIMITS], { minLength: 1 }),
    windows: fc.constantFrom(...WINDOWS),
    max: fc.integer({ min: 1, max: 9 })
  })
  .map(
    ({ chosen, windows, max }): Step =>
      async (world) => {
        const raised = chosen.map((limit) => ({ ...limit, max: (limit.max ?? 0) * max }))
        const version = (world.model.limits?.version ?? 0) + 1
        const limits = limitsOf(raised, { customerId: world.customerId, version, windows })
        await world.meter.quota.setLimits(limits)
        world.model.limits = limits
      }
  )

const recount = fc.constant<Step>(({ meter, customerId }) => meter.quota.recount(customerId))
const settle = fc.constant<Step>(settleCuts)
const turnClock = fc.constant<Step>(async ({ model }) => {
  model.nowMs += 15_000
})

function agree(told: string, expected: string, what: string): void {
  if (told !== expected) throw new Error(`${what}: the meter says ${told}, the model ${expected}`)
}

function samePools(a: TokenPools, b: TokenPools): boolean {
  return JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())
}

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: useTokens },
    { weight: 4, arbitrary: holdTokens },
    { weight: 2, arbitrary: extendHold },
    { weight: 2, arbitrary: endHold },
    { weight: 3, arbitrary: setLimits },
    { weight: 1, arbitrary: recount },
    { weight: 2, arbitrary: settle },
    { weight: 1, arbitrary: turnClock }
  ),
  { maxLength: 35 }
)

t.test('whatever happens in whatever order, every limit says what the events and live holds add up to', async (t) => {
  let clock = (): number => BASE_MS
  const meter = await freshMeter(t, { staleAfterMs: 0, now: () => clock() })
  let runs = 0
  const property = fc.asyncProperty(steps, async (history) => {
    const world: World = { meter, model: new Model(), customerId: `customer-${runs++}` }
    clock = () => world.model.nowMs
    for (const partition of PARTITIONS) {
      const { cursor } = await positionOf(meter, standOf(partition))
      await meter.consumer.tick({ ...standOf(partition), cursor, flushed: 0, countedUpTo: BASE_MS + 3_600_000 })
    }
    await meter.quota.setLimits(
      limitsOf(LIMITS, { customerId: world.customerId, version: 0, windows: WINDOWS[0] ?? [] })
    )
    world.model.limits = limitsOf(LIMITS, { customerId: world.customerId, version: 0, windows: WINDOWS[0] ?? [] })
    for (const step of history) await step(world)
    await settleCuts(world)
    for (const [userId, ofModel] of [
      ['', 'big'],
      ['ada', 'small'],
      ['bo#b@1', 'big']
    ] as const) {
      const found = await meter.quota.check({ customerId: world.customerId, userId, model: ofModel, tokens: null })
      if (!found.known || found.limits === null) throw new Error(`can't know: ${JSON.stringify(found)}`)
      const told = found.limits.map(({ id, used, held, unknown }) => [id, used, held, unknown])
      const expected = [...world.model.standing(userId, ofModel)].map(([id, [used, held]]) => [id, used, held, null])
      if (JSON.stringify(told) !== JSON.stringify(expected))
        throw new Error(`the meter says ${JSON.stringify(told)}, the model ${JSON.stringify(expected)}`)
      if (found.total !== sum(world.model.usage.map(({ row }) => sum(Object.values(row.tokens)))))
        throw new Error(`the meter says ${found.total} tokens in all`)
    }
    const cuts = await meter.shards.redis.hgetall(meter.shards.keys(0, '1').cuts)
    if (Object.keys(cuts).length > 0) throw new Error(`cuts are left: ${JSON.stringify(cuts)}`)
  })
  await fc.assert(property, { numRuns: 150 })
  t.ok(runs >= 150, 'each history agreed')
})
