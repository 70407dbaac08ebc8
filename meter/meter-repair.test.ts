import { Redis } from 'ioredis'
import t from 'tap'
import type { BuiltCustomer, MeteredEvent, ShardAt } from '../domain/ports.ts'
import { amountsOf } from '../domain/tokens/counter-amounts.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import {
  count,
  freshMeter,
  limitsOf,
  type MeterForTest,
  metered,
  setSeeded,
  standOf,
  usageEvent
} from '../test/meter-shard.ts'
import { RedisMeterRepair } from './meter-repair.ts'

const CUSTOMER = 'customer-1'
const ASK = { customerId: CUSTOMER, userId: 'ada', model: 'model-1', tokens: null }
const LIMITS = limitsOf([
  { id: 'total' },
  { id: 'each-user', scope: { kind: 'each-user' } },
  { id: 'hour', rollingHours: 1 }
])
const UNREPAIRED = { known: false, why: 'unrepaired', limits: [] }

function at(generation: number, partition = 0): ShardAt {
  return { shard: 0, partition, generation }
}

function state(meter: MeterForTest): string {
  return meter.shards.keys(0, '').state
}

async function keysOf(meter: MeterForTest): Promise<string[]> {
  const keys = await meter.shards.redis.keys(`${meter.shards.installation.keyPrefix}:*`)
  return keys.sort()
}

/** What the ledger has of a customer after events. */
function builtFrom(events: readonly UsageEvent[], limits = LIMITS): BuiltCustomer {
  const rows = events.map(({ userId, model, occurredAt, tokens }) => ({
    ...{ customerId: CUSTOMER, userId, model, tokens },
    quarter: quarterOf(occurredAt),
    events: 1
  }))
  const total = events.reduce((sum, { tokens }) => sum + BigInt(tokens.input), 0n)
  return { customerId: CUSTOMER, total, limits, amounts: amountsOf(limits.counters, rows, 0) }
}

/** As if the server had restarted: the state tells another run than the one that is asked. */
async function restart(meter: MeterForTest, field: 'runId' | 'repairRun' = 'runId'): Promise<void> {
  await meter.shards.redis.hset(state(meter), field, 'of-an-earlier-server')
}

async function buildWhole(meter: MeterForTest, generation: number, counted: readonly MeteredEvent[]): Promise<void> {
  const begun = await meter.repair.begin(0, generation, 2)
  if (begun.refused || begun.cursors !== null) throw new Error('the shard was not to be built from empty')
  const customers = [builtFrom(counted.map(({ event }) => event))]
  const isBuilt =
    (await meter.repair.build(0, generation, { customers, marks: [] })) &&
    (await meter.repair.build(0, generation, { customers: [], marks: counted })) &&
    (await meter.repair.finish(0, generation, [counted.length, 0]))
  if (!isBuilt) throw new Error('the repairer was overtaken')
}

async function tick(meter: MeterForTest, generation: number, cursors: readonly number[]): Promise<void> {
  for (const [partition, cursor] of cursors.entries()) {
    await meter.consumer.tick({ ...at(generation, partition), cursor, flushed: 0, countedUpTo: Date.now() })
  }
}

const EVENTS = ['ada', 'ada', 'bo#b', ''].map((userId) => usageEvent({ userId }))

t.test('an emptied shard refuses every check, hold and batch until it is built', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  await count(meter, EVENTS)
  await meter.shards.redis.del(await keysOf(meter))
  const batch = { ...at(1), expectedCursor: 0, end: 1, countedUpTo: Date.now(), events: metered(0, [usageEvent()]) }
  const refusesEverything = async (): Promise<void> => {
    t.same(await meter.quota.check(ASK), UNREPAIRED)
    t.same(await meter.quota.hold({ ...ASK, tokens: usageEvent().tokens, holdId: 'h', ttlMs: 1 }), {
      outcome: 'unknown',
      why: 'unrepaired'
    })
    t.match(await meter.consumer.open(at(1)), { refused: true })
    t.match(await meter.consumer.open(at(2)), { refused: true })
    t.same(await meter.consumer.apply(batch), { refused: true })
    t.same(await meter.consumer.apply({ ...batch, generation: 2 }), { refused: true })
    t.same(await meter.consumer.tick({ ...at(2), cursor: 0, flushed: 0, countedUpTo: 1 }), { refused: true })
  }
  await refusesEverything()
  t.same(await meter.repair.begin(0, 2, 2), { refused: false, cursors: null })
  await refusesEverything()
  t.ok(await meter.repair.build(0, 2, { customers: [builtFrom(EVENTS)], marks: [] }))
  await refusesEverything()
  t.ok(await meter.repair.finish(0, 2, [4, 0]))
  t.match(await meter.consumer.open(at(2)), { refused: false, cursor: 4 })
  t.match(await meter.consumer.open(at(1)), { refused: true, newer: true })
})

