import { randomUUIDv7 } from 'node:crypto'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { StripeProvider } from '../../payments/stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn } from '../../payments/stripe-stand-in.ts'
import { DAY_MS, DUE } from '../../test/payments/collecting.ts'
import { startPayments } from '../../test/payments/payments-app.ts'
import { addKey } from '../../test/plans-and-customers.ts'

const INVOICE = '/v1/invoices/invoice-0001'
const TRANSFER = { amountMinor: '400', method: 'bank_transfer', reference: 'SEPA 42' }

t.test('money that came by hand is recorded in parts, once for each key, until nothing is open', async (t) => {
  const { call, invoices, events } = await startPayments(t, { invoices: 1, isByHand: true })
  const key = { 'idempotency-key': 'transfer-42' }
  const first = await call(`POST ${INVOICE}/payments`, TRANSFER, key)
  t.match(first, { status: 201, headers: { location: `/v1/payments/${first.body.id}` } })
  t.match(first.body, { ...TRANSFER, provider: 'manual', status: 'succeeded', receivedAt: '2026-11-25T12:00:00.000Z' })
  t.same((await call(`POST ${INVOICE}/payments`, TRANSFER, key)).body, first.body)
  t.match(await invoices(), [{ status: 'finalized', paid: '400' }])
  t.same((await call(`GET /v1/payments/${first.body.id}`)).body, first.body)
  const tooMuch = await call(`POST ${INVOICE}/payments`, { ...TRANSFER, amountMinor: '601', reference: 'SEPA 43' })
  t.match([tooMuch.status, tooMuch.body.code], [409, 'more-than-open'])
  const twice = await call(`POST ${INVOICE}/payments`, { ...TRANSFER, amountMinor: '600' })
  t.match([twice.status, twice.body.code], [409, 'reference-taken'])
  const wave = { amountMinor: '300', method: 'mobile_money' }
  t.equal((await call(`POST ${INVOICE}/payments`, wave)).status, 201)
  const rest = await call(`POST ${INVOICE}/payments`, wave)
  t.equal(rest.status, 201)
  t.match(await invoices(), [{ status: 'paid', paid: '1000', collect_at: null }])
  t.same(await events(), ['invoice.paid'])
  t.match((await call(`POST ${INVOICE}/payments`, TRANSFER)).body, { code: 'illegal-transition' })
  t.match((await call('GET /v1/payments?invoiceId=invoice-0001&limit=1')).body, { hasMore: true, data: [first.body] })
  t.same((await call('GET /v1/payments?status=failed')).body.data, [])
})

t.test('what is stated wrongly of a payment is refused', async (t) => {
  const { call } = await startPayments(t, { invoices: 1, isByHand: true })
  const codes = async (body: object) => (await call(`POST ${INVOICE}/payments`, body)).body.code
  for (const fault of [
    { amountMinor: '0' },
    { amountMinor: 400 },
    { method: 'card' },
    { receivedAt: '2026-11-25T12:01:00.001Z' },
    { by: 'me' }
  ])
    t.equal(await codes({ ...TRANSFER, ...fault }), 'validation-failed')
  t.equal((await call('POST /v1/invoices/none/payments', TRANSFER)).body.code, 'unknown-invoice')
  const ahead = { ...TRANSFER, receivedAt: '2026-11-25T12:01:00.000Z' }
  t.equal((await call(`POST ${INVOICE}/payments`, ahead)).status, 201, "a caller's clock may be a minute ahead")
  t.equal((await call('GET /v1/payments/none')).body.code, 'unknown-payment')
})

