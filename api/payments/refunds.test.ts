import t, { type Test } from 'tap'
import { PostgresPaymentStore } from '../../sql/billing/payments/payment-store.ts'
import { DAY_MS, DUE } from '../../test/payments/collecting.ts'
import { startPayments } from '../../test/payments/payments-app.ts'
import { startTestApp } from '../ports-in-memory.ts'

const NOTES = '/v1/invoices/invoice-0001/credit-notes'

/** So many payments that were more than was open: 400 of each are its customer's credit. */
async function withExcess(t: Test, invoices: number) {
  const service = await startPayments(t, { invoices })
  const { call, collect, database, stripe, payments, setNow } = service
  stripe.turnFor = () => ({ makes: 'processing' })
  await collect()
  for (const { invoiceId } of await payments()) {
    await call(`POST /v1/invoices/${invoiceId}/credit-notes`, { amountMinor: '400', reason: 'Outage' })
  }
  for (const { id } of stripe.charges) stripe.settle(id, 'succeeded')
  stripe.turnFor = () => ({})
  setNow(DUE + DAY_MS)
  await collect()
  const paid = (await payments()).toSorted((a, b) => (a.invoiceId < b.invoiceId ? -1 : 1))
  t.ok(paid.every(({ status, excessMinor }) => status === 'succeeded' && excessMinor === 400n))
  const paths = paid.map(({ id }) => `POST /v1/payments/${id}/refund` as const)
  const creditOf = async (customerId: string) => {
    const text = 'select sum(amount_minor)::integer as sum from customer_credit where customer_id = $1'
    return (await database.query<{ sum: number }>('sum', { text, values: [customerId] }))[0]?.sum
  }
  const [first, second] = paths
  if (first === undefined) throw new Error('nothing was paid')
  return { ...service, creditOf, paths: [first, second ?? first] as const }
}

t.test('a refund is one refund with one credit note, however often its request comes', async (t) => {
  const service = await startPayments(t, { invoices: 1 })
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
  t.same(await service.creditNotes(), [{ number: 'CN-000001', amount: '300', settlement: 'refund', reason: 'Outage' }])
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
  const service = await startPayments(t, { invoices: 1 })
  const { call, collect, payments, stripe, setNow, finishRefunds, refundFaults } = service
  await collect()
  const [payment] = await payments()
  stripe.next({ answer: 'lost' })
  const ask = async () =>
    call(
      `POST /v1/payments/${payment?.id}/refund`,
      { amountMinor: '300', reason: 'Outage' },
      { 'idempotency-key': 'r1' }
    )
  t.equal((await ask()).status, 503)
  t.equal(await finishRefunds(), 0, 'the request may still be in hand')
  setNow(DUE + DAY_MS)
  t.equal(await finishRefunds(), 1)
  t.equal(await finishRefunds(), 0)
  t.match(await payments(), [{ status: 'succeeded', refundedMinor: 300n, refundingMinor: 0n }])
  t.equal(stripe.refunds.length, 1)
  t.equal((await service.creditNotes()).length, 1)
  t.match(
    await ask(),
    { status: 200, body: { refundedMinor: '300' } },
    'who asks again is answered, and nothing is given'
  )
  t.equal(stripe.refunds.length, 1)
  t.same(refundFaults, [])
})

