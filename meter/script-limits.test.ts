// What the scripts must carry without rounding, mixing up or dying half-way: the largest numbers, the oddest names, many users.

import fc from 'fast-check'
import t from 'tap'
import { quarterOf } from '../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../domain/tokens/token-pools.ts'
import {
  count,
  freshMeter,
  limitsOf,
  type MeterForTest,
  metered,
  positionOf,
  setSeeded,
  standOf,
  usageEvent
} from '../test/meter-shard.ts'
import { BATCH_EVENTS_MAX } from './pack-batch.ts'

const CUSTOMER = 'customer-1'
const MAX = Number.MAX_SAFE_INTEGER
const ASK = { customerId: CUSTOMER, userId: '', model: 'model-1', tokens: null }

async function isUsable(meter: MeterForTest): Promise<boolean> {
  return (await meter.shards.redis.hget(meter.shards.keys(0, '').state, 'dirty')) !== '1'
}

/** Where a cursor, count or weight begins to be written in fewer digits than it has, and where numbers end. */
const LARGE = [1e14, 1e14 + 1, 123_456_789_012_345, 1e15 + 1, 2 ** 52 + 1, MAX - 1, MAX]

t.test(
  'numbers from 1e14 to 2^53 - 1 come back digit by digit, from counters, holds, limits and cursors',
  async (t) => {
    for (const large of LARGE) {
      const meter = await freshMeter(t)
      await setSeeded(
        meter,
        limitsOf([
          { id: 'total', max: MAX },
          { id: 'output', max: large, weights: { '*': [0, 0, 0, 1, 0] } }
        ])
      )
      const tokens = { ...NO_TOKENS, output: large }
      const held = await meter.quota.hold({ ...ASK, tokens, holdId: 'hold-1', ttlMs: 60_000 })
      t.match(held, {
        outcome: 'held',
        hold: { tokens },
        limits: [{ held: large }, { max: large, held: large, remaining: 0 }]
      })
      t.match(await meter.quota.find(CUSTOMER, 'hold-1'), { tokens })
      await count(meter, [usageEvent({ tokens: { output: large }, holdId: 'hold-1' })])
      t.match(await meter.quota.check(ASK), {
        total: large,
        limits: [
          { used: large, held: 0 },
          { used: large, remaining: 0 }
        ]
      })
      const batch = { ...standOf(1), expectedCursor: 0, end: large, countedUpTo: Date.now(), events: [] }
      t.match(await meter.consumer.apply(batch), { refused: false })
      const event = usageEvent()
      const repeated = { ...batch, expectedCursor: large, end: large, events: metered(large, [event, event]) }
      t.match(await meter.consumer.apply(repeated), { verdicts: ['counted', 'duplicate'] })
      await meter.quota.recount(CUSTOMER)
      const { cursor, cuts } = await positionOf(meter, standOf(1))
      t.same([cursor, cuts[0]?.at], [large, large])
    }
  }
)

t.test('sums stop at 2^53 - 1 on either side, however often they are added to', async (t) => {
  const meter = await freshMeter(t)
  const weights = { '*': [2 ** 31 - 1, 0, 0, 0, 0] }
  await setSeeded(meter, limitsOf([{ id: 'total' }, { id: 'cost', weights }]))
  const use = async (tokens: number): Promise<void> => {
    for (let i = 0; i < 1_100; i += 100) {
      const events = Array.from({ length: 100 }, () =>
        usageEvent({ kind: tokens < 0 ? 'voided' : 'used', tokens: { input: tokens } })
      )
      for (const event of events.slice(0, 10)) await count(meter, [event])
      await count(meter, events.slice(10))
    }
  }
  await use(-MAX)
  t.match(await meter.quota.check(ASK), { total: -MAX, limits: [{ used: -MAX }, { used: -MAX }] })
  await use(MAX)
  t.match(await meter.quota.check(ASK), { limits: [{ used: MAX }, { used: MAX }] })
  t.ok(await isUsable(meter))
})

const NASTY = [
  '#',
  '@',
  '1@2#3',
  'h1',
  's1',
  'q',
  '0@0',
  "'",
  '"',
  '\\',
  '{m0}',
  '*',
  ':',
  'ключ',
  '名前',
  '🦊'.repeat(64),
  'x'.repeat(128)
]
const name = fc.oneof(
  fc.constantFrom(...NASTY),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((text) => !/\p{C}/u.test(text))
)

t.test('customers, users, models and holds of any name are kept apart', async (t) => {
  const meter = await freshMeter(t)
  let made = 0
  const property = fc.asyncProperty(
    fc.uniqueArray(name, { minLength: 2, maxLength: 5 }),
    fc.uniqueArray(name, { minLength: 2, maxLength: 3 }),
    name,
    async (users, models, customerName) => {
      const customerId = `${made++}${customerName}`
      const [first = ''] = users
      await setSeeded(
        meter,
        limitsOf(
          [
            { id: 'each-user', scope: { kind: 'each-user' } },
            { id: 'each-model', scope: { kind: 'each-model' } },
            { id: 'first', scope: { kind: 'user', userId: first } },
            { id: 'cost', weights: { '*': [1, 0, 0, 0, 0], [models[0] ?? '']: [2, 0, 0, 0, 0] } }
          ],
          { customerId }
        )
      )
      for (const [i, userId] of users.entries()) {
        for (const [j, model] of models.entries()) {
          const tokens = { ...NO_TOKENS, input: 1 + i * 10 + j }
          const holdId = `${userId}${model}`
          await meter.quota.hold({ customerId, userId, model, tokens, holdId, ttlMs: 60_000 })
          await count(meter, [usageEvent({ customerId, userId, model, tokens, holdId })])
        }
      }
      for (const [i, userId] of users.entries()) {
        const found = await meter.quota.check({ customerId, userId, model: models[0] ?? '', tokens: null })
        const used = Object.fromEntries(found.limits?.map((limit) => [limit.id, limit.used - limit.held]) ?? [])
        const n = models.length
        const expected = n + n * i * 10 + (n * (n - 1)) / 2
        if (used['each-user'] !== expected)
          throw new Error(`user ${JSON.stringify(userId)} used ${used['each-user']}, not ${expected}`)
        if ((used.first === undefined) !== i > 0) throw new Error(`the limit of ${first} was told to ${userId}`)
      }
    }
  )
  await fc.assert(property, { numRuns: 40 })
  t.ok(await isUsable(meter))
})

