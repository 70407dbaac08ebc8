import t from 'tap'
import { ClickHouseBillingUsage } from '../../clickhouse/billing-usage.ts'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import type { LedgerStretch } from '../../domain/billing/invoices/billing-gate.ts'
import { RetryableError } from '../../domain/errors.ts'
import { quarterOf, quarterStartMs } from '../../domain/tokens/quarter-hour.ts'
import {
  addToRollUp,
  deleteFromRollUp,
  freshStores,
  ledgerStretches,
  realClock,
  type Usage
} from '../../test/gate/counted-stores.ts'
import { type AnalyticsPorts, compareAnalytics } from './compare-analytics.ts'
import { deadlineIn } from './patience.ts'

const FROM = quarterOf(Date.now()) - 30 * 96
const TO = FROM + 28 * 96

const stores = await freshStores(t)
const { ledger, analytics, clickhouse } = stores

let customersMade = 0
const freshCustomers = (count: number): string[] =>
  Array.from({ length: count }, () => `customer-${process.pid}-${customersMade++}`)

function used(customerId: string, quarter: number, change: Usage = {}): Usage {
  return { customerId, occurredAt: quarterStartMs(quarter) + 1, model: 'small', tokens: { input: 100 }, ...change }
}

/** Counted in both stores. */
async function count(usage: readonly Usage[]): Promise<void> {
  await stores.copy(await stores.flush(usage))
}

async function monthOf(customerIds: readonly string[]): Promise<readonly LedgerStretch[]> {
  return ledgerStretches(
    ledger,
    customerIds.map((customerId) => ({ customerId, from: FROM, to: TO }))
  )
}

/** Patience for one pause; a test that ends sooner by what it looks for has as much as it takes. */
function compare(stretches: readonly LedgerStretch[], ports: AnalyticsPorts = { ledger, analytics }, patienceMs = 600) {
  return compareAnalytics(stretches, ports, deadlineIn(patienceMs, realClock))
}

t.test('stores that agree give no reason, for customers with and without usage', async (t) => {
  const [busy = '', idle = ''] = freshCustomers(2)
  await count([used(busy, FROM), used(busy, TO - 1, { model: 'large' }), used(busy, TO), used(busy, FROM - 1)])
  const stretches = await monthOf([busy, idle])
  t.equal(stretches[0]?.models.size, 2)
  t.strictSame(await compare(stretches), new Map())
})

t.test('usage that ClickHouse lost is named by model, pool and quarter, and nobody else is parked', async (t) => {
  const [robbed = '', whole = ''] = freshCustomers(2)
  await count([
    used(robbed, FROM + 5),
    used(robbed, FROM + 7, { model: 'large', tokens: { input: 3, reasoning: 4 } }),
    used(robbed, FROM + 9, { model: 'large', tokens: { input: 5, reasoning: 6 } }),
    used(robbed, FROM + 11, { model: 'large', tokens: { input: 7, reasoning: 8 } }),
    used(whole, FROM + 5)
  ])
  const stretches = await monthOf([robbed, whole])
  await deleteFromRollUp(clickhouse, { customerId: robbed, quarter: FROM + 7 })
  await deleteFromRollUp(clickhouse, { customerId: robbed, quarter: FROM + 9 })
  const between = { model: 'large', from: FROM + 7, to: FROM + 10, other: 0n }
  t.strictSame(
    await compare(stretches),
    new Map([
      [
        robbed,
        {
          code: 'stores-differ',
          store: 'clickhouse',
          differences: [
            { ...between, pool: 'input', ledger: 8n },
            { ...between, pool: 'reasoning', ledger: 10n }
          ]
        }
      ]
    ])
  )
})

t.test('usage that only ClickHouse has is named, also of a customer without any', async (t) => {
  const [customerId = ''] = freshCustomers(1)
  const stretches = await monthOf([customerId])
  await addToRollUp(clickhouse, { customerId, quarter: TO - 1, model: 'odd', input: 42 })
  await addToRollUp(clickhouse, { customerId, quarter: TO, model: 'odd', input: 1 })
  const difference = { model: 'odd', pool: 'input', ledger: 0n, other: 42n, from: TO - 1, to: TO }
  t.strictSame(
    await compare(stretches),
    new Map([[customerId, { code: 'stores-differ', store: 'clickhouse', differences: [difference] }]])
  )
})

