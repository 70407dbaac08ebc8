import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { Counter } from '../../domain/tokens/limit.ts'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { Shards } from '../../meter/shards.ts'
import { realClock, type Usage } from '../../test/gate/counted-stores.ts'
import { preparePipeline } from '../../test/gate/counting-pipeline.ts'
import { count, limitsOf, usageEvent } from '../../test/meter-shard.ts'
import { compareMeter, type MeterPorts } from './compare-meter.ts'
import { deadlineIn } from './patience.ts'

const NOW = quarterOf(Date.now())
/** The day that ended with the last quarter, and the next two. */
const WINDOWS: Counter['windows'] = [
  [NOW - 96, NOW],
  [NOW, NOW + 192]
]

const pipeline = await preparePipeline(t)
const { counters, ledger, meter } = pipeline
const running = await pipeline.startMeter()

let customersMade = 0
async function limitedCustomer(): Promise<string> {
  const customerId = `customer-${customersMade++}`
  await pipeline.setLimits(
    limitsOf(
      [
        { id: 'all', windows: WINDOWS },
        { id: 'recent', rollingHours: 2 }
      ],
      { customerId }
    )
  )
  return customerId
}

function used(customerId: string, quarter = NOW - 10, change: Usage = {}): Usage {
  return { customerId, occurredAt: quarterStartMs(quarter), tokens: { input: 100 }, ...change }
}

/** Sent, counted and flushed. */
async function flushed(usage: readonly Usage[]): Promise<void> {
  await pipeline.send(usage)
  await pipeline.flushed()
}

function compare(customerIds: readonly string[], patienceMs = 10_000, change: Partial<MeterPorts> = {}) {
  const ports = { ledger, meter: counters, clock: realClock, ...change }
  return compareMeter(customerIds, ports, deadlineIn(patienceMs, realClock))
}

/** Adds to what the meter has counted of a customer in the window that begins at a quarter, as nothing of ours does. */
async function tamper(customerId: string, startQuarter: number, tokens: number): Promise<void> {
  const { redis } = meter.shards
  const key = meter.shards.keys(0, await meter.shards.refresh(0)).used(customerId)
  const fields = await redis.hkeys(key)
  const field = fields.find((name) => /^[1-9]/.test(name) && name.endsWith(`@${startQuarter}`))
  if (field === undefined) throw new Error(`${customerId} has no counter at ${startQuarter}: ${fields}`)
  await redis.hincrby(key, field, tokens)
}

/** With usage, for when no consumer runs any more. */
const UNCHANGED = await limitedCustomer()
const RECOUNTED = await limitedCustomer()
await flushed([used(UNCHANGED), used(RECOUNTED)])

t.test('a meter that counted what the ledger has agrees, for customers with and without limits', async (t) => {
  const limited = await limitedCustomer()
  await flushed([used(limited), used(limited, NOW - 1), used(limited, NOW), used('without-limits')])
  t.strictSame(await compare([limited, 'without-limits', 'never-seen']), new Map())
})

t.test('a counter that was changed by hand is a difference, told to the token, and nobody else is', async (t) => {
  const [changed, whole] = [await limitedCustomer(), await limitedCustomer()]
  await flushed([used(changed), used(changed, NOW), used(whole)])
  await tamper(changed, NOW - 96, -1)
  const differing = await compare([changed, whole])
  t.strictSame([...differing.keys()], [changed])
  t.match(differing.get(changed), [{ startQuarter: NOW - 96, subject: '', ledger: 100n, other: 99n, isSettled: true }])
  t.equal(differing.get(changed)?.length, 1)
})

t.test('customers who are used while the gate looks agree', async (t) => {
  const busy = [await limitedCustomer(), await limitedCustomer()]
  let goesOn = true
  let sent = 0
  const traffic = async (): Promise<void> => {
    while (goesOn) sent += (await pipeline.send(busy.map((customerId) => used(customerId, NOW)))).length
  }
  const going = traffic()
  try {
    for (let run = 0; run < 3; run++) t.strictSame(await compare(busy), new Map())
  } finally {
    goesOn = false
    await going
  }
  t.comment(`${sent} events while the gate looked`)
  await pipeline.flushed()
})

