import t from 'tap'
import type { LimitStanding, Standing } from '../../domain/api-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { OutboxEvent } from '../../domain/published-event.ts'
import type { QuotaNotices } from '../../domain/quota-threshold.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { PostgresOutbox } from '../../sql/change/outbox-store.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresQuotaNotices } from '../../sql/quota-notices.ts'
import { count, freshMeter, limitsOf, setSeeded, usageEvent } from '../../test/meter-shard.ts'
import { freshDatabase } from '../../test/services.ts'
import { QUIET_MS } from './quiet-customers.ts'
import { ThresholdWatch } from './threshold-watch.ts'

const NOW = Date.UTC(2026, 10, 25, 12)
const WINDOW_END = Date.UTC(2026, 11, 1)
const MONTH: Limit = {
  id: 'month',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 2_000,
  mode: 'hard',
  whenUnknown: 'deny'
}

/** A meter that says what the test has it say. */
class SaidMeter {
  used = 0
  windowEnd = WINDOW_END
  unknown: LimitStanding['unknown'] = null
  isAway = false
  asked = 0

  async balance(customerId: string, userId: string, _model: string): Promise<Standing> {
    this.asked++
    if (this.isAway) return { known: false, why: 'unavailable', limits: [] }
    const { used, unknown } = this
    const line = {
      max: MONTH.max,
      used,
      held: 0,
      remaining: 0,
      resetsAt: this.windowEnd,
      asked: 0,
      mode: 'hard',
      whenUnknown: 'deny',
      unknown
    } as const
    const limits = [{ ...line, id: 'month' }, ...(userId === '' ? [] : [{ ...line, id: 'each' }])]
    return { known: true, limits: customerId === 'unlimited' ? null : limits, countedUpTo: NOW, total: used }
  }
}

async function openStores(t: Pick<typeof import('tap').default, 'teardown'>, limits: readonly Limit[] = [MONTH]) {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'thresholds-test' })
  t.teardown(() => database.close())
  await database.query('set limits', {
    text: `insert into customer_limits (customer_id, time_zone, version, limits) values ('c1', 'UTC', 1, $1::jsonb)`,
    values: [JSON.stringify(limits)]
  })
  const outbox = new PostgresOutbox(database)
  const meter = new SaidMeter()
  const notices = new PostgresQuotaNotices(database)
  const watch = (own: Partial<ConstructorParameters<typeof ThresholdWatch>[0]> = {}) =>
    new ThresholdWatch({ meter, notices, percents: [80, 100], now: () => NOW, ...own })
  return { meter, notices, watch, told: () => outbox.withTurn((events) => events.take(100)) }
}

/** More than anybody is away from a threshold. */
const TOKENS = { ...NO_TOKENS, input: 1_000_000 }
const USAGE = [{ customerId: 'c1', userId: 'ada', model: 'm', tokens: TOKENS }]

function briefly(events: readonly OutboxEvent[] | null): unknown[] {
  return (events ?? []).map(({ type, data }) => `${type} ${data.limitId} ${data.userId ?? ''}${data.percent}`)
}

t.test('each threshold is told once a window, whoever notices it and how often', async (t) => {
  const { meter, watch, told } = await openStores(t)
  let now = NOW
  const watches = Array.from({ length: 3 }, () => watch({ now: () => now }))
  const look = async (used: number) => {
    meter.used = used
    for (const one of watches) one.touch(USAGE)
    await Promise.all(watches.map((one) => one.round()))
    return briefly(await told())
  }
  t.same(await look(1_599), [])
  const first = ['quota.threshold_reached month 80']
  t.same(await look(1_600), first)
  t.same(await look(1_999), first)
  const all = [...first, 'quota.threshold_reached month 100', 'quota.exhausted month 100']
  t.same(await look(2_000), all)
  t.same(await look(5_000), all)
  now = WINDOW_END
  meter.windowEnd = Date.UTC(2027, 0, 1)
  t.same(await look(1_600), [...all, ...first], 'again in the next window')
  const event = (await told())?.[0]
  const data = { limitId: 'month', userId: null, used: 1_600, max: 2_000, windowEnd: '2026-12-01T00:00:00.000Z' }
  t.match(event, { customerId: 'c1', at: NOW, data })
})

t.test('what a process noticed and did not tell before it died is told by whoever opens its partition', async (t) => {
  const { meter, watch, told } = await openStores(t)
  meter.used = 2_000
  const dead = watch()
  dead.touch(USAGE)
  const next = watch()
  await next.round()
  t.same(briefly(await told()), [])
  next.touchEverybody()
  await next.round()
  t.equal(briefly(await told()).length, 3)
})

t.test('while the meter can not know nothing is told, and nobody is forgotten', async (t) => {
  const { meter, watch, told } = await openStores(t)
  const one = watch()
  meter.used = 1_700
  meter.isAway = true
  one.touch(USAGE)
  await one.round()
  meter.isAway = false
  meter.unknown = 'seeding'
  await one.round()
  t.same(briefly(await told()), [])
  meter.unknown = null
  await one.round()
  t.same(briefly(await told()), ['quota.threshold_reached month 80'])
})

