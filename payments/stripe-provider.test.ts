import { randomUUID, randomUUIDv7 } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import type { ChargeAsk, ChargeOutcome } from '../domain/billing/payments/payment-provider.ts'
import { RetryableError } from '../domain/errors.ts'
import { findFreePort } from '../stack/machine/ports.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { StripeProvider } from './stripe-provider.ts'
import { type StripeStandIn, startStripeStandIn, type Turn } from './stripe-stand-in.ts'

const TIMEOUT_MS = 10_000
const ROUNDS = 100

function providerOf(
  stripe: StripeStandIn,
  options: { apiKey?: string; timeoutMs?: number; port?: number } = {}
): StripeProvider {
  return new StripeProvider({ ...stripe.connection, timeoutMs: TIMEOUT_MS, ...options })
}

function askOf(options: Partial<ChargeAsk> = {}): ChargeAsk {
  return {
    idempotencyKey: randomUUIDv7(),
    amountMinor: 4_900n,
    currency: 'EUR',
    account: { customerId: 'c1', providerCustomer: 'cus_1', providerMethod: 'pm_1' },
    invoiceId: 'i1',
    invoiceNumber: 'SN-2026-000042',
    ...options
  }
}

/** As a collector does: again under the same key for as long as it isn't known what became of it. */
async function chargeUntilKnown(provider: StripeProvider, ask: ChargeAsk): Promise<ChargeOutcome> {
  for (let attempt = 1; attempt < 50; attempt++) {
    try {
      return await provider.charge(ask)
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error
    }
  }
  throw new Error('50 attempts did not tell what became of a charge')
}

async function errorOf(answer: Promise<unknown>): Promise<Error> {
  const [settled] = await Promise.allSettled([answer])
  if (settled.status === 'rejected' && settled.reason instanceof Error) return settled.reason
  throw new Error('it was answered')
}