t.test('a built shard says what was counted, and knows every event that it was built from', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  const counted = metered(0, EVENTS)
  await count(meter, EVENTS)
  const before = await meter.quota.check(ASK)
  await meter.shards.redis.del(await keysOf(meter))
  await buildWhole(meter, 2, counted)
  t.match(await meter.quota.check(ASK), { known: false, why: 'stale' }, 'nobody has told yet up to when it has counted')
  await tick(meter, 2, [4, 0])
  t.match(await meter.quota.check(ASK), {
    known: true,
    total: 40,
    limits: before.limits?.map(({ id, used, max, unknown }) => ({ id, used, max, unknown })) ?? null
  })
  const again = { ...EVENTS[3], tokens: { ...usageEvent().tokens, input: 11 } }
  t.same(await count(meter, [...EVENTS.slice(0, 3), usageEvent(again), usageEvent({ userId: 'ada' })], { at: at(2) }), [
    'duplicate',
    'duplicate',
    'duplicate',
    'conflict',
    'counted'
  ])
  t.match(await meter.quota.check(ASK), { total: 50, limits: [{ used: 50 }, { used: 30 }, { used: 50 }] })
})

t.test('building a part twice changes nothing', async (t) => {
  const meter = await freshMeter(t, { partitions: 0 })
  await meter.repair.begin(0, 1, 2)
  for (let i = 0; i < 2; i++) {
    t.ok(await meter.repair.build(0, 1, { customers: [builtFrom(EVENTS)], marks: metered(0, EVENTS) }))
  }
  t.ok(await meter.repair.finish(0, 1, [4, 0]))
  await tick(meter, 1, [4, 0])
  t.match(await meter.quota.check(ASK), { total: 40, limits: [{ used: 40 }, { used: 20 }, { used: 40 }] })
})

t.test('a total beyond 2^63 is built as the largest number there is, and counting goes on', async (t) => {
  const meter = await freshMeter(t, { partitions: 0 })
  await meter.repair.begin(0, 1, 2)
  await meter.repair.build(0, 1, { customers: [{ ...builtFrom([]), total: 10n ** 30n }], marks: [] })
  await meter.repair.finish(0, 1, [0, 0])
  t.same(await count(meter, [usageEvent()], { at: at(1) }), ['counted'])
  await tick(meter, 1, [1, 0])
  t.match(await meter.quota.check(ASK), { total: Number.MAX_SAFE_INTEGER })
})

t.test('a state that lost its tail is rolled forward to the ledger, with its marks and holds', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  await count(meter, EVENTS.slice(0, 1))
  await meter.quota.hold({ ...ASK, tokens: { ...usageEvent().tokens }, holdId: 'hold-1', ttlMs: 60_000 })
  const saved = await save(meter)
  const tail = [...EVENTS.slice(1), usageEvent({ holdId: 'hold-1' })]
  await count(meter, tail)
  const before = await meter.quota.check(ASK)
  await restore(meter, saved)
  await restart(meter)
  t.same(await meter.quota.check(ASK), UNREPAIRED)
  t.same(await meter.repair.begin(0, 2, 2), { refused: false, cursors: [1, 0] })
  const lost = metered(1, tail)
  t.notOk(
    await meter.repair.rollForward(0, 2, { partition: 0, from: 2, to: 5, events: lost.slice(1) }),
    'not from elsewhere'
  )
  t.ok(await meter.repair.rollForward(0, 2, { partition: 0, from: 1, to: 3, events: lost.slice(0, 2) }))
  t.notOk(await meter.repair.rollForward(0, 2, { partition: 0, from: 1, to: 3, events: lost.slice(0, 2) }), 'nor twice')
  t.ok(await meter.repair.rollForward(0, 2, { partition: 0, from: 3, to: 5, events: lost.slice(2) }))
  t.ok(await meter.repair.rollForward(0, 2, { partition: 0, from: 5, to: 9, events: [] }), 'uncounted offsets')
  t.ok(await meter.repair.finish(0, 2, null))
  t.match(await meter.consumer.open(at(2)), { refused: false, cursor: 9 })
  const limits = before.limits?.map(({ id, used, held }) => ({ id, used, held }))
  t.match(await meter.quota.check(ASK), { known: true, total: 50, limits })
  t.same(await count(meter, tail, { at: at(2) }), ['duplicate', 'duplicate', 'duplicate', 'duplicate'])
})

