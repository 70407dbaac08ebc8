import { randomUUIDv7 } from 'node:crypto'
import t, { type Test } from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { StripeProvider } from './stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn, type Turn } from './stripe-stand-in.ts'

async function charged(
  t: Test,
  { currency, amountMinor }: { readonly currency: string; readonly amountMinor: bigint }
): Promise<{ readonly stripe: StripeStandIn; readonly provider: StripeProvider; readonly reference: string }> {
  const stripe = await startStripeStandIn(t)
  const provider = new StripeProvider({ ...stripe.connection, timeoutMs: 10_000 })
  const account = { customerId: 'c1', providerCustomer: 'cus_1', providerMethod: 'pm_1' }
  const invoice = { invoiceId: 'i1', invoiceNumber: 'SN-2026-000042' }
  const { reference } = await provider.charge({
    idempotencyKey: randomUUIDv7(),
    amountMinor,
    currency,
    account,
    ...invoice
  })
  if (reference === null) throw new Error('nothing was charged')
  return { stripe, provider, reference }
}

t.test('part of a charge is given back once under its key, its answer lost or its key forgotten', async (t) => {
  const { stripe, provider, reference } = await charged(t, { currency: 'EUR', amountMinor: 5_000n })
  const ask = { idempotencyKey: randomUUIDv7(), reference, amountMinor: 2_000n }
  stripe.next({ answer: 'lost' })
  await t.rejects(provider.refund(ask), RetryableError)
  t.same(await provider.refund(ask), { outcome: 'succeeded', reference: 're_1' })
  stripe.forgetKeys()
  t.same(await provider.refund(ask), { outcome: 'succeeded', reference: 're_1' })
  await t.rejects(provider.refund({ ...ask, amountMinor: 2_001n }), /gave back 2000, and is now asked for 2001/)
  t.same(await provider.refund({ ...ask, idempotencyKey: randomUUIDv7() }), { outcome: 'succeeded', reference: 're_2' })
  t.same(
    stripe.refunds.map(({ amount, payment_intent }) => ({ amount, payment_intent })),
    [
      { amount: 2_000, payment_intent: reference },
      { amount: 2_000, payment_intent: reference }
    ]
  )
  const sent = stripe.requests.findLast(({ method }) => method === 'POST')
  t.match(sent, { path: '/v1/refunds', idempotencyKey: sent?.parameters.get('metadata[refundKey]') })
})

t.test('how a refund stands is told: given back, under way, or failed and why', async (t) => {
  const { stripe, provider, reference } = await charged(t, { currency: 'EUR', amountMinor: 5_000n })
  const refund = async (makes: NonNullable<Turn['makes']>) => {
    stripe.next({ makes })
    return provider.refund({ idempotencyKey: randomUUIDv7(), reference, amountMinor: 100n })
  }
  t.same(await refund('succeeded'), { outcome: 'succeeded', reference: 're_1' })
  t.same(await refund('pending'), { outcome: 'pending', reference: 're_2' })
  t.same(await refund('requires_action'), { outcome: 'pending', reference: 're_3' })
  t.match(await refund({ declined: 'lost_or_stolen_card' }), { outcome: 'failed', code: 'lost_or_stolen_card' })
})

t.test('more than is left of a charge is not given back', async (t) => {
  const { stripe, provider, reference } = await charged(t, { currency: 'EUR', amountMinor: 5_000n })
  await provider.refund({ idempotencyKey: randomUUIDv7(), reference, amountMinor: 4_000n })
  const more = await provider.refund({ idempotencyKey: randomUUIDv7(), reference, amountMinor: 1_001n })
  t.match(more, { outcome: 'failed', code: 'charge_already_refunded' })
  t.equal(stripe.refunds.length, 1)
})

t.test('a refund that Stripe refuses for good has failed', async (t) => {
  const { stripe, provider, reference } = await charged(t, { currency: 'EUR', amountMinor: 5_000n })
  for (const [answer, code] of [
    [{ status: 400, code: 'insufficient_balance' }, 'insufficient_balance'],
    [{ status: 400 }, 'invalid_request']
  ] as const) {
    stripe.next({ answer })
    t.match(await provider.refund({ idempotencyKey: randomUUIDv7(), reference, amountMinor: 100n }), {
      outcome: 'failed',
      code
    })
  }
  t.equal(stripe.refunds.length, 0)
})

t.test('a refund is told to Stripe in the unit of its charge, or not at all', async (t) => {
  const shillings = await charged(t, { currency: 'UGX', amountMinor: 35_000n })
  const { reference } = shillings
  await shillings.provider.refund({ idempotencyKey: randomUUIDv7(), reference, amountMinor: 5_000n })
  t.match(shillings.stripe.refunds, [{ amount: 500_000 }])
  const dinars = await charged(t, { currency: 'TND', amountMinor: 12_340n })
  const odd = { idempotencyKey: randomUUIDv7(), reference: dinars.reference, amountMinor: 1_001n }
  t.match(await dinars.provider.refund(odd), { outcome: 'failed', code: 'amount_not_refundable', message: /TND/ })
  t.equal(dinars.stripe.refunds.length, 0)
})

t.test('a refund that Stripe is too busy for is retryable, and one of an unknown charge is a mistake', async (t) => {
  const { stripe, provider, reference } = await charged(t, { currency: 'EUR', amountMinor: 5_000n })
  stripe.next({ answer: { status: 429 } })
  const ask = { idempotencyKey: randomUUIDv7(), reference, amountMinor: 100n }
  await t.rejects(provider.refund(ask), { name: 'RetryableError', code: 'stripe-busy' })
  await t.rejects(provider.refund({ ...ask, reference: 'pi_99' }), { name: 'Error', message: /resource_missing/ })
  t.equal(stripe.refunds.length, 0)
})
