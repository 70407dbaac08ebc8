import t from 'tap'
import { ClickHouseBillingUsage } from '../../clickhouse/billing-usage.ts'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import type { LogArrivals } from '../../domain/billing/invoices/gate-ports.ts'
import { ForeignLogError, RetryableError } from '../../domain/errors.ts'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import { PostgresAnalyticsBlocks } from '../../sql/analytics-blocks.ts'
import { PostgresGateLedger } from '../../sql/billing/gate-ledger.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { addToRollUp, ledgerStretches, realClock, type Usage } from '../../test/gate/counted-stores.ts'
import { type CountingPipeline, preparePipeline, startPipeline } from '../../test/gate/counting-pipeline.ts'
import { limitsOf, setSeeded } from '../../test/meter-shard.ts'

const NOW = quarterOf(Date.now())
const HOUR_MS = 3_600_000

/** An instant between what was sent before and what is sent next: the broker's clock is this machine's. */
async function instantBetween(): Promise<number> {
  const instant = Date.now() + 1
  await waitUntil(async () => Date.now() > instant, { what: 'a millisecond', timeoutMs: 1_000, pollIntervalMs: 1 })
  return instant
}

function used(customerId: string, quarter = NOW - 10, change: Usage = {}): Usage {
  return { customerId, occurredAt: quarterStartMs(quarter), tokens: { input: 100 }, ...change }
}

/** Customers whose events go to partition 0 and to partition 1 of two. */
const [ON_0 = '', ON_1 = ''] = [0, 1].map((partition) =>
  Array.from({ length: 20 }, (_, i) => `customer-${i}`).find((name) => partitionOf(name, 2) === partition)
)

async function moveLedger({ database }: CountingPipeline, partition: number, cursor: number): Promise<void> {
  const ledger = new PostgresUsageLedger(database, 1)
  const from = await ledger.open(partition)
  await ledger.flush({ partition, from, to: { ...from, cursor }, rows: [], uncounted: [] })
}

async function moveAnalytics({ database }: CountingPipeline, partition: number, to: number): Promise<void> {
  const blocks = new PostgresAnalyticsBlocks(database)
  const { done } = await blocks.open(partition)
  await blocks.record(partition, { from: done, to })
  await blocks.finish(partition, { from: done, to })
}

t.test(
  'the ledger is behind an instant by the partitions that lack what arrived before it, whatever came later',
  async (t) => {
    const pipeline = await preparePipeline(t)
    const gate = pipeline.gate({ patienceMs: 0 })
    t.equal(await gate.ledgerBehind(Date.now()), null, 'nothing has arrived')
    await pipeline.send([used(ON_0), used(ON_0), used(ON_1)])
    const until = await instantBetween()
    t.strictSame(await gate.ledgerBehind(until), { code: 'ledger-behind', partitions: [0, 1] }, 'the end counts')
    await pipeline.send([used(ON_0), used(ON_1), used(ON_1)])
    t.strictSame(await gate.ledgerBehind(until), { code: 'ledger-behind', partitions: [0, 1] })
    await moveLedger(pipeline, 0, 1)
    await moveLedger(pipeline, 1, 1)
    t.strictSame(await gate.ledgerBehind(until), { code: 'ledger-behind', partitions: [0] })
    await moveLedger(pipeline, 0, 2)
    t.equal(await gate.ledgerBehind(until), null)
    t.strictSame(await gate.ledgerBehind(await instantBetween()), { code: 'ledger-behind', partitions: [0, 1] })
  }
)

