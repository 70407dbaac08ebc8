import t from 'tap'
import { DAY_MS, DUE, startCollecting } from '../../test/payments/collecting.ts'
import { COLLECT_LEASE_MS, COLLECT_LIMIT_MS, type CollectCounts } from './collect-due.ts'

t.test('fifty runs at once charge each of 200 invoices once', async (t) => {
  const collecting = await startCollecting(t, { invoices: 200 })
  await Promise.all(Array.from({ length: 50 }, () => collecting.collect()))
  const { stripe } = collecting
  const invoices = await collecting.invoices()
  t.ok(invoices.every(({ status, paid, due }) => status === 'paid' && paid === due))
  t.equal(stripe.charges.length, 200)
  t.equal(new Set(stripe.charges.map(({ metadata }) => metadata.invoiceId)).size, 200)
  t.equal(
    stripe.charges.reduce((sum, { amount }) => sum + amount, 0),
    invoices.reduce((sum, { due }) => sum + Number(due), 0)
  )
  const events = await collecting.events()
  t.same([events.length, new Set(events)], [200, new Set(['invoice.paid'])])
  t.same(collecting.faults, [])
})

t.test('a charge whose answer was lost is asked for again under its key, and is one charge', async (t) => {
  const collecting = await startCollecting(t, { invoices: 20 })
  const { stripe, faults } = collecting
  stripe.next(...Array.from({ length: 20 }, () => ({ answer: 'lost' }) as const))
  t.match(await collecting.collect(), { unanswered: 20 })
  t.equal(faults.length, 20)
  t.match(await collecting.collect(), { unanswered: 0, succeeded: 0 }, 'not before the lease has ended')
  collecting.setNow(DUE + COLLECT_LEASE_MS)
  t.match(await collecting.collect(), { succeeded: 20 })
  t.equal(stripe.charges.length, 20)
  t.ok((await collecting.invoices()).every(({ status }) => status === 'paid'))
})

t.test(
  'a run ends when its time is up, however slow the provider; it tells of each batch, and the next one goes on',
  async (t) => {
    const collecting = await startCollecting(t, { invoices: 60 })
    const { stripe, now, setNow } = collecting
    stripe.turnFor = ({ method }) => {
      if (method === 'POST') setNow(now() + COLLECT_LIMIT_MS / 40)
      return { answer: 'lost' }
    }
    const batches: number[] = []
    const tell = ({ unanswered }: CollectCounts) => void batches.push(unanswered)
    t.match(await collecting.collect({}, tell), { unanswered: 50 })
    t.same(batches, [25, 25], 'one batch within the time, and the one in which it ran out')
    t.match(await collecting.collect({}, tell), { unanswered: 10 })
    t.ok(now() < DUE + COLLECT_LEASE_MS, 'what was not answered is not met again meanwhile')
  }
)

t.test('an account that changes while an answer is out changes nothing of the charge that was asked for', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  const { stripe, database } = collecting
  stripe.next({ answer: 'lost' })
  await collecting.collect()
  await database.query('change', { text: `update payment_account set provider_method = 'pm_other'` })
  collecting.setNow(DUE + COLLECT_LEASE_MS)
  t.match(await collecting.collect(), { succeeded: 1 })
  t.same(
    stripe.charges.map(({ payment_method }) => payment_method),
    ['pm_customer-0001']
  )
})

t.test('what an account is charged for counts for that account: not for one that was named meanwhile', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  const { stripe, database } = collecting
  stripe.next({ makes: 'processing' })
  await collecting.collect()
  await database.query('change', { text: `update payment_account set provider_method = 'pm_other'` })
  stripe.settle(stripe.charges[0]?.id ?? '', { declined: 'insufficient_funds' })
  collecting.setNow(DUE + DAY_MS / 2)
  t.match(await collecting.collect(), { failed: 1, succeeded: 1 }, 'the other is charged at once')
  t.match(await collecting.invoices(), [{ status: 'paid', charges: 0 }])
  t.same(
    stripe.charges.map(({ payment_method }) => payment_method),
    ['pm_other']
  )
})

t.test('an account that was replaced since the invoice was taken is not charged', async (t) => {
  const { collectStore, database } = await startCollecting(t, { invoices: 1 })
  const [taken] = await collectStore.take({ now: DUE, leaseMs: 0, limit: 1 })
  const account = taken?.account
  if (!account) throw new Error('no account was taken')
  const ask = { paymentId: 'p1', invoiceId: 'invoice-0001', account, now: DUE }
  await database.query('change', { text: `update payment_account set provider_method = 'pm_other'` })
  t.equal(await collectStore.begin(ask), null)
  await database.query('remove', { text: 'delete from payment_account' })
  t.equal(await collectStore.begin(ask), null)
})