t.test('an older repairer is refused at every step once a newer one has begun', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  const older = new RedisMeterRepair(meter.shards)
  const part = { customers: [builtFrom(EVENTS)], marks: metered(0, EVENTS) }
  await older.begin(0, 3, 2)
  await meter.repair.begin(0, 4, 2)
  t.notOk(await older.rollForward(0, 3, { partition: 0, from: 0, to: 4, events: metered(0, EVENTS) }))
  t.notOk(await older.finish(0, 3, null))
  t.same(await older.begin(0, 4, 2), { refused: true })
  t.same(await older.begin(0, 3, 2), { refused: true })
  t.ok(await meter.repair.finish(0, 4, null))
  await meter.shards.redis.del(state(meter))
  await older.begin(0, 5, 2)
  t.ok(await older.build(0, 5, part))
  await meter.repair.begin(0, 6, 2)
  t.notOk(await older.build(0, 5, part))
  t.notOk(await older.finish(0, 5, [4, 0]))
  t.ok(await meter.repair.finish(0, 6, [0, 0]))
  t.match(await meter.consumer.open(at(6)), { refused: false, cursor: 0 })
})

t.test('a repair whose server restarts is refused from there on, and the next one begins again', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  await meter.shards.redis.del(state(meter))
  await meter.repair.begin(0, 2, 2)
  await meter.repair.build(0, 2, { customers: [builtFrom(EVENTS)], marks: [] })
  await restart(meter, 'repairRun')
  t.notOk(await meter.repair.build(0, 2, { customers: [], marks: metered(0, EVENTS) }))
  t.notOk(await meter.repair.finish(0, 2, [4, 0]))
  t.same(await meter.quota.check(ASK), UNREPAIRED)
  await buildWhole(meter, 3, metered(0, EVENTS.slice(0, 2)))
  await tick(meter, 3, [2, 0])
  t.match(await meter.quota.check(ASK), { total: 20, limits: [{ used: 20 }, { used: 20 }, { used: 20 }] })
  t.same(
    (await keysOf(meter)).filter((key) => key !== state(meter) && !key.includes(':3:')),
    [],
    'neither the build that was in force nor the one that was left leaves keys'
  )
})

t.test('a repair whose keys are deleted half-way is refused, and the next one begins again', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, LIMITS)
  await restart(meter)
  t.match(await meter.repair.begin(0, 2, 2), { refused: false, cursors: [0, 0] })
  await meter.shards.redis.del(await keysOf(meter))
  t.notOk(await meter.repair.rollForward(0, 2, { partition: 0, from: 0, to: 4, events: metered(0, EVENTS) }))
  t.notOk(await meter.repair.finish(0, 2, null))
  await buildWhole(meter, 3, metered(0, EVENTS))
  t.match(await meter.consumer.open(at(3)), { refused: false, cursor: 4 })
})

t.test(
  'a half-written state refuses everything and is built from empty, leaving no key of the old build',
  async (t) => {
    const meter = await freshMeter(t)
    await setSeeded(meter, LIMITS)
    await count(meter, EVENTS)
    await meter.shards.redis.hset(state(meter), 'dirty', '1')
    t.same(await meter.quota.check(ASK), UNREPAIRED)
    t.match(await meter.consumer.open(at(1)), { refused: true })
    await buildWhole(meter, 2, metered(0, EVENTS))
    await tick(meter, 2, [4, 0])
    t.match(await meter.quota.check(ASK), { total: 40 })
    t.same(
      (await keysOf(meter)).filter((key) => key.includes(':1:')),
      []
    )
  }
)

t.test('a state that an older version wrote in another layout is refused, and built from empty', async (t) => {
  const meter = await freshMeter(t)
  await count(meter, EVENTS)
  await meter.shards.redis.hdel(state(meter), 'layout')
  t.same(await meter.quota.check(ASK), UNREPAIRED)
  t.match(await meter.consumer.open(at(1)), { refused: true })
  await buildWhole(meter, 2, metered(0, EVENTS))
  await tick(meter, 2, [4, 0])
  t.match(await meter.quota.check(ASK), { total: 40 })
})

