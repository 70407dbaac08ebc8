import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import type { Invoice, InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import { invoiceToJson, lineToJson } from '../../domain/billing/invoices/invoice-json.ts'
import { finalizeDraft, voidInvoice } from '../../domain/billing/invoices/invoice-life-cycle.ts'
import { taxRatesOf } from '../../domain/billing/tax-table.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { Price } from '../../domain/subscriptions/plan.ts'
import { DAY_MS, HOUR_MS, startBillingService, TERMS } from '../../test/billing/billing-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'

const PRICE: Price = {
  pool: 'input',
  model: '*',
  chargeModel: 'graduated',
  perTokens: 1_000_000,
  tiers: [
    { upTo: 10_000_000, amount: '3' },
    { upTo: null, amount: '2.5' }
  ],
  includedTokens: 500_000,
  minimumMinor: 5_000n,
  effectiveFrom: null
}
const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const APRIL_10 = Date.parse('2026-04-09T22:00:00Z')
const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }
const PARALLEL = 20

const service = await startBillingService(t)
const { database } = service
const { invoiceStore: store } = service.stores
const plan = await addPlan(service, { baseFeeMinor: 3_000n, prices: [PRICE] })
t.beforeEach(() => service.setNow(MARCH_10))

/** A customer with usage in a period that ended; its two invoices, the first of them of nothing but the base fee. */
async function billedCustomer({ asDrafts = false, grantMinor = 0n, creditMinor = 0n } = {}): Promise<Customer> {
  service.setNow(MARCH_10)
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await service.use({ customerId: customer.id, at: MARCH_10 + DAY_MS, tokens: 12_400_000 })
  if (grantMinor > 0n) await giveMoney(customer, grantMinor)
  if (creditMinor > 0n) {
    const first = await otherInvoice()
    await database.query('owe', {
      text: `insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at) values ($1, 'EUR', $2, $3, now())`,
      values: [customer.id, creditMinor, first]
    })
  }
  await service.billAt(APRIL_10 + 3 * HOUR_MS, { terms: { asDrafts } })
  return customer
}

/** What the credit came from does not matter here. */
async function otherInvoice(): Promise<string> {
  const [row] = await database.query<{ id: string }>('read', { text: 'select id from invoice limit 1' })
  return row?.id ?? ''
}

async function giveMoney({ id: customerId }: Customer, amountMinor: bigint): Promise<void> {
  const at = MARCH_10 - DAY_MS
  const amount = { kind: 'money', amountMinor, currency: 'EUR' } as const
  const times = { effectiveAt: at, expiresAt: null, revokedAt: null, settledUntil: null, createdAt: at, updatedAt: at }
  const grant = { id: randomUUIDv7(), customerId, amount, priority: 1, source: 'purchase', limitId: null } as const
  await service.stores.grantStore.insert({ ...grant, ...times, burnt: 0n, version: 1 }, UNTOLD)
}

async function invoicesOf({ id: customerId }: Customer): Promise<readonly Invoice[]> {
  const filter = { customerId, subscriptionId: null, status: null, limit: 10, cursor: '' }
  const { rows } = await store.list(PLATFORM, filter)
  return Promise.all(rows.map(async ({ id }) => found(id)))
}

async function found(id: string): Promise<Invoice> {
  const invoice = await store.find(PLATFORM, id)
  if (invoice === null) throw new Error(`no invoice ${id}`)
  return invoice
}

async function oneOf(customer: Customer, place = 0): Promise<Invoice> {
  const invoice = (await invoicesOf(customer))[place]
  if (invoice === undefined) throw new Error(`${customer.id} has no invoice ${place}`)
  return invoice
}

function finalize(draft: Invoice, prefix: string) {
  const taxRates = taxRatesOf(TERMS.taxes, 'FR')
  return store.finalize(draft, prefix, (facts) => ({
    next: finalizeDraft(draft, { ...facts, taxRates, issuer: TERMS.issuer, now: service.now() }),
    change: UNTOLD
  }))
}

function voided(invoice: Invoice) {
  return store.close(invoice, (standing) => {
    const next = voidInvoice<InvoiceHead>(invoice, standing, service.now())
    return 'refused' in next ? next : { next, change: UNTOLD }
  })
}

async function sumOf(text: string, id: string): Promise<number> {
  const [row] = await database.query<{ sum: number }>('sum', { text, values: [id] })
  return row?.sum ?? 0
}

const creditOf = ({ id }: Customer) =>
  sumOf('select sum(amount_minor)::integer as sum from customer_credit where customer_id = $1', id)
const burntOf = ({ id }: Customer) =>
  sumOf('select sum(burnt)::integer as sum from customer_grant where customer_id = $1', id)

t.test('an invoice comes back as billing wrote it, line by line', async (t) => {
  const customer = await billedCustomer({ grantMinor: 1_000n })
  const [first, second] = await invoicesOf(customer)
  t.equal(first?.lines.length, 1)
  t.match(second?.lines, [{ kind: 'usage' }, { kind: 'minimum' }, { kind: 'base-fee' }])
  const trail = await database.query<{ after: object }>('read the trail', {
    text: `select content -> 'after' as after from audit_event where customer_id = $1 and entity_kind = 'invoice' order by sequence`,
    values: [customer.id]
  })
  t.same(
    [first, second].map((invoice) => invoice && invoiceToJson(invoice)),
    trail.map(({ after }) => after)
  )
  const amounts = second?.lines.map((line) => Number(lineToJson(line).amountMinor)) ?? []
  // 10M of 11.9M charged tokens at 3, the rest at 2.50; 50.00 is the minimum.
  t.same(amounts, [3_475, 1_525, 3_000])
})