t.test(
  'a declined charge is tried on days 1, 3, 5 and 7, and a week after the last the invoice is given up',
  async (t) => {
    const collecting = await startCollecting(t, { invoices: 1 })
    collecting.stripe.turnFor = () => ({ makes: { declined: 'insufficient_funds' } })
    const daysOf = async () => ((await collecting.invoices())[0]?.collect_at ?? Number.NaN) / DAY_MS - DUE / DAY_MS
    for (const [day, next] of [
      [0, 1],
      [1, 3],
      [3, 5],
      [5, 7],
      [7, 14]
    ] as const) {
      collecting.setNow(DUE + day * DAY_MS)
      t.match(await collecting.collect(), { failed: 1 }, `day ${day}`)
      t.match(await collecting.collect(), { failed: 0 })
      t.equal(await daysOf(), next)
    }
    collecting.setNow(DUE + 14 * DAY_MS)
    t.match(await collecting.collect(), { givenUp: 1 })
    t.match(await collecting.invoices(), [{ status: 'uncollectible', collect_at: null, charges: 5 }])
    const failed = Array.from({ length: 5 }, () => 'payment.failed')
    t.same(await collecting.events(), [...failed, 'invoice.uncollectible'])
    t.match(
      await collecting.payments(),
      failed.map(() => ({ status: 'failed', failureCode: 'insufficient_funds' }))
    )
  }
)

t.test('a charge that the provider refuses for good has failed, and locks nothing of its invoice', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  collecting.stripe.next({ answer: { status: 400, code: 'resource_missing', param: 'customer' } })
  t.match(await collecting.collect(), { failed: 1, faulty: 0 })
  t.match(await collecting.payments(), [{ status: 'failed', failureCode: 'resource_missing' }])
  t.equal(await collecting.payByHand('invoice-0001', 1_000n), 'recorded')
  t.match(await collecting.invoices(), [{ status: 'paid' }])
})

t.test('a worker that comes late keeps the distance between two charges', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  collecting.stripe.turnFor = () => ({ makes: { declined: 'insufficient_funds' } })
  collecting.setNow(DUE + 10 * DAY_MS)
  await collecting.collect()
  t.match(await collecting.invoices(), [{ collect_at: DUE + 11 * DAY_MS }])
})

t.test('a declined charge makes the subscription past due, and the charge that succeeds lets it recover', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  t.same(await collecting.markPastDue(), { pastDue: 0, recovered: 0 }, 'nothing is overdue yet')
  collecting.stripe.next({ makes: { declined: 'insufficient_funds' } })
  await collecting.collect()
  t.same(await collecting.markPastDue(), { pastDue: 1, recovered: 0 })
  t.equal(await collecting.subscriptionStatus(), 'past_due')
  t.same(await collecting.markPastDue(), { pastDue: 0, recovered: 0 })
  collecting.setNow(DUE + DAY_MS)
  t.match(await collecting.collect(), { succeeded: 1 })
  t.same(await collecting.markPastDue(), { pastDue: 0, recovered: 1 })
  t.equal(await collecting.subscriptionStatus(), 'active')
  t.same(await collecting.events(), ['payment.failed', 'subscription.changed', 'invoice.paid', 'subscription.changed'])
})

t.test(
  'who pays by hand is reminded on days 0, 7 and 14, past due after one day, and given up 30 days later',
  async (t) => {
    const collecting = await startCollecting(t, { invoices: 1, isByHand: true })
    const on = (day: number) => collecting.setNow(DUE + day * DAY_MS)
    t.match(await collecting.collect(), { reminded: 1 })
    t.match(await collecting.markPastDue(), { pastDue: 0 })
    on(1)
    t.match(await collecting.markPastDue(), { pastDue: 1 })
    for (const day of [7, 14]) {
      on(day)
      t.match(await collecting.collect(), { reminded: 1 })
    }
    on(43)
    t.match(await collecting.collect(), { givenUp: 0 })
    on(44)
    t.match(await collecting.collect(), { givenUp: 1 })
    t.match(await collecting.markPastDue(), { recovered: 0 }, 'what was given up is still owed')
    t.equal(await collecting.payByHand('invoice-0001', 1_000n), 'recorded')
    t.match(await collecting.markPastDue(), { recovered: 1 })
    const reminders = await collecting.database.query<{ number: number }>('read', {
      text: `select (data->>'reminder')::integer as number from outbox where type = 'invoice.overdue' order by position`
    })
    t.same(
      reminders.map(({ number }) => number),
      [1, 2, 3]
    )
    t.match(await collecting.invoices(), [{ status: 'paid', paid: '1000' }])
  }
)