t.test('a state that became half-written during a roll-forward is not opened', async (t) => {
  const meter = await freshMeter(t)
  await restart(meter)
  await meter.repair.begin(0, 2, 2)
  await meter.shards.redis.hset(state(meter), 'dirty', '1')
  t.notOk(await meter.repair.finish(0, 2, null))
  t.match(await meter.repair.begin(0, 3, 2), { cursors: null })
})

t.test('limits that a lost tail took with it are set again by the repairer, and seeded like any other', async (t) => {
  const meter = await freshMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }], { version: 1 }))
  await restart(meter)
  const older = new RedisMeterRepair(meter.shards)
  await older.begin(0, 2, 2)
  await meter.repair.begin(0, 3, 2)
  const stored = [
    { customerId: CUSTOMER, version: 2 },
    { customerId: 'never-set', version: 1 }
  ]
  t.same(await meter.repair.outdated(0, 3, stored), new Set([CUSTOMER, 'never-set']))
  t.same(await meter.repair.outdated(0, 3, [{ customerId: CUSTOMER, version: 1 }]), new Set())
  t.ok(await meter.repair.setLimits(0, 3, { ...LIMITS, version: 2 }))
  t.same(await older.outdated(0, 2, stored), null, 'an older repairer is refused')
  t.notOk(await older.setLimits(0, 2, { ...LIMITS, version: 3 }))
  const events = metered(0, [usageEvent({ userId: 'ada' })])
  await meter.repair.rollForward(0, 3, { partition: 0, from: 0, to: 1, events })
  t.ok(await meter.repair.finish(0, 3, null))
  const opened = await meter.consumer.open(at(3))
  t.match(opened, { cuts: [{ at: 1, customerId: CUSTOMER }] })
  t.equal(opened.refused ? 0 : opened.cuts.length, 1)
})

t.test('cuts that were open in a state that is rolled forward are cut again where it then stands', async (t) => {
  const meter = await freshMeter(t)
  await count(meter, EVENTS)
  await meter.quota.setLimits(LIMITS)
  const opened = await meter.consumer.open(standOf(0))
  const [cut] = opened.refused ? [] : opened.cuts
  if (cut === undefined) throw new Error('no cut was told')
  const [counter] = cut.counters
  const amount = { counterId: counter?.id ?? '', startQuarter: counter?.windows[0]?.[0] ?? 0, subject: '', amount: 7 }
  await meter.consumer.seed(standOf(0), cut, { amounts: [amount], next: 'half' })
  await restart(meter)
  await meter.repair.begin(0, 2, 2)
  await meter.repair.rollForward(0, 2, {
    partition: 0,
    from: 4,
    to: 6,
    events: metered(4, [usageEvent(), usageEvent()])
  })
  t.ok(await meter.repair.finish(0, 2, null))
  const again = await meter.consumer.open(at(2))
  t.match(again, {
    cuts: [{ at: 6, progress: '', customerId: CUSTOMER, counters: cut.counters.map(({ id }) => ({ id })) }]
  })
  t.equal(again.refused ? 0 : again.cuts.length, 1)
  await meter.consumer.seed(at(2), cut, { amounts: [amount], next: null })
  const seeding = { used: 0, unknown: 'seeding' }
  t.match(
    await meter.quota.check(ASK),
    { limits: [seeding, seeding, seeding] },
    'the earlier cut adds nothing any more'
  )
})

/** The keys of a meter as a server would have had them on disk. */
async function save(meter: MeterForTest): Promise<[key: string, dump: Buffer][]> {
  const saved: [string, Buffer][] = []
  for (const key of await keysOf(meter)) saved.push([key, await direct(meter).dumpBuffer(key)])
  return saved
}

async function restore(meter: MeterForTest, saved: readonly (readonly [key: string, dump: Buffer])[]): Promise<void> {
  await meter.shards.redis.del(await keysOf(meter))
  for (const [key, dump] of saved) await direct(meter).restore(key, 0, dump)
}

function direct({ shards }: MeterForTest): Redis {
  if (!(shards.redis instanceof Redis)) throw new Error('this test asks one server')
  return shards.redis
}