t.test(
  'of a counter that never stands still, what lies beyond its usage is a difference after three looks',
  async (t) => {
    const [busy, changed] = [await limitedCustomer(), await limitedCustomer()]
    let looks = 0
    // Usage comes between the first look at the ledger and the meter, and between the meter and the second.
    const restless: MeterPorts['meter'] = {
      customers: async (ids) => {
        looks++
        await flushed([used(busy), used(changed)])
        return counters.customers(ids)
      },
      countedThrough: async (ids) => {
        const through = await counters.countedThrough(ids)
        await flushed([used(busy), used(changed)])
        return through
      }
    }
    await flushed([used(busy), used(changed)])
    await tamper(busy, NOW - 96, 100)
    await tamper(changed, NOW - 96, -150)
    const differing = await compare([busy, changed], 10_000, { meter: restless })
    t.strictSame([...differing.keys()], [changed], 'the other change is less than what was used')
    t.match(differing.get(changed), [{ startQuarter: NOW - 96, isSettled: false }])
    const [{ ledger: expected, other } = { ledger: 0n, other: 0n }] = differing.get(changed) ?? []
    t.equal(expected - other, 50n, 'told against the look that is nearer')
    // The first look of all is at one moment.
    t.equal(looks, 4)
  }
)

t.test('limits that are set while the gate looks are compared as they are then', async (t) => {
  const customerId = await limitedCustomer()
  await flushed([used(customerId)])
  let looks = 0
  const changing: MeterPorts['meter'] = {
    countedThrough: (ids) => counters.countedThrough(ids),
    customers: async (ids) => {
      if (++looks === 2) {
        const scope = { kind: 'each-model' } as const
        await pipeline.setLimits(limitsOf([{ id: 'model', scope, windows: WINDOWS }], { customerId, version: 2 }))
      }
      return counters.customers(ids)
    }
  }
  await tamper(customerId, NOW - 96, 7)
  // The counter that was wrong is gone with its limit.
  t.strictSame(await compare([customerId], 10_000, { meter: changing }), new Map())
  t.equal(looks, 3)
})

t.test('Redis away ends the run as retryable', async (t) => {
  const redis = connectRedis({ url: 'redis://127.0.0.1:1', commandTimeoutMs: 1_000, autoPipelining: true })
  t.teardown(() => redis.disconnect())
  const away = new RedisMeterReport(new Shards(redis, meter.shards.installation))
  await t.rejects(compare([UNCHANGED], 600, { meter: away }), RetryableError)
})

t.test('a shard that stays unusable ends the run as retryable', async (t) => {
  // A consumer would mend it.
  await running.stop()
  const state = meter.shards.keys(0, '').state
  await meter.shards.redis.hset(state, 'repairing', '1')
  await t.rejects(compare([UNCHANGED], 600), { code: 'meter-unavailable', retryable: true })
  await meter.shards.redis.hset(state, 'repairing', '0')
  t.strictSame(await compare([UNCHANGED]), new Map())
})

t.test('counters that nobody seeds are no difference', async (t) => {
  await meter.quota.recount(RECOUNTED)
  t.equal((await counters.customer(RECOUNTED))?.seeding, true)
  t.strictSame(await compare([RECOUNTED], 600), new Map())
})

t.test('usage that no consumer flushes is no difference', async (t) => {
  const { generation } = await meter.shards.redis.hgetall(meter.shards.keys(0, '').state)
  const at = { shard: 0, partition: 0, generation: Number(generation) }
  t.strictSame(await count(meter, [usageEvent(used(UNCHANGED))], { at }), ['counted'])
  t.strictSame(await compare([UNCHANGED], 600), new Map())
})