t.test("a customer's credential sees its own payments and account, and writes none", async (t) => {
  const service = await startPayments(t, { invoices: 2, isByHand: true })
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
  const { call, collect, invoices, database, setNow } = await startPayments(t, { invoices: 2, isByHand: true })
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

t.test('a signed event settles the payment that it names, and an unsigned one is refused', async (t) => {
  const { app, collect, stripe, invoices, payments } = await startPayments(t, { invoices: 1 })
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
  const { app, invoices } = await startPayments(t, { invoices: 1 })
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

t.test(
  'the account that is there already begins nothing anew, and who pays by hand again is reminded anew',
  async (t) => {
    const { call, collect, invoices, database, stripe, setNow } = await startPayments(t, {
      invoices: 1,
      isByHand: true
    })
    const path = '/v1/customers/customer-0001/payment-account'
    const account = { provider: 'stripe', providerCustomer: 'cus_1', providerMethod: 'pm_1' }
    await collect()
    await call(`PUT ${path}`, account)
    stripe.next({ makes: { declined: 'insufficient_funds' } })
    t.match(await collect(), { failed: 1 })
    setNow(DUE + 3_600_000)
    t.match(await call(`PUT ${path}`, account), {
      status: 200,
      body: { ...account, updatedAt: '2026-11-25T12:00:00.000Z' }
    })
    t.match(await invoices(), [{ charges: 1, collect_at: DUE + DAY_MS }])
    const puts = await database.query('read', { text: `select from audit_event where action = 'payment_account.put'` })
    t.equal(puts.length, 1)
    await call(`PUT ${path}`, { ...account, providerMethod: 'pm_2' })
    t.match(await invoices(), [{ charges: 0, collect_at: DUE + 3_600_000 }])
    await call(`DELETE ${path}`)
    t.match(await invoices(), [{ charges: 0, reminders: 0, collect_at: DUE + 3_600_000 }])
    t.match(await collect(), { reminded: 1 })
  }
)

for (const [ending, step, creditMinor] of [
  ['succeeded', 'succeeded', 1_000],
  [{ declined: 'insufficient_funds' }, 'failed', 0]
] as const) {
  t.test(
    `a charge that is under way is asked about until it has ${step}, whatever its invoice has become`,
    async (t) => {
      const service = await startPayments(t, { invoices: 1 })
      const { call, collect, invoices, payments, stripe, setNow } = service
      stripe.next({ makes: 'processing' })
      t.match(await collect(), { pending: 1 })
      t.match((await call(`POST ${INVOICE}/mark-uncollectible`)).body, { reason: 'payment-pending' })
      t.equal((await call(`POST ${INVOICE}/credit-notes`, { reason: 'All of it' })).status, 201)
      t.match(await invoices(), [{ status: 'paid' }])
      for (const day of [1, 2]) {
        setNow(DUE + day * DAY_MS)
        t.match(await collect(), { pending: 1 })
      }
      stripe.settle(stripe.charges[0]?.id ?? '', ending)
      setNow(DUE + 3 * DAY_MS)
      t.match(await collect(), { [step]: 1 })
      t.match(await payments(), [{ status: step }])
      t.match(await invoices(), [{ status: 'paid', collect_at: null, charges: 0 }])
      t.equal(await service.creditMinor(), creditMinor)
    }
  )
}

t.test('that a card is thought to be stolen is not told', async (t) => {
  const { call, collect, database, payments, stripe } = await startPayments(t, { invoices: 2 })
  stripe.turnFor = ({ parameters }) => {
    const isFirst = parameters.get('metadata[invoiceId]') === 'invoice-0001'
    return { makes: { declined: isFirst ? 'stolen_card' : 'insufficient_funds' } }
  }
  await collect()
  const codes = ['card_declined', 'insufficient_funds']
  const told = async (id: string) => (await call(`GET /v1/payments?invoiceId=${id}`)).body.data[0].failureCode
  t.same([await told('invoice-0001'), await told('invoice-0002')], codes)
  const events = await database.query<{ code: string }>('read', {
    text: `select data->>'failureCode' as code from outbox where type = 'payment.failed' order by code`
  })
  t.same(
    events.map(({ code }) => code),
    codes
  )
  t.ok(
    (await payments()).some(({ failureCode }) => failureCode === 'stolen_card'),
    'it is known'
  )
})

t.test('a refund that failed late, and a dispute, are logged with their payment', async (t) => {
  const logged: string[] = []
  const stream = { write: (line: string) => void logged.push(line) }
  const logger = Fastify({ logger: { level: 'error', stream } }).log
  const { app, collect, stripe, payments } = await startPayments(t, { invoices: 1 }, { logger })
  await collect()
  const [payment] = await payments()
  const intentId = payment?.reference ?? ''
  for (const [type, payment_intent] of [
    ['refund.failed', intentId],
    ['charge.dispute.created', intentId],
    ['charge.dispute.created', 'pi_other']
  ] as const) {
    const { body, headers } = stripe.webhook({ type, intentId, object: { id: 'x_1', payment_intent } })
    const url = '/v1/payment-events/stripe'
    const sent = { ...headers, 'content-type': 'application/json' }
    t.equal((await app.inject({ method: 'POST', url, headers: sent, payload: body })).statusCode, 200)
  }
  t.match(
    logged.map((line) => JSON.parse(line)),
    [
      { kind: 'refund-failed', reference: intentId, paymentId: payment?.id },
      { kind: 'disputed', reference: intentId, paymentId: payment?.id },
      { kind: 'disputed', reference: 'pi_other', paymentId: null }
    ]
  )
  t.match(await payments(), [{ status: 'succeeded' }])
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
