import { randomUUIDv7 } from 'node:crypto'
import t, { type Test } from 'tap'
import { finishRefunds } from '../../billing-job/collect/finish-refunds.ts'
import { StripeProvider } from '../../payments/stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn } from '../../payments/stripe-stand-in.ts'
import { PostgresInvoiceStore } from '../../sql/billing/invoice-store.ts'
import { PostgresPaymentAccountStore } from '../../sql/billing/payments/payment-account-store.ts'
import { PostgresRefundStore } from '../../sql/billing/payments/refund-store.ts'
import { PostgresIdempotencyStore } from '../../sql/change/idempotency-store.ts'
import { PostgresApiKeyStore } from '../../sql/customers/api-key-store.ts'
import { PostgresCustomerStore } from '../../sql/customers/customer-store.ts'
import { type Collecting, DAY_MS, DUE, startCollecting } from '../../test/payments/collecting.ts'
import { addKey } from '../../test/plans-and-customers.ts'
import { startTestApp } from '../ports-in-memory.ts'

const INVOICE = '/v1/invoices/invoice-0001'
const TRANSFER = { amountMinor: '400', method: 'bank_transfer', reference: 'SEPA 42' }

async function start(t: Test, options: Parameters<typeof startCollecting>[1]) {
  const collecting = await startCollecting(t, options)
  const { entities, collectStore, paymentStore, provider, now } = collecting
  const apiKeyStore = new PostgresApiKeyStore(entities)
  const refundStore = new PostgresRefundStore(entities)
  const stores = {
    apiKeyStore,
    collectStore,
    customerStore: new PostgresCustomerStore(entities),
    idempotencyStore: new PostgresIdempotencyStore(entities),
    invoiceStore: new PostgresInvoiceStore(entities),
    paymentAccountStore: new PostgresPaymentAccountStore(entities),
    paymentStore,
    refundStore
  }
  const started = await startTestApp({}, { ...stores, paymentProvider: provider, now })
  t.teardown(() => started.app.close())
  return { ...collecting, ...started, apiKeyStore, refundStore }
}

async function creditNotes({ database }: Pick<Collecting, 'database'>) {
  return database.query('read credit notes', {
    text: 'select number, amount_minor::text as amount, settlement, reason from credit_note order by number'
  })
}

t.test('money that came by hand is recorded in parts, once for each key, until nothing is open', async (t) => {
  const { call, invoices, events } = await start(t, { invoices: 1, isByHand: true })
  const key = { 'idempotency-key': 'transfer-42' }
  const first = await call(`POST ${INVOICE}/payments`, TRANSFER, key)
  t.match(first, { status: 201, headers: { location: `/v1/payments/${first.body.id}` } })
  t.match(first.body, { ...TRANSFER, provider: 'manual', status: 'succeeded', receivedAt: '2026-11-25T12:00:00.000Z' })
  t.same((await call(`POST ${INVOICE}/payments`, TRANSFER, key)).body, first.body)
  t.match(await invoices(), [{ status: 'finalized', paid: '400' }])
  t.same((await call(`GET /v1/payments/${first.body.id}`)).body, first.body)
  const tooMuch = await call(`POST ${INVOICE}/payments`, { ...TRANSFER, amountMinor: '601' })
  t.match([tooMuch.status, tooMuch.body.code], [409, 'more-than-open'])
  const rest = await call(`POST ${INVOICE}/payments`, { ...TRANSFER, amountMinor: '600', method: 'mobile_money' })
  t.equal(rest.status, 201)
  t.match(await invoices(), [{ status: 'paid', paid: '1000', collect_at: null }])
  t.same(await events(), ['invoice.paid'])
  t.match((await call(`POST ${INVOICE}/payments`, TRANSFER)).body, { code: 'illegal-transition' })
  t.match((await call('GET /v1/payments?invoiceId=invoice-0001&limit=1')).body, { hasMore: true, data: [first.body] })
  t.same((await call('GET /v1/payments?status=failed')).body.data, [])
})