t.test(
  'the log is asked about a past instant once, the ledger until it has passed it; about a present one always',
  async (t) => {
    const pipeline = await preparePipeline(t)
    let asked = 0
    const log: LogArrivals = {
      arrivedBy: (instant) => {
        asked++
        return pipeline.arrivals.arrivedBy(instant)
      }
    }
    await pipeline.send([used(ON_0)])
    const until = await instantBetween()
    const present = pipeline.gate({ log, patienceMs: 0 })
    const later = pipeline.gate({ log, patienceMs: 0, clock: { ...realClock, now: () => Date.now() + HOUR_MS } })
    for (const gate of [later, later]) t.match(await gate.ledgerBehind(until), { partitions: [0] })
    t.equal(asked, 1)
    for (const gate of [present, present]) t.match(await gate.ledgerBehind(until), { partitions: [0] })
    t.equal(asked, 3)
    await moveLedger(pipeline, 0, 1)
    t.equal(await later.ledgerBehind(until), null)
    await pipeline.database.query('forget the ledger', { text: 'delete from usage_partition' })
    t.equal(await later.ledgerBehind(until), null, 'what was passed stays so')
    t.equal(asked, 3)
    t.match(await later.ledgerBehind(until + 1), { partitions: [0] }, 'another instant is asked about')
  }
)

t.test(
  'stores that catch up while the gate is patient are not behind; patience is had once with each instant',
  async (t) => {
    const pipeline = await preparePipeline(t)
    await pipeline.meter.repair.begin(0, 1, 2)
    await pipeline.meter.repair.finish(0, 1, [0, 0])
    await pipeline.send([used(ON_0), used(ON_0), used(ON_1)])
    const until = await instantBetween()
    const steps = [
      () => moveLedger(pipeline, 0, 1),
      () => moveLedger(pipeline, 1, 1),
      () => moveLedger(pipeline, 0, 2),
      () => moveAnalytics(pipeline, 0, 2),
      () => moveAnalytics(pipeline, 1, 1)
    ]
    let at = until
    let looks = 0
    const clock = {
      now: () => at,
      sleep: async (ms: number) => {
        at += ms
        looks++
        await steps.shift()?.()
      }
    }
    const gate = pipeline.gate({ clock })
    t.equal(await gate.ledgerBehind(until), null)
    t.equal(looks, 3, 'it waits no longer than it has to')
    const stretches = [{ customerId: ON_0, from: NOW - 96, to: NOW, models: new Map() }]
    t.strictSame(await gate.differences(stretches, until), new Map())
    t.equal(looks, 5)

    await pipeline.send([used(ON_0)])
    const later = await instantBetween()
    const late = pipeline.gate({ clock })
    for (let round = 0; round < 3; round++) t.match(await late.ledgerBehind(later), { partitions: [0] })
    t.equal(looks, 15, 'five seconds more, whatever the number of rounds')
  }
)

t.test('a ledger beyond the end of the log stops everything: another topic stands under the name', async (t) => {
  const pipeline = await preparePipeline(t)
  await pipeline.send([used(ON_0)])
  await moveLedger(pipeline, 0, 2)
  await t.rejects(pipeline.gate().ledgerBehind(await instantBetween()), ForeignLogError)
})

t.test('an analytics behind the instant parks everybody as such, and no store is asked', async (t) => {
  const pipeline = await preparePipeline(t)
  await pipeline.send([used(ON_0), used(ON_0), used(ON_1)])
  const until = await instantBetween()
  await moveLedger(pipeline, 0, 2)
  await moveLedger(pipeline, 1, 1)
  await moveAnalytics(pipeline, 0, 1)
  const away = connectClickHouse({ url: 'http://127.0.0.1:1', database: 'default' })
  t.teardown(() => away.close())
  const gate = pipeline.gate({ analytics: new ClickHouseBillingUsage(away), patienceMs: 0 })
  const stretches = [ON_0, ON_1].map((customerId) => ({ customerId, from: NOW - 96, to: NOW, models: new Map() }))
  const behind = { code: 'analytics-behind', partitions: [0, 1] }
  t.strictSame(
    await gate.differences(stretches, until),
    new Map([
      [ON_0, behind],
      [ON_1, behind]
    ])
  )
  await moveAnalytics(pipeline, 0, 2)
  await moveAnalytics(pipeline, 1, 1)
  await t.rejects(gate.differences(stretches, until), RetryableError, 'now they are')
  t.strictSame(await gate.differences([], until), new Map())
})