t.test('while the notices can not be written everybody waits, and is told afterwards', async (t) => {
  const { meter, notices, watch, told } = await openStores(t)
  meter.used = 1_700
  let isAway = true
  const failing: QuotaNotices = {
    limitsOf: (ids) => notices.limitsOf(ids),
    limitsAfter: (id) => notices.limitsAfter(id),
    record: async (list) => {
      if (isAway) throw new RetryableError('postgres-unavailable', 'away')
      await notices.record(list)
    }
  }
  const one = watch({ notices: failing })
  one.touch(USAGE)
  await t.rejects(one.round(), RetryableError)
  isAway = false
  await one.round()
  t.same(briefly(await told()), ['quota.threshold_reached month 80'])
})

t.test('of a limit for each user, each user is told of once', async (t) => {
  const { meter, watch, told } = await openStores(t, [MONTH, { ...MONTH, id: 'each', scope: { kind: 'each-user' } }])
  meter.used = 1_700
  const one = watch()
  one.touch([
    ...USAGE,
    { customerId: 'c1', userId: 'ben', model: 'm', tokens: TOKENS },
    { customerId: 'c1', userId: 'ben', model: 'n', tokens: TOKENS }
  ])
  await one.round()
  t.same(briefly(await told()).toSorted(), [
    'quota.threshold_reached each ada80',
    'quota.threshold_reached each ben80',
    'quota.threshold_reached month 80'
  ])
})

t.test('a customer without limits, or that the meter does not know, is told nothing', async (t) => {
  const { meter, watch, told } = await openStores(t)
  meter.used = 1_700
  const one = watch()
  one.touch([{ customerId: 'unlimited', userId: '', model: 'm', tokens: TOKENS }])
  await one.round()
  t.same(briefly(await told()), [])
})

function usageOf(input: number, userId = 'ada') {
  return [{ customerId: 'c1', userId, model: 'm', tokens: { ...NO_TOKENS, input } }]
}

t.test('who can not have come to a threshold is not asked for again, and who can is', async (t) => {
  const { meter, watch, told } = await openStores(t)
  const one = watch()
  const use = async (tokens: number): Promise<void> => {
    meter.used += tokens
    one.touch(usageOf(tokens))
    await one.round()
  }
  await use(600)
  t.equal(meter.asked, 1)
  await use(500)
  await use(400)
  t.equal(meter.asked, 1, '1,500 of 2,000 used, 80 % are 1,600')
  await use(100)
  t.equal(meter.asked, 2)
  t.same(briefly(await told()), ['quota.threshold_reached month 80'])
  await use(399)
  const beforeLast = meter.asked
  await use(1)
  t.ok(meter.asked > beforeLast, 'the next threshold is as far as 100 %')
  t.equal((await told())?.length, 3)
  const atLast = meter.asked
  await use(5_000)
  t.equal(meter.asked, atLast, 'nothing is left to be told in this window')
})

t.test('everybody is asked for again after a while, and in a new window', async (t) => {
  const { meter, watch } = await openStores(t)
  let now = NOW
  meter.used = 5_000
  const one = watch({ now: () => now })
  const asked = async (): Promise<number> => {
    one.touch(usageOf(1))
    await one.round()
    return meter.asked
  }
  t.equal(await asked(), 1)
  now += QUIET_MS - 1
  t.equal(await asked(), 1)
  now += 1
  t.equal(await asked(), 2)
  now = WINDOW_END - 1
  t.equal(await asked(), 3)
  now = WINDOW_END
  meter.windowEnd = Date.UTC(2027, 0, 1)
  t.equal(await asked(), 4)
})

t.test('of limits for each user, whoever was not asked for yet is', async (t) => {
  const { meter, watch } = await openStores(t, [MONTH, { ...MONTH, id: 'each', scope: { kind: 'each-user' } }])
  const one = watch()
  one.touch(usageOf(1))
  await one.round()
  one.touch(usageOf(1))
  await one.round()
  t.equal(meter.asked, 1)
  one.touch(usageOf(1, 'ben'))
  await one.round()
  t.equal(meter.asked, 2)
})

t.test('a token that weighs much brings its customer nearer', async (t) => {
  const pools = { input: 1, cacheRead: 0, cacheWrite: 1, output: 5, reasoning: 5 }
  const cost: Limit = { ...MONTH, measure: { kind: 'cost', unit: 'EUR', weights: { '*': pools } } }
  const { meter, watch } = await openStores(t, [cost])
  const one = watch()
  one.touch(usageOf(1))
  await one.round()
  one.touch(usageOf(319))
  await one.round()
  t.equal(meter.asked, 1, '1,600 is 320 tokens of 5 away')
  one.touch(usageOf(1))
  await one.round()
  t.equal(meter.asked, 2)
})

t.test('the real meter says when', async (t) => {
  const real = await freshMeter(t, { staleAfterMs: 3_600_000 })
  const { watch, told } = await openStores(t, [{ ...MONTH, id: 'total' }])
  await setSeeded(real, { ...limitsOf([{ id: 'total', max: 1_000 }]), customerId: 'c1' })
  const one = watch({ meter: real.quota, now: Date.now })
  await count(real, [usageEvent({ customerId: 'c1', tokens: { input: 850 } })])
  one.touch(USAGE)
  await one.round()
  t.same(briefly(await told()), ['quota.threshold_reached total 80'])
})
