import { randomUUIDv7 } from 'node:crypto'
import t, { type Test } from 'tap'
import { StripeProvider } from './stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn, type Turn } from './stripe-stand-in.ts'

/** With one charge, of the payment that is told, and made as `turn` says. */
async function afterCharge(
  t: Test,
  turn: Turn = {}
): Promise<{ readonly stripe: StripeStandIn; readonly provider: StripeProvider; readonly paymentId: string }> {
  const stripe = await startStripeStandIn(t)
  const provider = new StripeProvider({ ...stripe.connection, timeoutMs: 10_000 })
  const paymentId = randomUUIDv7()
  stripe.next(turn)
  await provider.charge({
    idempotencyKey: paymentId,
    amountMinor: 4_900n,
    currency: 'EUR',
    account: { customerId: 'c1', providerCustomer: 'cus_1', providerMethod: 'pm_1' },
    invoiceId: 'i1',
    invoiceNumber: 'SN-2026-000042'
  })
  return { stripe, provider, paymentId }
}

t.test('a signed event tells of which payment it is and how the charge stands', async (t) => {
  const { stripe, provider, paymentId } = await afterCharge(t, { makes: 'processing' })
  const read = (type: string) => {
    const { body, headers } = stripe.webhook({ type, intentId: 'pi_1' })
    return provider.readWebhook(body, headers)
  }
  const pending = read('payment_intent.processing')
  t.match(pending, { paymentId, charge: { outcome: 'pending', reference: 'pi_1' } })
  t.equal(pending?.id, 'evt_payment_intent.processing_pi_1')
  t.match(read('payment_intent.succeeded'), { paymentId, charge: { outcome: 'succeeded', reference: 'pi_1' } })
  stripe.settle('pi_1', { declined: 'insufficient_funds' })
  t.match(read('payment_intent.payment_failed'), {
    paymentId,
    charge: { outcome: 'failed', reference: 'pi_1', code: 'insufficient_funds' }
  })
  t.match(read('payment_intent.canceled'), { paymentId, charge: { outcome: 'failed', reference: 'pi_1' } })
})

t.test('an event about anything else comes without a charge', async (t) => {
  const { stripe, provider } = await afterCharge(t)
  for (const type of ['payment_intent.created', 'charge.refunded', 'customer.updated', 'of.a.later.version']) {
    const { body, headers } = stripe.webhook({ type, intentId: 'pi_1' })
    t.match(provider.readWebhook(body, headers), { paymentId: null, charge: null, trouble: null }, type)
  }
})

t.test('an event about a refund that failed, or a dispute, tells of which charge it is', async (t) => {
  const { stripe, provider } = await afterCharge(t)
  for (const [type, kind] of [
    ['refund.failed', 'refund-failed'],
    ['charge.dispute.created', 'disputed']
  ] as const) {
    for (const [payment_intent, reference] of [
      ['pi_1', 'pi_1'],
      [null, null]
    ]) {
      const { body, headers } = stripe.webhook({ type, intentId: 'pi_1', object: { id: 'x_1', payment_intent } })
      t.match(provider.readWebhook(body, headers), { charge: null, trouble: { kind, reference } })
    }
  }
})

t.test('a charge that somebody else made at the same account is of no payment', async (t) => {
  const { stripe, provider } = await afterCharge(t)
  for (const intent of stripe.intents.splice(0)) stripe.intents.push({ ...intent, metadata: {} })
  const { body, headers } = stripe.webhook({ type: 'payment_intent.succeeded', intentId: 'pi_1' })
  t.match(provider.readWebhook(body, headers), { paymentId: null, charge: { outcome: 'succeeded' } })
})

t.test('what Stripe did not sign, or signed more than five minutes ago, is nothing', async (t) => {
  const { stripe, provider } = await afterCharge(t)
  const event = { type: 'payment_intent.succeeded', intentId: 'pi_1' }
  const now = Date.now()
  const { body, headers } = stripe.webhook(event)
  const signature = headers['stripe-signature']
  t.ok(provider.readWebhook(body, headers))

  const recent = stripe.webhook({ ...event, at: now - 290_000 })
  t.ok(provider.readWebhook(recent.body, recent.headers))
  const old = stripe.webhook({ ...event, at: now - 302_000 })
  t.equal(provider.readWebhook(old.body, old.headers), null, 'too old')

  const foreign = stripe.webhook({ ...event, secret: 'whsec_of_somebody_else' })
  t.equal(provider.readWebhook(foreign.body, foreign.headers), null, 'another secret')
  const otherScheme = stripe.webhook({ ...event, scheme: 'v0' })
  t.equal(provider.readWebhook(otherScheme.body, otherScheme.headers), null, 'the scheme of tests')

  const changed = Buffer.from(body.toString().replace('"amount":4900', '"amount":4901'))
  t.not(changed.toString(), body.toString())
  t.equal(provider.readWebhook(changed, headers), null, 'another body')
  t.equal(provider.readWebhook(Buffer.from(`${body} `), headers), null, 'one blank more')
  t.equal(provider.readWebhook(Buffer.alloc(0), headers), null, 'no body')

  const later = signature.replace(/^t=\d+/, `t=${Math.floor(now / 1_000) + 60}`)
  for (const header of [undefined, '', 'v1', 't=1,v1=', 't=,v1=a', 't=x,v1=a', 'v1=a', later, `${signature}=`]) {
    t.equal(provider.readWebhook(body, { 'stripe-signature': header }), null, header ?? 'no header')
  }
  t.equal(provider.readWebhook(body, {}), null)
})

t.test('an event that is signed with two secrets, as while one is replaced by the other, is believed', async (t) => {
  const { stripe, provider } = await afterCharge(t)
  const event = { type: 'payment_intent.succeeded', intentId: 'pi_1', at: Date.now() }
  const { body, headers } = stripe.webhook(event)
  const other = stripe.webhook({ ...event, secret: 'whsec_of_tomorrow' }).headers['stripe-signature']
  const both = `${other},${headers['stripe-signature'].replace(/^t=\d+,/, '')}`
  t.ok(provider.readWebhook(body, { 'stripe-signature': both }))
})