t.test('a request that comes to two processes refunds once, though one settles before the other begins', async (t) => {
  const { call, collect, payments, stores, entities, stripe, creditNotes } = await startPayments(t, { invoices: 1 })
  await collect()
  const [payment] = await payments()
  const [late, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const paymentStore = new PostgresPaymentStore(entities)
  const find = paymentStore.find.bind(paymentStore)
  // Its key was looked up before.
  paymentStore.find = async (reach, id) => {
    late.resolve()
    await released.promise
    return find(reach, id)
  }
  const other = await startTestApp({}, { ...stores, paymentStore })
  t.teardown(() => other.app.close())
  const path = `POST /v1/payments/${payment?.id}/refund` as const
  const ask = [{ amountMinor: '300', reason: 'Outage' }, { 'idempotency-key': 'r1' }] as const
  const second = other.call(path, ...ask)
  await late.promise
  const first = await call(path, ...ask)
  released.resolve()
  t.match(first, { status: 200, body: { refundedMinor: '300' } })
  t.match(await second, { status: 200, body: first.body })
  t.equal(stripe.refunds.length, 1)
  t.equal((await creditNotes()).length, 1)
  t.match(await payments(), [{ refundedMinor: 300n, refundingMinor: 0n }])
})

t.test('what is being refunded is not credited besides; what is refused is no longer being refunded', async (t) => {
  const { call, collect, payments, stripe, creditMinor, creditNotes } = await startPayments(t, { invoices: 1 })
  await collect()
  const [payment] = await payments()
  const refund = () => call(`POST /v1/payments/${payment?.id}/refund`, { amountMinor: '700', reason: 'Outage' })
  stripe.next({ answer: { status: 400, code: 'insufficient_balance' } })
  t.match((await refund()).body, { code: 'refund-refused', reason: 'insufficient_balance' })
  t.match(await payments(), [{ status: 'succeeded', refundingMinor: 0n }])
  stripe.next({ answer: 'lost' })
  t.equal((await refund()).status, 503)
  t.match((await call(`POST ${NOTES}`, { amountMinor: '301', reason: 'Outage' })).body, { reason: 'more-than-left' })
  t.equal((await call(`POST ${NOTES}`, { reason: 'All that is left' })).status, 201)
  t.equal((await refund()).status, 200)
  t.match(await creditNotes(), [{ amount: '300' }, { amount: '700', settlement: 'refund' }])
  t.equal(await creditMinor(), 300)
})

t.test('a refund that fails each time keeps no other waiting', async (t) => {
  const { call, collect, payments, stripe, refundStore } = await startPayments(t, { invoices: 3 })
  await collect()
  stripe.turnFor = () => ({ answer: { status: 503 } })
  for (const { id } of await payments()) {
    t.equal((await call(`POST /v1/payments/${id}/refund`, { amountMinor: '500', reason: 'Outage' })).status, 503)
  }
  const takenAt = async (now: number) =>
    (await refundStore.takeUnsettled({ before: DUE + DAY_MS, now, limit: 1 })).map(({ begun }) => begun.id).join()
  const taken = [await takenAt(DUE + 2 * DAY_MS), await takenAt(DUE + 3 * DAY_MS), await takenAt(DUE + 4 * DAY_MS)]
  t.same(taken.toSorted(), (await payments()).map(({ id }) => id).toSorted())
  t.equal(await takenAt(DUE + 5 * DAY_MS), taken[0])
})

t.test('what was paid too much is given back of the credit that it became, without a note', async (t) => {
  const { call, paths, creditMinor, creditNotes, payments, stripe } = await withExcess(t, 1)
  const ask = { amountMinor: '300', reason: 'Too much' }
  stripe.next({ answer: 'lost' })
  t.equal((await call(paths[0], ask)).status, 503)
  t.equal(await creditMinor(), 100, 'what is being given back is used by nobody else')
  t.match(await call(paths[0], ask), { status: 200, body: { refundedMinor: '300' } })
  t.equal(await creditMinor(), 100)
  t.match(await call(paths[0], { reason: 'The rest' }), { status: 200, body: { status: 'refunded' } })
  t.equal(await creditMinor(), 0)
  t.match(await creditNotes(), [
    { amount: '400', settlement: 'invoice' },
    { amount: '600', settlement: 'refund' }
  ])
  t.match(await payments(), [{ refundedMinor: 1_000n, refundingMinor: 0n }])
})

t.test(
  'credit that was used is not given back as money, and what could not be given back is credit again',
  async (t) => {
    const { call, paths, creditOf, creditNotes, database, stripe } = await withExcess(t, 2)
    await database.query('use credit', {
      text: `insert into customer_credit (customer_id, currency, amount_minor, invoice_id, written_at)
           values ('customer-0001', 'EUR', -1, 'invoice-0001', now())`
    })
    const ask = { amountMinor: '400', reason: 'Too much' }
    t.match(await call(paths[0], ask), { status: 409, body: { code: 'illegal-transition', reason: 'credit-used' } })
    t.equal(stripe.refunds.length, 0)
    t.equal((await call(paths[0], { ...ask, amountMinor: '399' })).status, 200)
    stripe.next({ answer: { status: 400 } })
    t.match((await call(paths[1], ask)).body, { code: 'refund-refused', reason: 'invalid_request' })
    t.same([await creditOf('customer-0001'), await creditOf('customer-0002')], [0, 400])
    t.equal((await creditNotes()).length, 2)
  }
)
