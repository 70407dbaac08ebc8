import t from 'tap'
import type { HoldOutcome, QuotaMeter } from '../domain/api-ports.ts'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPools } from '../domain/tokens/token-pools.ts'
import {
  count,
  freshMeter,
  limitsOf,
  type MeterForTest,
  type MeterForTestOptions,
  setSeeded,
  usageEvent
} from '../test/meter-shard.ts'

const MINUTE_MS = 60_000
const CUSTOMER = 'customer-1'

interface Clock {
  nowMs: number
}

/** A meter whose quota side reads a clock that the test turns; staleness is out of the way unless asked for. */
async function clockedMeter(t: Parameters<typeof freshMeter>[0], options: MeterForTestOptions = {}) {
  const clock: Clock = { nowMs: Date.now() }
  const meter = await freshMeter(t, { staleAfterMs: 3_600_000, now: () => clock.nowMs, ...options })
  return { ...meter, clock }
}

function input(tokens: number): TokenPools {
  return { ...NO_TOKENS, input: tokens }
}

type HoldChange = Partial<Parameters<QuotaMeter['hold']>[0]>

function hold(meter: MeterForTest, change: HoldChange = {}): Promise<HoldOutcome> {
  const ask = {
    customerId: CUSTOMER,
    userId: '',
    model: 'model-1',
    tokens: input(100),
    holdId: 'hold-1',
    ttlMs: MINUTE_MS
  }
  return meter.quota.hold({ ...ask, ...change })
}

async function standing(meter: MeterForTest, userId = '', model = 'model-1') {
  const found = await meter.quota.check({ customerId: CUSTOMER, userId, model, tokens: null })
  if (!found.known || found.limits === null) throw new Error(`the meter can't know: ${JSON.stringify(found)}`)
  return Object.fromEntries(found.limits.map(({ id, used, held }) => [id, [used, held]]))
}

t.test('creating a hold twice is the same hold, with other content a conflict', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  const first = await hold(meter)
  t.match(first, {
    outcome: 'held',
    hold: { holdId: 'hold-1', tokens: input(100), state: 'held' },
    limits: [{ held: 100 }]
  })
  t.same(await hold(meter), { ...first, outcome: 'again' })
  for (const other of [{ tokens: input(99) }, { userId: 'ada' }, { model: 'model-2' }]) {
    t.match(await hold(meter, other), { outcome: 'conflict', hold: { tokens: input(100) } })
  }
  t.same(await standing(meter), { total: [0, 100] })
})

t.test('a hold reserves against every limit that applies, or against none', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(
    meter,
    limitsOf([
      { id: 'total', max: 1_000 },
      { id: 'each', max: 150, scope: { kind: 'each-user' } },
      { id: 'output', max: 10, weights: { '*': [0, 0, 0, 1, 0] } },
      { id: 'soft', max: 5, mode: 'soft', scope: { kind: 'model', model: 'model-1' } }
    ])
  )
  t.match(await hold(meter, { userId: 'ada' }), { outcome: 'held' }, 'a soft limit refuses nothing')
  t.match(await hold(meter, { userId: 'ada', holdId: 'hold-2' }), { outcome: 'refused', binding: 'each' })
  t.match(await hold(meter, { userId: 'bob', holdId: 'hold-3', tokens: { ...NO_TOKENS, input: 1, output: 11 } }), {
    outcome: 'refused',
    binding: 'output'
  })
  t.same(await standing(meter, 'ada'), { total: [0, 100], each: [0, 100], output: [0, 0], soft: [0, 100] })
  t.same(await standing(meter, 'bob'), { total: [0, 100], each: [0, 0], output: [0, 0], soft: [0, 100] })
  t.equal(await meter.quota.find(CUSTOMER, 'hold-2'), null, 'what was refused is not kept')
})

t.test('a hold is filled up to the limit and not a token further', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total', max: 100 }]))
  await count(meter, [usageEvent({ tokens: { input: 40 } })])
  t.match(await hold(meter, { tokens: input(61) }), {
    outcome: 'refused',
    limits: [{ used: 40, held: 0, remaining: 60 }]
  })
  t.match(await hold(meter, { tokens: input(60) }), { outcome: 'held', limits: [{ used: 40, held: 60, remaining: 0 }] })
})