t.test('what is stated wrongly of a payment is refused', async (t) => {
  const { call } = await start(t, { invoices: 1, isByHand: true })
  const codes = async (body: object) => (await call(`POST ${INVOICE}/payments`, body)).body.code
  for (const fault of [
    { amountMinor: '0' },
    { amountMinor: 400 },
    { method: 'card' },
    { receivedAt: '2026-11-25T12:00:00.001Z' },
    { by: 'me' }
  ])
    t.equal(await codes({ ...TRANSFER, ...fault }), 'validation-failed')
  t.equal((await call('POST /v1/invoices/none/payments', TRANSFER)).body.code, 'unknown-invoice')
  t.equal((await call('GET /v1/payments/none')).body.code, 'unknown-payment')
})

t.test("a customer's credential sees its own payments and account, and writes none", async (t) => {
  const service = await start(t, { invoices: 2, isByHand: true })
  const { call, apiKeyStore, now } = service
  for (const invoice of ['invoice-0001', 'invoice-0002']) await call(`POST /v1/invoices/${invoice}/payments`, TRANSFER)
  const key = await addKey({ stores: { apiKeyStore }, now }, 'customer-0002')
  const own = await call('GET /v1/payments', undefined, key)
  t.match(own.body.data, [{ customerId: 'customer-0002' }])
  t.equal(own.body.data.length, 1)
  const [foreign] = (await call('GET /v1/payments?customerId=customer-0001')).body.data
  t.equal((await call(`GET /v1/payments/${foreign.id}`, undefined, key)).status, 404)
  t.equal(
    (await call('GET /v1/customers/customer-0002/payment-account', undefined, key)).body.code,
    'no-payment-account'
  )
  t.equal((await call(`POST ${INVOICE}/payments`, TRANSFER, key)).status, 403)
})

t.test('who names an account is charged at once, and who takes it away is reminded', async (t) => {
  const { call, collect, invoices, database, setNow } = await start(t, { invoices: 2, isByHand: true })
  await collect()
  const path = '/v1/customers/customer-0001/payment-account'
  const account = { provider: 'stripe', providerCustomer: 'cus_1', providerMethod: 'pm_1' }
  t.match(await call(`PUT ${path}`, account), { status: 200, body: { ...account, customerId: 'customer-0001' } })
  t.match((await call(`GET ${path}`)).body, account)
  t.match(await collect(), { succeeded: 1, reminded: 0 })
  t.match(await invoices(), [{ status: 'paid' }, { status: 'finalized' }])
  t.equal((await call('PUT /v1/customers/none/payment-account', account)).body.code, 'unknown-customer')
  t.equal((await call(`DELETE ${path}`)).status, 204)
  t.equal((await call(`DELETE ${path}`)).status, 204, 'there is none')
  t.equal((await call(`GET ${path}`)).status, 404)
  await call('PUT /v1/customers/customer-0002/payment-account', account)
  await call('DELETE /v1/customers/customer-0002/payment-account')
  setNow(DUE + 7 * DAY_MS)
  t.match(await collect(), { succeeded: 0, reminded: 1 })
  const actions = await database.query('read', {
    text: `select action from audit_event where entity_kind = 'payment-account' and customer_id = 'customer-0001' order by sequence`
  })
  t.same(actions, [{ action: 'payment_account.put' }, { action: 'payment_account.removed' }])
})

t.test('a refund is one refund with one credit note, however often its request comes', async (t) => {
  const service = await start(t, { invoices: 1 })
  const { call, collect, payments, stripe } = service
  await collect()
  const [payment] = await payments()
  const path = `POST /v1/payments/${payment?.id}/refund` as const
  const ask = { amountMinor: '300', reason: 'Outage' }
  stripe.next({ answer: 'lost' })
  const lost = await call(path, ask, { 'idempotency-key': 'r1' })
  t.equal(lost.status, 503)
  t.match((await call(path, { ...ask, amountMinor: '200' })).body, {
    code: 'illegal-transition',
    reason: 'refund-pending'
  })
  const given = await call(path, ask, { 'idempotency-key': 'r1' })
  t.match(given, { status: 200, body: { refundedMinor: '300', status: 'succeeded' } })
  t.same((await call(path, ask, { 'idempotency-key': 'r1' })).body, given.body)
  t.equal(stripe.refunds.length, 1)
  t.same(await creditNotes(service), [{ number: 'CN-000001', amount: '300', settlement: 'refund', reason: 'Outage' }])
  t.match((await call(path, { ...ask, amountMinor: '701' })).body, {
    code: 'illegal-transition',
    reason: 'more-than-paid'
  })
  t.match((await call(path, { reason: 'All of it' })).body, { refundedMinor: '1000', status: 'refunded' })
  t.match((await call(path, { reason: 'More' })).body, { code: 'illegal-transition' })
  t.same(
    stripe.refunds.map(({ amount }) => amount),
    [300, 700]
  )
})

