import t from 'tap'
import { PLATFORM } from '../../domain/change.ts'
import type { Price } from '../../domain/subscriptions/plan.ts'
import { cancel } from '../../domain/subscriptions/subscription-life-cycle.ts'
import {
  ALL_AGREE,
  type BillingService,
  DAY_MS,
  HOUR_MS,
  startBillingService
} from '../../test/billing/billing-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'

const PRICE: Price = {
  pool: 'input',
  model: '*',
  chargeModel: 'per_unit',
  perTokens: 1_000_000,
  tiers: [{ upTo: null, amount: '3' }],
  includedTokens: 0,
  minimumMinor: 0n,
  effectiveFrom: null
}
const ALL_OF = (customerId: string) => ({ customerId, status: null, cursor: '', limit: 10 })
const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const APRIL_10 = Date.parse('2026-04-09T22:00:00Z')
const MAY_10 = Date.parse('2026-05-09T22:00:00Z')

interface InvoiceRow {
  readonly number: string
  readonly status: string
  readonly total: number
  readonly due: number
  readonly lines: readonly { readonly kind: string; readonly amount: number; readonly detail: object }[]
}

async function invoicesOf({ database }: BillingService, customerId: string): Promise<readonly InvoiceRow[]> {
  return database.query<InvoiceRow & Record<string, unknown>>('read invoices', {
    text: `select number, status, total_minor::integer as total, due_minor::integer as due,
                  (select json_agg(json_build_object('kind', kind, 'amount', amount_minor, 'detail', detail) order by position)
                     from invoice_line where invoice_id = invoice.id) as lines
             from invoice where customer_id = $1 order by boundary`,
    values: [customerId]
  })
}

t.test('a period is billed where it ends, and the fee of the next one with it', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 3_000n, prices: [PRICE] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await service.use({ customerId: customer.id, at: MARCH_10 + DAY_MS, tokens: 12_400_000 })
  await service.use({ customerId: customer.id, at: APRIL_10, tokens: 1_000_000 })
  await service.billAt(APRIL_10 + 3 * HOUR_MS)
  const [first, second] = await invoicesOf(service, customer.id)
  t.match(first, { total: 3_000, due: 3_000, status: 'finalized', lines: [{ kind: 'base-fee', amount: 3_000 }] })
  t.match(second, {
    total: 6_720,
    lines: [
      { kind: 'usage', amount: 3_720 },
      { kind: 'base-fee', amount: 3_000 }
    ]
  })
  t.same(await service.billAt(APRIL_10 + 4 * HOUR_MS), { invoiced: 0, empty: 0, parked: 0 }, 'once')
  const trail = await service.database.query('read', {
    text: `select action from audit_event where customer_id = $1 and entity_kind = 'invoice'`,
    values: [customer.id]
  })
  t.same(trail, [{ action: 'invoice.finalized' }, { action: 'invoice.finalized' }])
  const events = await service.database.query<{ type: string }>('read', {
    text: `select type from outbox where customer_id = $1 order by position`,
    values: [customer.id]
  })
  t.same(
    events.map(({ type }) => type),
    ['subscription.renewed', 'invoice.finalized', 'invoice.finalized']
  )
})

t.test(
  'what comes late is a line of the next invoice, what is voided a credit, and a finalized invoice stays',
  async (t) => {
    const service = await startBillingService(t)
    service.setNow(MARCH_10)
    const plan = await addPlan(service, { baseFeeMinor: 0n, prices: [PRICE] })
    const [late, voided] = [await addCustomer(service), await addCustomer(service)]
    for (const customer of [late, voided]) {
      await service.subscribe(customer, plan)
      await service.use({ customerId: customer.id, at: MARCH_10 + HOUR_MS, tokens: 2_000_000 })
    }
    await service.billAt(APRIL_10 + 3 * HOUR_MS)
    const before = await invoicesOf(service, late.id)
    await service.use({ customerId: late.id, at: MARCH_10 + HOUR_MS, tokens: 1_000_000 })
    await service.use({ customerId: voided.id, at: MARCH_10 + HOUR_MS, tokens: -500_000 })
    await service.billAt(MAY_10 + 3 * HOUR_MS)
    const [first, second] = await invoicesOf(service, late.id)
    t.same([first], before, 'as it was')
    t.match(second, {
      total: 300,
      lines: [
        {
          kind: 'adjustment',
          detail: { ratedMinor: '900', invoicedMinor: '600', differences: [{ tokens: '1000000' }] }
        }
      ]
    })
    const [, credit] = await invoicesOf(service, voided.id)
    t.match(credit, { total: -150, due: 0, status: 'paid', lines: [{ kind: 'adjustment', amount: -150 }] })
    await service.use({ customerId: voided.id, at: MAY_10 + HOUR_MS, tokens: 1_000_000 })
    await service.billAt(MAY_10 + 31 * DAY_MS + 3 * HOUR_MS)
    const [, , used] = await invoicesOf(service, voided.id)
    t.match(
      used,
      { total: 300, due: 150 },
      'credit pays before anybody is asked; what was adjusted is not adjusted again'
    )
  }
)