t.test('extending resizes a hold and renews its expiry, within the limits', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total', max: 300 }]))
  await hold(meter)
  meter.clock.nowMs += 50_000
  const extend = (tokens: TokenPools | null, holdId = 'hold-1') =>
    meter.quota.extend({ customerId: CUSTOMER, holdId, tokens, ttlMs: MINUTE_MS })
  t.match(await extend(null), {
    outcome: 'held',
    hold: { tokens: input(100), expiresAt: meter.clock.nowMs + MINUTE_MS }
  })
  t.match(await extend(input(301)), { outcome: 'refused', binding: 'total' })
  t.same(await standing(meter), { total: [0, 100] }, 'a refused extension leaves the hold as it was')
  t.match(await extend(input(300)), { outcome: 'held', limits: [{ held: 300 }] })
  t.match(await extend(input(20)), { outcome: 'held', limits: [{ held: 20 }] })
  t.match(await extend(null, 'never-made'), { outcome: 'not-found' })
  t.match(await hold(meter), { outcome: 'again', hold: { tokens: input(20) } }, 'creating it again finds it resized')
})

t.test('settling resizes a hold to the actual, above the limit if need be; twice changes nothing', async (t) => {
  const meter = await clockedMeter(t, { staleAfterMs: 5 * MINUTE_MS })
  await setSeeded(meter, limitsOf([{ id: 'total', max: 100 }]))
  await hold(meter)
  const settle = (tokens: TokenPools | null) =>
    meter.quota.end({ customerId: CUSTOMER, holdId: 'hold-1', how: 'settle', tokens })
  const first = await settle(input(130))
  t.match(first, {
    outcome: 'held',
    hold: { state: 'settled', tokens: input(130) },
    limits: [{ held: 130, remaining: 0 }]
  })
  meter.clock.nowMs += MINUTE_MS + 1_000
  t.same(await settle(input(130)), first)
  t.same(await standing(meter), { total: [0, 130] }, 'it outlives its expiry while its usage event may be on its way')
  meter.clock.nowMs += 4 * MINUTE_MS
  t.match(await meter.quota.find(CUSTOMER, 'hold-1'), { state: 'expired' })
})

t.test('releasing gives a hold back once', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  await hold(meter)
  await hold(meter, { holdId: 'hold-2' })
  const release = () => meter.quota.end({ customerId: CUSTOMER, holdId: 'hold-1', how: 'release', tokens: null })
  t.match(await release(), { outcome: 'ended', hold: { state: 'released' }, limits: [{ held: 100 }] })
  t.match(await release(), { outcome: 'ended', hold: { state: 'released' }, limits: [{ held: 100 }] })
  t.match(await hold(meter), { outcome: 'ended', hold: { state: 'released' } }, 'a retried creation finds it ended')
  t.match(await meter.quota.end({ customerId: CUSTOMER, holdId: 'no', how: 'release', tokens: null }), {
    outcome: 'not-found'
  })
  t.match(await meter.quota.end({ customerId: 'nobody', holdId: 'no', how: 'release', tokens: null }), {
    outcome: 'unknown-customer'
  })
})

t.test('an expired hold is given back, and remembered for a while', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  await hold(meter)
  meter.clock.nowMs += MINUTE_MS
  t.same(await standing(meter), { total: [0, 0] })
  t.match(await hold(meter), { outcome: 'ended', hold: { state: 'expired' } })
  meter.clock.nowMs += 11 * MINUTE_MS
  t.match(await hold(meter), { outcome: 'held', hold: { state: 'held' } }, 'later the id is free again')
})

t.test('a hold that ended before its expiry is remembered for as long as one that expired', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  await hold(meter, { ttlMs: 1_000 })
  await count(meter, [usageEvent({ holdId: 'hold-1' })])
  meter.clock.nowMs += 2_000
  t.same(await standing(meter), { total: [10, 0] })
  t.match(await hold(meter, { ttlMs: 1_000 }), { outcome: 'ended', hold: { state: 'counted' } })
})