/** A UUID v7 of so many hours ago. */
function keyMadeBefore(hours: number): string {
  const time = (Date.now() - hours * 3_600_000).toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}${randomUUIDv7().slice(13)}`
}

t.test(
  'a charge is one payment intent, confirmed while the customer is away, with its key and what it is for',
  async (t) => {
    const stripe = await startStripeStandIn(t)
    const ask = askOf()
    t.same(await providerOf(stripe).charge(ask), { outcome: 'succeeded', reference: 'pi_1' })
    t.equal(stripe.requests.length, 1)
    t.match(stripe.requests[0], { method: 'POST', path: '/v1/payment_intents', idempotencyKey: ask.idempotencyKey })
    t.same(Object.fromEntries(stripe.requests[0]?.parameters ?? []), {
      amount: '4900',
      currency: 'eur',
      customer: 'cus_1',
      payment_method: 'pm_1',
      confirm: 'true',
      off_session: 'true',
      'automatic_payment_methods[enabled]': 'true',
      'automatic_payment_methods[allow_redirects]': 'never',
      'metadata[paymentId]': ask.idempotencyKey,
      'metadata[invoiceId]': 'i1',
      'metadata[invoiceNumber]': 'SN-2026-000042'
    })
  }
)

t.test(
  `${ROUNDS} payments are charged once each, however often their answers are lost and they are asked for again`,
  async (t) => {
    const stripe = await startStripeStandIn(t)
    const provider = providerOf(stripe)
    const faults: readonly Turn[] = [
      { answer: 'lost' },
      { answer: 'lost', makes: 'processing' },
      { answer: { status: 429 } },
      { answer: { status: 409 } },
      { answer: { status: 500 }, makes: 'succeeded' }
    ]
    const seed = Date.now() % 2 ** 31
    const dice = fc.sample(fc.nat(faults.length + 3), { seed, numRuns: ROUNDS * 50 })
    stripe.turnFor = ({ method }) => (method === 'POST' ? faults[dice.pop() ?? -1] : undefined) ?? {}
    const asks = Array.from({ length: ROUNDS }, () => askOf())
    // Some are asked for by two collectors at once.
    const outcomes = await Promise.all(
      asks.flatMap((ask, i) => [ask, ...(i % 3 === 0 ? [ask] : [])]).map((ask) => chargeUntilKnown(provider, ask))
    )
    t.ok(outcomes.every(({ outcome }) => outcome === 'succeeded' || outcome === 'pending'))
    t.equal(stripe.charges.length, ROUNDS, `seed ${seed}`)
    t.same(
      stripe.charges.map(({ metadata }) => metadata.paymentId).toSorted(),
      asks.map(({ idempotencyKey }) => idempotencyKey).toSorted()
    )
    t.ok(stripe.requests.length > ROUNDS * 1.5, `${stripe.requests.length} requests`)
  }
)

t.test(
  'a lost answer is told as retryable and asked for by nobody else: the same key is answered for the charge that was made',
  async (t) => {
    const stripe = await startStripeStandIn(t)
    const provider = providerOf(stripe)
    const ask = askOf()
    stripe.next({ answer: 'lost' })
    await t.rejects(provider.charge(ask), { name: 'RetryableError', code: 'stripe-unavailable' })
    t.equal(stripe.requests.length, 1, 'the client does not send it a second time by itself')
    t.equal(stripe.charges.length, 1)
    t.same(await provider.charge(ask), { outcome: 'succeeded', reference: 'pi_1' })
    t.equal(stripe.charges.length, 1)
  }
)

t.test('a key that Stripe has forgotten makes no second charge', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  for (const idempotencyKey of [keyMadeBefore(48), randomUUID()]) {
    const ask = askOf({ idempotencyKey })
    stripe.next({ answer: 'lost' })
    await t.rejects(provider.charge(ask), RetryableError)
    stripe.forgetKeys()
    const made = stripe.intents.at(-1)
    if (made === undefined) throw new Error('nothing was charged')
    // 250 later ones are three pages of the list.
    for (let i = 0; i < 250; i++) stripe.intents.push({ ...made, id: `${made.id}_later_${i}`, metadata: {} })
    t.same(await provider.charge(ask), { outcome: 'succeeded', reference: made.id })
    t.equal(stripe.charges.filter(({ metadata }) => metadata.paymentId === idempotencyKey).length, 1)
    await t.rejects(provider.charge({ ...ask, amountMinor: 4_901n }), /was charged as pi_\d+ of 4900 eur/)
  }
  t.equal(
    (await provider.charge(askOf({ idempotencyKey: keyMadeBefore(48) }))).outcome,
    'succeeded',
    'what is not found is charged'
  )
})

t.test('a charge that Stripe made and answered 500 for is found; one that it did not make stays unknown', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  stripe.next({ answer: { status: 500 }, makes: 'succeeded' })
  t.same(await provider.charge(askOf()), { outcome: 'succeeded', reference: 'pi_1' })
  stripe.next({ answer: { status: 500 } })
  const ask = askOf()
  await t.rejects(provider.charge(ask), { name: 'RetryableError', code: 'stripe-unavailable' })
  await t.rejects(
    provider.charge(ask),
    { name: 'RetryableError' },
    'a 500 is what its key is answered with from then on'
  )
  t.equal(stripe.charges.length, 1)
})

t.test('a declined charge has failed with the code of the bank, and stays so under its key', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  for (const declined of ['insufficient_funds', 'expired_card', 'authentication_required', 'lost_card']) {
    stripe.next({ makes: { declined } })
    const ask = askOf()
    const failed = { outcome: 'failed', code: declined, message: 'Your card was declined.' }
    const first = await provider.charge(ask)
    t.match(first, failed)
    t.same(await provider.charge(ask), first)
    t.ok(first.reference)
    t.same(await provider.chargeStatus(first.reference ?? ''), first)
  }
  t.equal(stripe.charges.length, 0)
  t.equal(stripe.intents.length, 4)
})

t.test('a charge that the bank takes its time for is pending until it is known how it ended', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  stripe.turnFor = () => ({ makes: 'processing' })
  t.same(await provider.charge(askOf()), { outcome: 'pending', reference: 'pi_1' })
  t.same(await provider.chargeStatus('pi_1'), { outcome: 'pending', reference: 'pi_1' })
  stripe.settle('pi_1', 'succeeded')
  t.same(await provider.chargeStatus('pi_1'), { outcome: 'succeeded', reference: 'pi_1' })
  await provider.charge(askOf())
  stripe.settle('pi_2', { declined: 'insufficient_funds' })
  t.match(await provider.chargeStatus('pi_2'), { outcome: 'failed', reference: 'pi_2', code: 'insufficient_funds' })
})

t.test(
  'a charge that waits for the absent customer is canceled, so that it never succeeds beside the next one',
  async (t) => {
    const stripe = await startStripeStandIn(t)
    const provider = providerOf(stripe)
    for (const makes of ['requires_action', 'requires_confirmation'] as const) {
      stripe.next({ makes })
      const ask = askOf()
      const failed = { outcome: 'failed', code: 'abandoned' }
      t.match(await provider.charge(ask), failed)
      t.match(await provider.charge(ask), failed, 'its key is answered as it stood at first')
      t.equal(stripe.intents.at(-1)?.status, 'canceled')
    }
    t.equal(stripe.intents.length, 2)
  }
)

t.test('an intent that succeeds while it is being canceled is asked again, and has succeeded', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  const ask = askOf()
  stripe.next({ makes: 'requires_action' })
  stripe.turnFor = ({ path }) => {
    if (path.endsWith('/cancel')) stripe.settle('pi_1', 'succeeded')
    return {}
  }
  const late = await errorOf(provider.charge(ask))
  t.match(late, { name: 'RetryableError', code: 'stripe-conflict' })
  t.notMatch(inspect(late, { depth: 9 }), /secret/, 'what would be logged can confirm no payment')
  t.same(await provider.charge(ask), { outcome: 'succeeded', reference: 'pi_1' })
})

t.test('what may succeed later is told as retryable, and nothing else is', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  for (const [status, code] of [
    [409, 'stripe-in-flight'],
    [429, 'stripe-busy'],
    [503, 'stripe-unavailable']
  ] as const) {
    stripe.next({ answer: { status } })
    t.match(await errorOf(provider.charge(askOf())), { name: 'RetryableError', code, message: /charge payment/ })
  }
  const nobody = providerOf(stripe, { port: await findFreePort() })
  t.match(await errorOf(nobody.charge(askOf())), { name: 'RetryableError', code: 'stripe-unavailable' })
  t.match(await errorOf(nobody.chargeStatus('pi_1')), { name: 'RetryableError' })
  stripe.next({ answer: { status: 403, code: 'some_code' } })
  const message = /Stripe refuses to charge payment .*: 403 some_code: /
  t.match(await errorOf(provider.charge(askOf())), { name: 'Error', message })
  const stranger = providerOf(stripe, { apiKey: 'sk_test_of_somebody_else' })
  const unauthorized = await errorOf(stranger.charge(askOf()))
  t.match(unauthorized, { name: 'Error', message: /401/ })
  t.notMatch(inspect(unauthorized, { depth: 9 }), /somebody_else/)
  t.match(await errorOf(provider.chargeStatus('pi_1')), { name: 'Error', message: /read pi_1: 404 resource_missing/ })
  t.equal(stripe.intents.length, 0)
})

t.test('a key that is asked with another amount is refused, and charges nothing more', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  const ask = askOf()
  await provider.charge(ask)
  const error = await errorOf(provider.charge({ ...ask, amountMinor: 9_900n }))
  t.match(error, { name: 'Error', message: /idempotency_error/ })
  t.equal(stripe.charges.length, 1)
})

t.test('a charge that Stripe refuses for good has failed, whatever it is about, and stops nothing else', async (t) => {
  const stripe = await startStripeStandIn(t)
  const provider = providerOf(stripe)
  stripe.next({ answer: { status: 400, code: 'amount_too_small', param: 'amount' } })
  t.match(await provider.charge(askOf()), { outcome: 'failed', reference: null, code: 'amount_too_small' })
  stripe.next({ answer: { status: 400, code: 'resource_missing', param: 'payment_method' } })
  t.match(await provider.charge(askOf()), { outcome: 'failed', reference: null, code: 'resource_missing' })
  stripe.next({ answer: { status: 400, code: 'resource_missing', param: 'customer' } })
  t.match(await provider.charge(askOf()), { outcome: 'failed', code: 'resource_missing' }, 'the customer is gone')
  stripe.next({ answer: { status: 404, code: 'some_code' } }, { answer: { status: 400 } })
  t.match(await provider.charge(askOf()), { outcome: 'failed', reference: null, code: 'some_code' })
  t.match(await provider.charge(askOf()), { outcome: 'failed', reference: null, code: 'invalid_request' })
  const asked = stripe.requests.length
  const unchargeable = await provider.charge(askOf({ currency: 'TND', amountMinor: 12_345n }))
  t.match(unchargeable, { outcome: 'failed', reference: null, code: 'amount_not_chargeable', message: /TND/ })
  t.equal(stripe.requests.length, asked, 'Stripe is not asked')
  t.equal((await provider.charge(askOf({ currency: 'UGX', amountMinor: 35_000n }))).outcome, 'succeeded')
  t.match(stripe.charges, [{ amount: 3_500_000, currency: 'ugx' }])
})

t.test('a charge without an answer fails as retryable in time, and is made once', async (t) => {
  const stripe = await startStripeStandIn(t)
  const hasty = providerOf(stripe, { timeoutMs: 200 })
  const ask = askOf()
  stripe.next({ answer: 'held' })
  t.match(await errorOf(hasty.charge(ask)), { name: 'RetryableError', message: /timeout/ })
  t.same(await chargeUntilKnown(hasty, ask), { outcome: 'succeeded', reference: 'pi_1' })
  t.equal(stripe.charges.length, 1)
})

t.test('a key that is being answered is not answered twice', async (t) => {
  const stripe = await startStripeStandIn(t)
  const [first, second] = [providerOf(stripe), providerOf(stripe)]
  const ask = askOf()
  stripe.next({ answer: 'held' })
  const answer = first.charge(ask)
  await waitUntil(async () => stripe.charges.length === 1, { what: 'the first to be charged', timeoutMs: TIMEOUT_MS })
  t.match(await errorOf(second.charge(ask)), { name: 'RetryableError', code: 'stripe-in-flight' })
  stripe.release()
  t.same(await answer, { outcome: 'succeeded', reference: 'pi_1' })
  t.equal(stripe.charges.length, 1)
})