t.test('at most ten differences are told of a customer, in the order of its stretches', async (t) => {
  const [customerId = ''] = freshCustomers(1)
  await count(Array.from({ length: 8 }, (_, i) => used(customerId, FROM + i * 96)))
  const days = Array.from({ length: 8 }, (_, day) => ({
    customerId,
    from: FROM + day * 96,
    to: FROM + (day + 1) * 96
  }))
  const stretches = await ledgerStretches(ledger, days)
  for (const [i, { from }] of days.entries()) {
    await addToRollUp(clickhouse, { customerId, quarter: from + 3, model: 'small', input: i + 1 })
    await addToRollUp(clickhouse, { customerId, quarter: from + 4, model: 'other', input: 1 })
  }
  const reason = (await compare(stretches)).get(customerId)
  if (reason?.code !== 'stores-differ') throw new Error(`parked as ${reason?.code}`)
  t.equal(reason.differences.length, 10)
  t.match(reason.differences.slice(0, 3), [
    { model: 'other', from: FROM + 4, to: FROM + 5 },
    { model: 'small', from: FROM + 3, to: FROM + 4, ledger: 0n, other: 1n },
    { model: 'other', from: FROM + 100, to: FROM + 101 }
  ])
})

t.test('what reached both stores after the stretch was read is no difference', async (t) => {
  const [customerId = ''] = freshCustomers(1)
  await count([used(customerId, FROM)])
  const stretches = await monthOf([customerId])
  await count([used(customerId, FROM + 1), used(customerId, FROM + 1, { model: 'large' })])
  t.strictSame(await compare(stretches), new Map())
})

t.test('usage that comes while the gate looks is waited for, and is no difference', async (t) => {
  const [customerId = ''] = freshCustomers(1)
  await count([used(customerId, FROM)])
  const stretches = await monthOf([customerId])
  await count([used(customerId, FROM)])
  let looks = 0
  const busyLedger: AnalyticsPorts['ledger'] = {
    stands: () => ledger.stands(),
    quarterSums: (asked) => ledger.quarterSums(asked),
    stretchSums: async (asked) => {
      // Between the look at ClickHouse and this one.
      if (++looks === 2) await count([used(customerId, FROM)])
      return ledger.stretchSums(asked)
    }
  }
  t.strictSame(await compare(stretches, { ledger: busyLedger, analytics }, 30_000), new Map())
  t.equal(looks, 4)
})

t.test('a ClickHouse that does not catch up with the ledger is behind, not different', async (t) => {
  const [late = '', whole = ''] = freshCustomers(2)
  await count([used(whole, FROM)])
  const uncopied = await stores.flush([used(late, FROM)])
  const stretches = await monthOf([late, whole])
  t.strictSame(await compare(stretches), new Map([[late, { code: 'analytics-behind', partitions: [0] }]]))
  await stores.copy(uncopied)
  t.strictSame(await compare(stretches), new Map())
})

t.test('a customer whose past is used without pause is not judged by this run', async (t) => {
  const [customerId = ''] = freshCustomers(1)
  await count([used(customerId, FROM)])
  const stretches = await monthOf([customerId])
  const restlessLedger: AnalyticsPorts['ledger'] = {
    stands: () => ledger.stands(),
    quarterSums: (asked) => ledger.quarterSums(asked),
    stretchSums: async (asked) => {
      await count([used(customerId, FROM)])
      return ledger.stretchSums(asked)
    }
  }
  await count([used(customerId, FROM)])
  t.strictSame(
    await compare(stretches, { ledger: restlessLedger, analytics }),
    new Map([[customerId, { code: 'analytics-behind', partitions: [] }]])
  )
})

t.test('more stretches than are looked at by the quarter are told as a whole', async (t) => {
  const customerIds = freshCustomers(60)
  await count(customerIds.map((customerId) => used(customerId, FROM + 7)))
  const stretches = await monthOf(customerIds)
  await clickhouse.client.command({
    query: 'alter table usage_quarter_hour delete where customer_id in {customerIds:Array(String)}',
    query_params: { customerIds },
    clickhouse_settings: { mutations_sync: '1' }
  })
  const reasons = await compare(stretches)
  const lengths = customerIds.map((customerId) => {
    const reason = reasons.get(customerId)
    if (reason?.code !== 'stores-differ' || reason.store !== 'clickhouse') throw new Error(`parked as ${reason?.code}`)
    const [{ from, to, ledger, other } = { from: 0, to: 0, ledger: 0n, other: 0n }] = reason.differences
    t.strictSame([ledger, other], [100n, 0n])
    return to - from
  })
  t.strictSame(lengths, [...Array(50).fill(1), ...Array(10).fill(TO - FROM)])
})

t.test('without ClickHouse nobody is judged', async (t) => {
  const away = connectClickHouse({ url: 'http://127.0.0.1:1', database: clickhouse.database })
  t.teardown(() => away.close())
  const stretches = await monthOf(freshCustomers(1))
  await t.rejects(compare(stretches, { ledger, analytics: new ClickHouseBillingUsage(away) }), RetryableError)
})