t.test('the usage event of a hold releases it and counts; a repeat of the event does neither', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }, { id: 'each', scope: { kind: 'each-user' } }]))
  await hold(meter, { userId: 'ada' })
  await hold(meter, { holdId: 'hold-2', userId: 'ada' })
  const event = usageEvent({ holdId: 'hold-1', userId: 'ada', tokens: { input: 70 } })
  t.same(await count(meter, [event, event]), ['counted', 'duplicate'])
  t.same(await standing(meter, 'ada'), { total: [70, 100], each: [70, 100] })
  t.same(await count(meter, [event, { ...event, tokens: input(71) }]), ['duplicate', 'conflict'])
  t.same(await standing(meter, 'ada'), { total: [70, 100], each: [70, 100] })
  t.match(await meter.quota.find(CUSTOMER, 'hold-1'), { state: 'counted' })
})

t.test('an event after its hold was released or expired still counts', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  await hold(meter)
  await meter.quota.end({ customerId: CUSTOMER, holdId: 'hold-1', how: 'release', tokens: null })
  await hold(meter, { holdId: 'hold-2', ttlMs: 1_000 })
  meter.clock.nowMs += 2_000
  await standing(meter)
  await count(meter, [
    usageEvent({ holdId: 'hold-1' }),
    usageEvent({ holdId: 'hold-2' }),
    usageEvent({ holdId: 'never' })
  ])
  t.same(await standing(meter), { total: [30, 0] })
  t.match(await meter.quota.find(CUSTOMER, 'hold-1'), { state: 'released' })
})

t.test('a hold survives a change of limits, and what is held is computed anew', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(meter, limitsOf([{ id: 'total' }]))
  await hold(meter, { userId: 'ada' })
  const costs = { id: 'cost', weights: { '*': [1, 1, 1, 1, 1], 'model-1': [3, 1, 1, 1, 1] } }
  await setSeeded(meter, limitsOf([costs, { id: 'ada', scope: { kind: 'user', userId: 'ada' } }], { version: 2 }))
  t.same(await standing(meter, 'ada'), { cost: [0, 300], ada: [0, 100] })
  await meter.quota.end({ customerId: CUSTOMER, holdId: 'hold-1', how: 'release', tokens: null })
  t.same(await standing(meter, 'ada'), { cost: [0, 0], ada: [0, 0] })
  const used = await meter.shards.redis.hkeys(meter.shards.keys(0, '1').used(CUSTOMER))
  t.same(
    used.filter((field) => field.startsWith('h')),
    [],
    'nothing held leaves nothing behind'
  )
})

t.test('each limit sums just the usage of its scope and measure', async (t) => {
  const meter = await clockedMeter(t)
  await setSeeded(
    meter,
    limitsOf([
      { id: 'total' },
      { id: 'each-user', scope: { kind: 'each-user' } },
      { id: 'each-model', scope: { kind: 'each-model' } },
      { id: 'ada', scope: { kind: 'user', userId: 'ada' } },
      { id: 'big', scope: { kind: 'model', model: 'big' } },
      { id: 'ada-big', scope: { kind: 'user-model', userId: 'ada', model: 'big' } },
      { id: 'cost', weights: { '*': [1, 0, 0, 2, 3], big: [10, 0, 0, 20, 30] } }
    ])
  )
  const tokens = { input: 1, cacheRead: 2, output: 4, reasoning: 8 } // 15 tokens; cost 33, of big 330
  for (const [userId, model] of [
    ['ada', 'big'],
    ['ada', 'small'],
    ['bob', 'big'],
    ['', 'small']
  ] as const) {
    await count(meter, [usageEvent({ userId, model, tokens })])
  }
  const cost = [330 + 33 + 330 + 33, 0]
  t.same(await standing(meter, 'ada', 'big'), {
    total: [60, 0],
    'each-user': [30, 0],
    'each-model': [30, 0],
    ada: [30, 0],
    big: [30, 0],
    'ada-big': [15, 0],
    cost
  })
  t.same(await standing(meter, 'bob', 'small'), { total: [60, 0], 'each-user': [15, 0], 'each-model': [30, 0], cost })
  t.same(await standing(meter, '', 'big'), { total: [60, 0], 'each-model': [30, 0], big: [30, 0], cost })
  const asked = await meter.quota.check({
    ...{ customerId: CUSTOMER, userId: 'ada', model: 'big' },
    tokens: { ...NO_TOKENS, input: 2, output: 3 }
  })
  t.same(
    asked.limits?.map((limit) => limit.asked),
    [5, 5, 5, 5, 5, 5, 80],
    'and tells how much of it a call would take'
  )
  const balance = await meter.quota.balance(CUSTOMER, '', '')
  t.same(
    balance.limits?.map(({ id }) => id),
    ['total', 'ada', 'big', 'ada-big', 'cost']
  )
})