t.test('drafts that are finalized at the same time get consecutive numbers, whoever loses on the way', async (t) => {
  const customers: Customer[] = []
  for (let i = 0; i < PARALLEL; i++) {
    const customer = await addCustomer(service)
    await service.subscribe(customer, plan)
    customers.push(customer)
  }
  await service.billAt(MARCH_10 + 3 * HOUR_MS, { terms: { asDrafts: true } })
  const drafts = await Promise.all(customers.map((customer) => oneOf(customer)))
  t.ok(drafts.every(({ status, number }) => status === 'draft' && number === null))
  // Each twice: of the two one finds another version, and its number is the next one's.
  const outcomes = await Promise.all([...drafts, ...drafts].map((draft) => finalize(draft, 'PAR-')))
  t.equal(outcomes.filter((outcome) => outcome === 'other-version').length, PARALLEL)
  const numbers = (await Promise.all(drafts.map(({ id }) => found(id)))).map(({ number }) => number).toSorted()
  t.same(
    numbers,
    Array.from({ length: PARALLEL }, (_, i) => `PAR-${String(i + 1).padStart(6, '0')}`)
  )
})

t.test('a grant that two drafts count on is used once: the second is reckoned again', async (t) => {
  const customer = await billedCustomer({ asDrafts: true, grantMinor: 2_000n })
  const [first, second] = [await oneOf(customer, 0), await oneOf(customer, 1)]
  t.match([first.grantsMinor, second.grantsMinor], [2_000n, 2_000n])
  t.equal(await burntOf(customer), 0)
  await finalize(first, 'INV-')
  await finalize(second, 'INV-')
  t.equal(await burntOf(customer), 2_000)
  t.match(await oneOf(customer, 0), {
    grantsMinor: 2_000n,
    totalMinor: first.totalMinor,
    status: 'finalized',
    version: 2
  })
  const again = await oneOf(customer, 1)
  t.match(again, { grantsMinor: 0n, totalMinor: second.totalMinor + 2_000n, dueMinor: second.totalMinor + 2_000n })
  t.strictSame(again.lines, second.lines)
})

t.test('a void invoice gives back what it used of grants and credit, once', async (t) => {
  const customer = await billedCustomer({ grantMinor: 1_000n, creditMinor: 700n })
  const invoice = await oneOf(customer)
  t.match(invoice, { grantsMinor: 1_000n, creditAppliedMinor: 700n, dueMinor: 1_300n })
  t.same([await burntOf(customer), await creditOf(customer)], [1_000, 0])
  const outcomes = await Promise.all([voided(invoice), voided(invoice)])
  t.equal(outcomes.filter((outcome) => outcome === 'other-version').length, 1)
  t.same([await burntOf(customer), await creditOf(customer)], [0, 700])
  const after = await found(invoice.id)
  t.match(after, { status: 'void', number: invoice.number, version: 2, closedAt: service.now() })
  t.equal(invoiceToJson(after).openMinor, '0')
  t.same(await voided(after), { refused: 'not-voidable' })
})

t.test('what was paid, or is being paid, is not voided', async (t) => {
  const invoice = await oneOf(await billedCustomer())
  await database.query('charge', {
    text: `insert into payment (id, customer_id, invoice_id, provider, method, status, amount_minor, currency, provider_customer,
                                provider_method, created_at, updated_at)
           values ($1, $2, $1, 'stripe', 'card', 'pending', 100, 'EUR', 'cus_1', 'pm_1', now(), now())`,
    values: [invoice.id, invoice.customerId]
  })
  t.same(await voided(invoice), { refused: 'payment-pending' })
  await database.query('end', {
    text: `update payment set status = 'succeeded', received_at = now() where invoice_id = $1`,
    values: [invoice.id]
  })
  await database.query('pay', { text: 'update invoice set paid_minor = 100 where id = $1', values: [invoice.id] })
  t.same(await voided(await found(invoice.id)), { refused: 'something-paid' })
  t.match(await found(invoice.id), { status: 'finalized', version: 1 })
})

t.test('a finalized invoice is never edited, whoever writes', async (t) => {
  const invoice = await oneOf(await billedCustomer())
  for (const change of [
    'total_minor = total_minor + 1',
    "number = 'INV-999999'",
    "status = 'draft'",
    "bill_to = '{}'",
    'due_at = now()'
  ]) {
    const text = `update invoice set ${change} where id = $1`
    await t.rejects(database.query('edit', { text, values: [invoice.id] }), /never changes|can not turn/, change)
  }
  t.strictSame(await found(invoice.id), invoice)
})

t.test('a customer sees its own invoices, and none before it is finalized', async (t) => {
  const [one, other] = [await billedCustomer({ asDrafts: true }), await billedCustomer()]
  const draft = await oneOf(one)
  const reach = { kind: 'customer', customerId: one.id } as const
  const all = { customerId: null, subscriptionId: null, status: null, limit: 100, cursor: '' }
  t.equal(await store.find(reach, draft.id), null)
  t.equal(await store.find(reach, (await oneOf(other)).id), null)
  t.same((await store.list(reach, all)).rows, [])
  await finalize(draft, 'INV-')
  t.equal((await store.find(reach, draft.id))?.status, 'finalized')
  t.same(
    (await store.list(reach, all)).rows.map(({ id }) => id),
    [draft.id]
  )
})