t.test(
  'what the real consumers counted passes the gate, and what was changed by hand is parked, store by store',
  async (t) => {
    const pipeline = await startPipeline(t)
    const { clickhouse, ledger, meter } = pipeline
    const gate = pipeline.gate()
    const windows = [[NOW - 96, NOW + 96]] as const
    const customers = ['in-order', 'robbed', 'doubled', 'recounted', 'unlimited'] as const
    for (const customerId of customers.slice(0, 4)) {
      await pipeline.setLimits(limitsOf([{ id: 'all', windows }], { customerId }))
    }
    await pipeline.send(
      customers.flatMap((customerId) => [used(customerId), used(customerId, NOW - 20), used(customerId, NOW)])
    )
    const until = await instantBetween()
    await pipeline.drained()
    const stretches = await ledgerStretches(
      ledger,
      customers.map((customerId) => ({ customerId, from: NOW - 96, to: NOW }))
    )
    t.equal(await gate.ledgerBehind(until), null)
    t.strictSame(await gate.differences(stretches, until), new Map())

    await clickhouse.client.command({
      query: `alter table usage_quarter_hour delete where customer_id = 'robbed'`,
      clickhouse_settings: { mutations_sync: '1' }
    })
    await addToRollUp(clickhouse, { customerId: 'doubled', quarter: NOW - 10, model: 'model-1', input: 100 })
    const used0 = meter.shards.keys(0, await meter.shards.refresh(0)).used('recounted')
    t.equal(await meter.shards.redis.hincrby(used0, `1@${NOW - 96}`, -300), 0)
    const input = { model: 'model-1', pool: 'input' } as const
    t.match(
      await gate.differences(stretches, until),
      new Map<string, object>([
        [
          'robbed',
          { store: 'clickhouse', differences: [{ ...input, from: NOW - 20, to: NOW - 9, ledger: 200n, other: 0n }] }
        ],
        [
          'doubled',
          { store: 'clickhouse', differences: [{ ...input, from: NOW - 10, to: NOW - 9, ledger: 100n, other: 200n }] }
        ],
        ['recounted', { store: 'redis', differences: [{ startQuarter: NOW - 96, ledger: 300n, other: 0n }] }]
      ])
    )
    const parked = await gate.differences(stretches, until)
    t.strictSame([...parked.keys()].sort(), ['doubled', 'recounted', 'robbed'])
  }
)

t.test('a thousand customers take two statements for each store and five hundred of them', async (t) => {
  const pipeline = await preparePipeline(t)
  const { database, clickhouse, meter, ledger } = pipeline
  await meter.repair.begin(0, 1, 2)
  await meter.repair.finish(0, 1, [0, 0])
  const customers = Array.from({ length: 1_000 }, (_, i) => `customer-${i}`)
  for (const customerId of customers.slice(0, 520)) {
    await setSeeded(meter, limitsOf([{ id: 'all' }], { customerId }))
  }
  const until = await instantBetween()
  const statements = { clickhouse: 0, postgres: 0 }
  const counting = <T extends object>(of: T, store: keyof typeof statements): T =>
    new Proxy(of, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          if (name === 'query') statements[store]++
          return Reflect.apply(value, target, args)
        }
      }
    })
  const gate = pipeline.gate({
    analytics: new ClickHouseBillingUsage(counting(clickhouse.client, 'clickhouse')),
    ledger: new PostgresGateLedger(counting(database, 'postgres'))
  })
  const stretches = await ledgerStretches(
    ledger,
    customers.map((customerId) => ({ customerId, from: NOW - 2_976, to: NOW }))
  )
  t.strictSame(await gate.differences(stretches, until), new Map())
  // ClickHouse: sums. Postgres: how far the stores are, and the rows behind the counters.
  t.strictSame(statements, { clickhouse: 2, postgres: 3 })
})
