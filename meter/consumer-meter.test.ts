import t from 'tap'
import type { Cut, ShardBatch } from '../domain/ports.ts'
import { freshMeter, type MeterForTest, metered, twoDayLimits, usageEvent } from '../test/meter-shard.ts'

const AT = { shard: 0, partition: 0, generation: 1 }

function batch(change: Partial<ShardBatch> & Pick<ShardBatch, 'events'>): ShardBatch {
  const expectedCursor = change.expectedCursor ?? 0
  return { ...AT, expectedCursor, end: expectedCursor + change.events.length, countedUpTo: Date.now(), ...change }
}

async function applied(meter: MeterForTest, change: Parameters<typeof batch>[0]) {
  const reply = await meter.consumer.apply(batch(change))
  if (reply.refused) throw new Error('the batch was refused')
  return reply
}

async function usedOf(meter: MeterForTest, customerId = 'customer-1'): Promise<number | undefined> {
  const standing = await meter.quota.check({ customerId, userId: '', model: 'model-1', tokens: null })
  return standing.limits?.[0]?.used
}

/** Seeds a cut with nothing on every partition. */
async function seedEmpty(meter: MeterForTest, cut: Cut): Promise<void> {
  for (const partition of [0, 1]) await meter.consumer.seed({ ...AT, partition }, cut, { amounts: [], next: null })
}

t.test('a redelivered batch is refused and leaves every counter unchanged', async (t) => {
  const meter = await freshMeter(t)
  await meter.quota.setLimits(twoDayLimits())
  const events = metered(0, [usageEvent(), usageEvent({ tokens: { output: 5, reasoning: 2 } })])
  const first = await applied(meter, { events })
  t.same(first.verdicts, ['counted', 'counted'])
  t.equal(await usedOf(meter), 17)
  t.same(await meter.consumer.apply(batch({ events })), { refused: true })
  t.equal(await usedOf(meter), 17)
})

t.test(
  'a repeat is a duplicate and the same id with other tokens a conflict, within a batch and across batches',
  async (t) => {
    const meter = await freshMeter(t)
    await meter.quota.setLimits(twoDayLimits())
    const event = usageEvent()
    const other = { ...event, tokens: { ...event.tokens, input: 11 } }
    t.same((await applied(meter, { events: metered(0, [event, event, other]) })).verdicts, [
      'counted',
      'duplicate',
      'conflict'
    ])
    const again = await applied(meter, {
      expectedCursor: 3,
      events: metered(3, [other, event, { ...event, occurredAt: event.occurredAt - 1 }])
    })
    t.same(again.verdicts, ['conflict', 'duplicate', 'duplicate'])
    t.equal(await usedOf(meter), 10)
    const opened = await meter.consumer.open(AT)
    t.same(
      opened.refused ? null : [...opened.verdicts].sort(),
      [
        [1, 'duplicate'],
        [2, 'conflict'],
        [3, 'conflict'],
        [4, 'duplicate'],
        [5, 'duplicate']
      ],
      'the verdicts stay on record'
    )
    await meter.consumer.tick({ ...AT, cursor: 6, flushed: 4, countedUpTo: null })
    const later = await meter.consumer.open(AT)
    t.same(later.refused ? null : [...later.verdicts.keys()].sort(), [4, 5], 'until the ledger has passed them')
  }
)

t.test('a repeat is known across generations of marks, and forgotten two generations later', async (t) => {
  const meter = await freshMeter(t, { installation: { markGenerationMs: 1_000 } })
  const event = usageEvent()
  const base = 1_000_000_000_000
  await applied(meter, { countedUpTo: base, events: metered(0, [event], base) })
  const next = await applied(meter, {
    expectedCursor: 1,
    countedUpTo: base + 1_500,
    events: metered(1, [event], base + 1_500)
  })
  t.same(next.verdicts, ['duplicate'])
  const far = await applied(meter, {
    expectedCursor: 2,
    countedUpTo: base + 5_000,
    events: metered(2, [event], base + 5_000)
  })
  t.same(far.verdicts, ['counted'])
})

t.test('an older arrival on a slow partition still meets the marks of a faster one', async (t) => {
  const meter = await freshMeter(t, { installation: { markGenerationMs: 1_000 } })
  const event = usageEvent()
  const base = 1_000_000_000_000
  await applied(meter, { partition: 1, countedUpTo: base + 2_500, events: metered(0, [event], base + 2_500) })
  t.same(await meter.consumer.open(AT).then((opened) => opened.refused), false)
  const slow = await applied(meter, { events: metered(0, [event], base), countedUpTo: base })
  t.same(slow.verdicts, ['duplicate'])
})

