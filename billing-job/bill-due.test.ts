import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import type { RoundOutcome } from '../domain/billing/invoices/billing-store.ts'
import { RetryableError } from '../domain/errors.ts'
import { ALL_AGREE, DAY_MS, HOUR_MS, startBillingService } from '../test/billing/billing-service.ts'
import { addCustomer, addPlan, customerOf } from '../test/plans-and-customers.ts'

const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const RUNS = 50
const SUBSCRIPTIONS = 1_000

/** What a run that failed has done stays done; a job is tried again. */
async function asJob(run: () => Promise<RoundOutcome>): Promise<RoundOutcome> {
  try {
    return await run()
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error
    return asJob(run)
  }
}

t.test(
  `${RUNS} runs at once over ${SUBSCRIPTIONS} subscriptions make ${SUBSCRIPTIONS} invoices, their numbers gapless`,
  async (t) => {
    const service = await startBillingService(t)
    service.setNow(MARCH_10)
    const plan = await addPlan(service, { baseFeeMinor: 700n })
    const { stores } = service
    const change = { reach: { kind: 'platform' }, audit: [], events: [], request: null } as const
    for (let i = 0; i < SUBSCRIPTIONS; i += 10) {
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const customer = customerOf({ id: randomUUIDv7() })
          await stores.customerStore.insert(customer, change)
          await service.subscribe(customer, plan)
        })
      )
    }
    service.setNow(MARCH_10 + 3 * HOUR_MS)
    const runs = await Promise.all(
      Array.from({ length: RUNS }, () => asJob(() => service.billAt(MARCH_10 + 3 * HOUR_MS, { batchSize: 20 })))
    )
    t.ok(runs.filter(({ invoiced }) => invoiced > 0).length > 1, 'several of them had a part in it')
    const [sums] = await service.database.query('count', {
      text: `select count(*)::integer as invoices, count(distinct subscription_id)::integer as subscriptions,
                  count(distinct number)::integer as numbers, min(number) as first, max(number) as last,
                  sum(total_minor)::integer as total
             from invoice`
    })
    t.same(sums, {
      invoices: SUBSCRIPTIONS,
      subscriptions: SUBSCRIPTIONS,
      numbers: SUBSCRIPTIONS,
      first: 'INV-000001',
      last: 'INV-001000',
      total: SUBSCRIPTIONS * 700
    })
  }
)

t.test('a run that dies in a round leaves none of it, and no number is lost', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  for (let i = 0; i < 5; i++) await service.subscribe(await addCustomer(service), plan)
  const away = {
    ...ALL_AGREE,
    differences: async () => {
      throw new RetryableError('clickhouse-unavailable', 'away')
    }
  }
  await t.rejects(service.billAt(MARCH_10 + 3 * HOUR_MS, { gate: away, batchSize: 2 }), {
    code: 'clickhouse-unavailable'
  })
  t.match(await service.billingStore.status(service.now()), { due: 5, parked: 0 })
  t.match(await service.billAt(MARCH_10 + DAY_MS, { batchSize: 2 }), { invoiced: 5 })
  const numbers = await service.database.query<{ number: string }>('read', {
    text: 'select number from invoice order by number'
  })
  t.same(
    numbers.map(({ number }) => number),
    ['INV-000001', 'INV-000002', 'INV-000003', 'INV-000004', 'INV-000005']
  )
})

t.test('a defect in one invoice parks it, and does not keep the others waiting', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 700n })
  for (const country of ['FR', 'DE']) await service.subscribe(await addCustomer(service, { country }), plan)
  const terms = { taxes: new Map([['FR', { percent: 'much', isInclusive: false }]]) }
  t.match(await service.billAt(MARCH_10 + 3 * HOUR_MS, { terms }), { invoiced: 1, parked: 1 })
  t.match(await service.billingStore.listParked(10), [{ reason: { code: 'failed', message: /much/ } }])
})

t.test('drafts have no number and ask nobody', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  await service.subscribe(await addCustomer(service), await addPlan(service, { baseFeeMinor: 700n }))
  t.match(await service.billAt(MARCH_10 + 3 * HOUR_MS, { terms: { asDrafts: true } }), { invoiced: 1 })
  const rows = await service.database.query('read', { text: 'select status, number, collect_at from invoice' })
  t.same(rows, [{ status: 'draft', number: null, collect_at: null }])
  t.same(await service.database.query('read', { text: "select id from outbox where type = 'invoice.finalized'" }), [])
})