t.test(
  'a rolling limit sums the last hours by the quarter-hour, and tells when its oldest quarter leaves',
  async (t) => {
    const start = 1_900_000_000_000 - (1_900_000_000_000 % 900_000)
    const clock = { nowMs: start }
    const meter = await freshMeter(t, { now: () => clock.nowMs, staleAfterMs: 86_400_000 })
    await setSeeded(meter, limitsOf([{ id: 'hour', rollingHours: 1 }]), start)
    const at = async (minutes: number) => {
      clock.nowMs = start + minutes * MINUTE_MS
      return meter.quota.check({ customerId: CUSTOMER, userId: '', model: 'm', tokens: null })
    }
    const use = (minutes: number, tokens: number) =>
      count(meter, [usageEvent({ occurredAt: start + minutes * MINUTE_MS, tokens: { input: tokens } })], {
        countedUpTo: start + minutes * MINUTE_MS
      })
    await use(0, 1)
    await use(20, 10)
    await use(45, 100)
    t.match(await at(59), { limits: [{ used: 111, resetsAt: start + 60 * MINUTE_MS }] })
    t.match(await at(60), { limits: [{ used: 110, resetsAt: start + 75 * MINUTE_MS }] })
    t.match(await at(75), { limits: [{ used: 100, resetsAt: start + 105 * MINUTE_MS }] })
    t.match(await at(105), { limits: [{ used: 0 }] })
    await use(120, 1_000)
    const fields = await meter.shards.redis.hkeys(meter.shards.keys(0, '1').used(CUSTOMER))
    t.same(
      fields.filter((field) => field.startsWith('1@')),
      [`1@${quarterOf(start) + 8}`],
      'quarters that have left are dropped'
    )
  }
)

t.test('a meter that runs out of windows, lags, is unrepaired or has no such customer says so', async (t) => {
  const meter = await clockedMeter(t, { staleAfterMs: MINUTE_MS })
  const now = quarterOf(meter.clock.nowMs)
  const past = [[now - 20, now - 10]] as const
  const ask = { customerId: CUSTOMER, userId: '', model: 'm', tokens: null }
  t.same(await meter.quota.check(ask), { known: true, limits: null })
  t.same(await hold(meter), { outcome: 'unknown-customer' })
  await setSeeded(meter, limitsOf([{ id: 'total', windows: past }]), meter.clock.nowMs)
  t.match(await meter.quota.check(ask), { known: true, limits: [{ unknown: 'windows-ran-out' }] })
  t.same(await hold(meter), { outcome: 'unknown', why: 'windows-ran-out' })
  await setSeeded(
    meter,
    limitsOf([{ id: 'total', windows: past, whenUnknown: 'allow' }], { version: 2 }),
    meter.clock.nowMs
  )
  t.match(await hold(meter), { outcome: 'held' })
  await setSeeded(meter, limitsOf([{ id: 'total' }], { version: 3 }), meter.clock.nowMs)
  meter.clock.nowMs += MINUTE_MS + 1
  t.match(await meter.quota.check(ask), { known: false, why: 'stale', limits: [{ max: 1_000 }] })
  t.same(await hold(meter, { holdId: 'hold-2' }), { outcome: 'unknown', why: 'stale' })
  await meter.shards.redis.del(meter.shards.keys(0, '').state)
  t.same(await meter.quota.check(ask), { known: false, why: 'unrepaired', limits: [] })
  t.same(await hold(meter, { holdId: 'hold-2' }), { outcome: 'unknown', why: 'unrepaired' })
  await t.rejects(meter.quota.setLimits(limitsOf([{ id: 'total' }])), {
    name: 'RetryableError',
    code: 'meter-unavailable'
  })
  await t.rejects(meter.quota.find(CUSTOMER, 'hold-1'), { name: 'RetryableError' })
})