t.test('three nights that were skipped are billed by one run, each with its own prices', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const dearer = { ...PRICE, tiers: [{ upTo: null, amount: '5' }], effectiveFrom: APRIL_10 + DAY_MS }
  const plan = await addPlan(service, { baseFeeMinor: 1_000n, prices: [PRICE, dearer] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  for (const at of [MARCH_10, APRIL_10 + 2 * DAY_MS, MAY_10 + DAY_MS]) {
    await service.use({ customerId: customer.id, at, tokens: 1_000_000 })
  }
  await service.billAt(MAY_10 + 40 * DAY_MS)
  const invoices = await invoicesOf(service, customer.id)
  t.same(
    invoices.map(({ total }) => total),
    [1_000, 1_300, 1_500, 1_500]
  )
})

t.test('what comes late for a year is a line of the next one', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 0n, interval: 'year', prices: [PRICE] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await service.use({ customerId: customer.id, at: MARCH_10 + 9 * DAY_MS, tokens: 2_000_000 })
  const year = Date.parse('2027-03-09T23:00:00Z')
  await service.billAt(year + 3 * HOUR_MS)
  await service.use({ customerId: customer.id, at: year - HOUR_MS, tokens: 1_000_000 })
  await service.billAt(year + 366 * DAY_MS + 3 * HOUR_MS)
  const invoices = await invoicesOf(service, customer.id)
  t.match(invoices, [{ total: 600 }, { total: 300, lines: [{ kind: 'adjustment', amount: 300 }] }])
  t.equal(invoices.length, 2)
})

t.test('what is voided weeks after the next boundary is given back at the one after it', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 0n, prices: [PRICE] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await service.use({ customerId: customer.id, at: MARCH_10, tokens: 2_000_000 })
  await service.billAt(MAY_10 + 3 * HOUR_MS)
  await service.use({ customerId: customer.id, at: MARCH_10, tokens: -1_000_000 })
  await service.billAt(MAY_10 + 31 * DAY_MS + 3 * HOUR_MS)
  t.match(await invoicesOf(service, customer.id), [{ total: 600 }, { total: -300 }])
})

t.test('a settlement has what came late for the period before the last one, which was cut off', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 0n, prices: [PRICE] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  const at = APRIL_10 + 2 * DAY_MS
  await service.billAt(at)
  const [subscription] = (await service.stores.subscriptionStore.list(PLATFORM, ALL_OF(customer.id))).rows
  if (subscription === undefined) throw new Error('no subscription')
  await service.turn(cancel(subscription, { when: 'now', now: at }))
  await service.billAt(at + 3 * HOUR_MS)
  await service.use({ customerId: customer.id, at: APRIL_10 - HOUR_MS, tokens: 1_000_000 })
  await service.billAt(at + 36 * DAY_MS)
  t.match(await invoicesOf(service, customer.id), [{ total: 300, lines: [{ kind: 'adjustment' }] }])
})

t.test('one that was cut off is given back its unused days, and settled when nothing more can come', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 3_100n, prices: [PRICE] })
  const customer = await addCustomer(service)
  const subscription = await service.subscribe(customer, plan)
  await service.billAt(MARCH_10 + 3 * HOUR_MS)
  const at = MARCH_10 + 10 * DAY_MS
  await service.use({ customerId: customer.id, at: at - HOUR_MS, tokens: 1_000_000 })
  service.setNow(at)
  await service.turn(cancel(subscription, { when: 'now', now: at }))
  await service.billAt(at + 3 * HOUR_MS)
  const [, last] = await invoicesOf(service, customer.id)
  t.match(last, {
    total: -1_800,
    lines: [
      { kind: 'usage', amount: 300 },
      { kind: 'base-fee', amount: -2_100 }
    ]
  })
  await service.use({ customerId: customer.id, at: at - HOUR_MS, tokens: 2_000_000 })
  await service.billAt(at + 36 * DAY_MS)
  const [, , settlement] = await invoicesOf(service, customer.id)
  t.match(settlement, { total: 600, due: 0, status: 'paid', lines: [{ kind: 'adjustment', amount: 600 }] })
  t.same(await service.billAt(at + 200 * DAY_MS), { invoiced: 0, empty: 0, parked: 0 }, 'and never again')
})

t.test('what has no price is parked, naming it, and billed when it has one', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 0n, prices: [{ ...PRICE, model: 'sonnet*' }] })
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await service.use({ customerId: customer.id, at: MARCH_10, model: 'haiku', tokens: 7 })
  t.match(await service.billAt(APRIL_10 + 3 * HOUR_MS), { parked: 1 })
  const parked = await service.billingStore.listParked(10)
  t.match(parked, [
    {
      customerId: customer.id,
      reason: { code: 'unrated-usage', usage: [{ model: 'haiku', pool: 'input', tokens: '7' }] }
    }
  ])
  t.match(await service.billingStore.status(service.now()), { parked: 1 })
  await service.use({ customerId: customer.id, at: MARCH_10, model: 'haiku', tokens: -7 })
  await service.use({ customerId: customer.id, at: MARCH_10, tokens: 1_000_000 })
  t.match(await service.billAt(APRIL_10 + 5 * HOUR_MS), { invoiced: 1, parked: 0 })
})

t.test('a store that disagrees parks its customer alone', async (t) => {
  const service = await startBillingService(t)
  service.setNow(MARCH_10)
  const plan = await addPlan(service, { baseFeeMinor: 500n })
  const [differs, agrees] = [await addCustomer(service), await addCustomer(service)]
  for (const customer of [differs, agrees]) await service.subscribe(customer, plan)
  const gate = {
    ...ALL_AGREE,
    differences: async () =>
      new Map([[differs.id, { code: 'stores-differ', store: 'clickhouse', differences: [] }]] as const)
  }
  t.match(await service.billAt(MARCH_10 + 3 * HOUR_MS, { gate }), { parked: 1 })
  t.equal((await invoicesOf(service, differs.id)).length, 0)
  t.equal((await invoicesOf(service, agrees.id)).length, 1)
  t.match(await service.billAt(MARCH_10 + 5 * HOUR_MS), { invoiced: 1, parked: 0 }, 'when they agree again')
})