t.test('payments by hand, however many come at once, never exceed what is open', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1, isByHand: true })
  const outcomes = await Promise.all(Array.from({ length: 30 }, () => collecting.payByHand('invoice-0001', 70n)))
  t.equal(outcomes.filter((outcome) => outcome === 'recorded').length, 14)
  t.match(await collecting.invoices(), [{ status: 'finalized', paid: '980' }])
  t.equal(await collecting.payByHand('invoice-0001', 21n), 'more-than-open')
  t.equal(await collecting.payByHand('invoice-0001', 20n), 'recorded')
  t.match(await collecting.invoices(), [{ status: 'paid', paid: '1000', collect_at: null }])
  t.equal(await collecting.payByHand('invoice-0001', 1n), 'nothing-open')
  t.same(await collecting.events(), ['invoice.paid'])
})

t.test('what is being charged is not to be paid by hand', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  collecting.stripe.next({ makes: 'processing' })
  t.match(await collecting.collect(), { pending: 1 })
  t.equal(await collecting.payByHand('invoice-0001', 1n), 'more-than-open')
  t.match(await collecting.invoices(), [{ status: 'finalized', collect_at: DUE + 3_600_000 }])
  collecting.stripe.settle(collecting.stripe.charges[0]?.id ?? '', 'succeeded')
  collecting.setNow(DUE + 3_600_000)
  t.match(await collecting.collect(), { succeeded: 1 })
  t.match(await collecting.invoices(), [{ status: 'paid' }])
  t.equal(collecting.stripe.charges.length, 1)
})

t.test('what a provider tells in any order and repeatedly ends in one payment', async (t) => {
  const reference = 'pi_1'
  const TOLD = {
    pending: { outcome: 'pending', reference },
    failed: { outcome: 'failed', reference, code: 'declined', message: 'no' },
    succeeded: { outcome: 'succeeded', reference }
  } as const
  const orders = [
    ['pending', 'succeeded'],
    ['succeeded', 'pending'],
    ['succeeded', 'failed', 'succeeded'],
    ['failed', 'succeeded', 'pending'],
    ['failed', 'pending', 'succeeded'],
    ['pending', 'pending', 'succeeded', 'succeeded']
  ] as const
  const collecting = await startCollecting(t, { invoices: orders.length })
  collecting.stripe.turnFor = () => ({ answer: 'lost' })
  await collecting.collect()
  const begun = new Map((await collecting.payments()).map(({ invoiceId, id }) => [invoiceId, id]))
  for (const [i, order] of orders.entries()) {
    const paymentId = begun.get(`invoice-000${i + 1}`) ?? ''
    for (const told of order) {
      const outcome = { ...TOLD[told], reference: `pi_${i}` }
      await collecting.collectStore.settle(paymentId, outcome, DUE)
    }
  }
  t.ok((await collecting.invoices()).every(({ status, paid, due }) => status === 'paid' && paid === due))
  t.ok((await collecting.payments()).every(({ status }) => status === 'succeeded'))
  t.equal((await collecting.events()).filter((type) => type === 'invoice.paid').length, orders.length)
  t.equal(await collecting.collectStore.settle('unknown', TOLD.succeeded, DUE), 'unknown-payment')
  const other = { ...TOLD.succeeded, reference: 'pi_other' }
  t.equal(await collecting.collectStore.settle(begun.get('invoice-0001') ?? '', other, DUE), 'unknown-payment')
})

t.test('money that is taken for an invoice with nothing open is the credit of its customer', async (t) => {
  const collecting = await startCollecting(t, { invoices: 1 })
  collecting.stripe.next({ makes: 'processing' })
  await collecting.collect()
  await collecting.database.query('credit', { text: 'update invoice set credited_minor = 400' })
  collecting.stripe.settle(collecting.stripe.charges[0]?.id ?? '', 'succeeded')
  collecting.setNow(DUE + DAY_MS)
  await collecting.collect()
  t.match(await collecting.invoices(), [{ status: 'paid', paid: '600' }])
  const credit = await collecting.database.query('read credit', {
    text: 'select customer_id, amount_minor::text as amount from customer_credit'
  })
  t.same(credit, [{ customer_id: 'customer-0001', amount: '400' }])
})