t.test('a refund that nobody asks for again is finished by the next run', async (t) => {
  const service = await start(t, { invoices: 1 })
  const { call, collect, payments, stripe, refundStore, provider, setNow, now } = service
  await collect()
  const [payment] = await payments()
  stripe.next({ answer: 'lost' })
  await call(`POST /v1/payments/${payment?.id}/refund`, { reason: 'Outage' })
  const faults: unknown[] = []
  const finish = () =>
    finishRefunds(
      { refundStore, provider, creditNoteNumberPrefix: 'CN-', now, onRefundFault: (fault) => faults.push(fault) },
      () => false
    )
  t.equal(await finish(), 0, 'the request may still be in hand')
  setNow(DUE + DAY_MS)
  t.equal(await finish(), 1)
  t.equal(await finish(), 0)
  t.match(await payments(), [{ status: 'refunded', refundedMinor: 1_000n, refundingMinor: 0n }])
  t.equal(stripe.refunds.length, 1)
  t.equal((await creditNotes(service)).length, 1)
  t.same(faults, [])
})

t.test('a signed event settles the payment that it names, and an unsigned one is refused', async (t) => {
  const { app, collect, stripe, invoices, payments } = await start(t, { invoices: 1 })
  stripe.next({ makes: 'processing' })
  await collect()
  const [intent] = stripe.charges
  const intentId = intent?.id ?? ''
  stripe.settle(intentId, 'succeeded')
  const post = (event: { readonly body: Buffer; readonly headers: object }) =>
    app.inject({
      method: 'POST',
      url: '/v1/payment-events/stripe',
      headers: { 'content-type': 'application/json', ...event.headers },
      payload: event.body
    })
  const event = stripe.webhook({ type: 'payment_intent.succeeded', intentId })
  for (const unsigned of [
    { ...event, headers: {} },
    { ...event, body: Buffer.from('{}') },
    stripe.webhook({ type: 'payment_intent.succeeded', intentId, secret: 'whsec_of_another' })
  ]) {
    const refused = await post(unsigned)
    t.match([refused.statusCode, refused.json()], [401, { code: 'unsigned-event' }])
  }
  t.match(await invoices(), [{ status: 'finalized' }])
  for (const type of [
    'payment_intent.succeeded',
    'payment_intent.processing',
    'payment_intent.succeeded',
    'charge.updated'
  ]) {
    const taken = await post(stripe.webhook({ type, intentId }))
    t.match([taken.statusCode, taken.json()], [200, { received: true }])
  }
  t.match(await invoices(), [{ status: 'paid', paid: '1000' }])
  t.match(await payments(), [{ status: 'succeeded', reference: intentId }])
})

t.test('an event about a payment that is not known is taken and changes nothing', async (t) => {
  const { app, invoices } = await start(t, { invoices: 1 })
  const other = await foreignCharge(t)
  const { body, headers } = other.stripe.webhook({ type: 'payment_intent.succeeded', intentId: other.intentId })
  const taken = await app.inject({
    method: 'POST',
    url: '/v1/payment-events/stripe',
    headers: { 'content-type': 'application/json', ...headers },
    payload: body
  })
  t.equal(taken.statusCode, 200)
  t.match(await invoices(), [{ status: 'finalized', paid: '0' }])
})

/** Of another installation that Stripe posts to the same address for. */
async function foreignCharge(t: Test): Promise<{ readonly stripe: StripeStandIn; readonly intentId: string }> {
  const stripe = await startStripeStandIn(t)
  const charged = await new StripeProvider({ ...stripe.connection, timeoutMs: 5_000 }).charge({
    idempotencyKey: randomUUIDv7(),
    amountMinor: 1n,
    currency: 'EUR',
    account: { customerId: 'c', providerCustomer: 'cus_c', providerMethod: 'pm_c' },
    invoiceId: 'i',
    invoiceNumber: 'INV-1'
  })
  return { stripe, intentId: charged.reference ?? '' }
}