t.test(
  'five thousand users of a customer each have a sum, through a change of limits, a quarter and a release',
  async (t) => {
    const nowMs = 1_900_000_800_000
    const meter = await freshMeter(t, { now: () => nowMs })
    const windows = [[quarterOf(nowMs) - 8, quarterOf(nowMs) + 8]] as const
    const limits = [{ id: 'each', scope: { kind: 'each-user' } as const, windows }]
    await setSeeded(meter, limitsOf(limits), nowMs)
    const users = Array.from({ length: 5_000 }, (_, i) => `user#${i}`)
    const useAll = (tokens: number) =>
      count(
        meter,
        users.map((userId) => usageEvent({ userId, occurredAt: nowMs, tokens: { input: tokens } })),
        { countedUpTo: nowMs }
      )
    await useAll(3)
    await setSeeded(meter, limitsOf([...limits, { id: 'total', windows, max: 1e6 }], { version: 2 }), nowMs)
    await useAll(4)
    await count(meter, [usageEvent({ userId: 'user#7', occurredAt: nowMs })], { countedUpTo: nowMs + 900_000 })
    const of = (userId: string) => meter.quota.check({ ...ASK, userId })
    t.match(await of('user#7'), { limits: [{ used: 17 }, { used: 20_010 }] })
    t.match(await of('user#4999'), { limits: [{ used: 7 }, {}] })
    t.match(await of('user#5000'), { limits: [{ used: 0 }, {}] })
  }
)

t.test('a batch that arrived over many generations of marks is counted once like any other', async (t) => {
  const meter = await freshMeter(t, { installation: { markGenerationMs: 1_000 } })
  const base = 1_000_000_000_000
  const events = Array.from({ length: 400 }, () => usageEvent({ occurredAt: base }))
  const spread = events.map((event, i) => ({ offset: i, arrivedAt: base + i * 1_000, event }))
  const batch = { ...standOf(0), expectedCursor: 0, end: 400, countedUpTo: base + 400_000, events: spread }
  t.match(await meter.consumer.apply(batch), { verdicts: events.map(() => 'counted') })
  const [last] = spread.slice(-1)
  const repeat = last === undefined ? [] : [{ ...last, offset: 400 }]
  t.match(await meter.consumer.apply({ ...batch, expectedCursor: 400, end: 401, events: repeat }), {
    verdicts: ['duplicate']
  })
  const marks = await meter.shards.redis.keys(`${meter.shards.installation.keyPrefix}:*:mark:*`)
  t.ok(marks.length > 300, `${marks.length} hashes of marks`)
  for (const partition of [1, 0]) {
    const at = { ...standOf(partition), cursor: partition === 0 ? 401 : 0, flushed: 0, countedUpTo: base + 400_000 }
    await meter.consumer.tick(at)
  }
  const kept = await meter.shards.redis.keys(`${meter.shards.installation.keyPrefix}:*:mark:*`)
  t.same(
    [...new Set(kept.map((key) => Number(key.split(':').at(-2))))],
    [1_000_000_399],
    'older ones than anyone looks at are dropped'
  )
})

t.test('many open cuts are told some at a time, oldest first, and each reply stays small', async (t) => {
  const meter = await freshMeter(t)
  for (let i = 0; i < 300; i++)
    await meter.quota.setLimits(limitsOf([{ id: 'total' }], { customerId: `customer-${i}` }))
  let open = 300
  for (; open > 0; ) {
    const { cuts } = await positionOf(meter, standOf(0))
    t.equal(cuts.length, Math.min(64, open))
    t.equal(cuts[0]?.customerId, `customer-${300 - open}`)
    for (const cut of cuts)
      for (const p of [0, 1]) await meter.consumer.seed(standOf(p), cut, { amounts: [], next: null })
    open -= cuts.length
  }
  const { cuts, waiting } = meter.shards.keys(0, '1')
  t.equal(await meter.shards.redis.exists(cuts, waiting), 0)
})

t.test('a seed or limit that names a counter there is not fails before anything is written', async (t) => {
  const meter = await freshMeter(t)
  const limits = limitsOf([{ id: 'total' }])
  await meter.quota.setLimits(limits)
  const [cut] = (await positionOf(meter, standOf(0))).cuts
  if (cut === undefined) throw new Error('no cut was told')
  const amount = { counterId: 'unheard-of', startQuarter: 1, subject: '', amount: 1 }
  await t.rejects(meter.consumer.seed(standOf(0), cut, { amounts: [amount], next: null }), /has no counter unheard-of/)
  await t.rejects(meter.quota.setLimits({ ...limits, version: 2, counters: [] }), /limit total has no counter/)
  t.ok(await isUsable(meter))
  const events = Array.from({ length: BATCH_EVENTS_MAX + 1 }, () => usageEvent())
  await t.rejects(count(meter, events), { name: 'RangeError' })
})