t.test('another generation or server run is refused, and tells whether it is newer', async (t) => {
  const meter = await freshMeter(t)
  t.same(await meter.consumer.open({ ...AT, generation: 0 }), { refused: true, newer: true })
  t.same(await meter.consumer.open({ ...AT, generation: 2 }), { refused: true, newer: false })
  const keys = meter.shards.keys(0, '1')
  await meter.shards.redis.hset(keys.state, 'runId', 'another')
  t.same(await meter.consumer.open(AT), { refused: true, newer: false })
  t.same(await meter.consumer.apply(batch({ events: metered(0, [usageEvent()]) })), { refused: true })
  t.match(await meter.quota.check({ customerId: 'customer-1', userId: '', model: 'm', tokens: null }), {
    known: false,
    why: 'unrepaired'
  })
})

t.test('a new limit says seeding until every partition has added what the ledger held, once', async (t) => {
  const meter = await freshMeter(t)
  await applied(meter, { events: metered(0, [usageEvent({ tokens: { input: 100 } })]) })
  await meter.quota.setLimits(twoDayLimits())
  const { cuts } = await applied(meter, { expectedCursor: 1, events: metered(1, [usageEvent()]) })
  const cut = cuts[0]
  if (cut === undefined) throw new Error('no cut was told')
  t.match(cut, { at: 1, customerId: 'customer-1', progress: '' })
  const seeding = await meter.quota.check({ customerId: 'customer-1', userId: '', model: 'm', tokens: null })
  t.match(seeding, { limits: [{ used: 10, unknown: 'seeding' }] })
  const [counter] = cut.counters
  const [window] = counter?.windows ?? []
  const amount = { counterId: counter?.id ?? '', startQuarter: window?.[0] ?? 0, subject: '', amount: 60 }
  await meter.consumer.seed(AT, cut, { amounts: [amount], next: 'half' })
  await meter.consumer.seed(AT, cut, { amounts: [amount], next: 'half' })
  t.equal(await usedOf(meter), 70, 'a chunk twice counts once')
  await meter.consumer.seed(AT, { ...cut, progress: 'half' }, { amounts: [{ ...amount, amount: 40 }], next: null })
  await meter.consumer.seed(AT, { ...cut, progress: 'half' }, { amounts: [{ ...amount, amount: 40 }], next: null })
  await meter.consumer.seed({ ...AT, partition: 1 }, cut, { amounts: [], next: null })
  const seeded = await meter.quota.check({ customerId: 'customer-1', userId: '', model: 'm', tokens: null })
  t.match(seeded, { limits: [{ used: 110, unknown: null }] })
})

t.test('a limit with another max keeps its counter, and an older version changes nothing', async (t) => {
  const meter = await freshMeter(t)
  await meter.quota.setLimits(twoDayLimits({ version: 2 }))
  const { cuts } = await applied(meter, { events: metered(0, [usageEvent()]) })
  for (const cut of cuts) await seedEmpty(meter, cut)
  await meter.quota.setLimits(twoDayLimits({ max: 5, version: 3 }))
  await meter.quota.setLimits(twoDayLimits({ max: 7, version: 1 }))
  t.match(await meter.quota.check({ customerId: 'customer-1', userId: '', model: 'm', tokens: null }), {
    limits: [{ used: 10, max: 5, unknown: null, remaining: 0 }]
  })
})

t.test('a recount begins every counter again and counts what the ledger held once', async (t) => {
  const meter = await freshMeter(t)
  await meter.quota.setLimits(twoDayLimits())
  const { cuts } = await applied(meter, { events: metered(0, [usageEvent()]) })
  for (const cut of cuts) await seedEmpty(meter, cut)
  await meter.quota.recount('customer-1')
  const ticked = await meter.consumer.tick({ ...AT, cursor: 1, flushed: 1, countedUpTo: null })
  if (ticked.refused) throw new Error('the tick was refused')
  const [cut] = ticked.cuts
  t.match(cut, { at: 1, counters: [{ id: 'everything', windows: [[0, 2147483647]] }, {}] })
  t.equal(await usedOf(meter), 0)
})

t.test('each user has a sum of its own', async (t) => {
  const meter = await freshMeter(t)
  await meter.quota.setLimits(twoDayLimits({ scope: { kind: 'each-user' } }))
  await applied(meter, {
    events: metered(0, [
      usageEvent({ userId: 'ada' }),
      usageEvent({ userId: 'ada' }),
      usageEvent({ userId: 'bo#b' }),
      usageEvent()
    ])
  })
  const of = async (userId: string) =>
    (await meter.quota.check({ customerId: 'customer-1', userId, model: 'm', tokens: null })).limits?.map(
      ({ used }) => used
    )
  t.same([await of('ada'), await of('bo#b'), await of('new'), await of('')], [[20], [10], [0], []])
})

t.test('a sum that would pass 2^53 - 1 stays there', async (t) => {
  const meter = await freshMeter(t)
  await meter.quota.setLimits(twoDayLimits())
  const events = metered(
    0,
    Array.from({ length: 2_000 }, () => usageEvent({ tokens: { input: Number.MAX_SAFE_INTEGER } }))
  )
  await applied(meter, { events })
  await applied(meter, { expectedCursor: 2_000, events: metered(2_000, [usageEvent()]) })
  t.equal(await usedOf(meter), Number.MAX_SAFE_INTEGER)
})
