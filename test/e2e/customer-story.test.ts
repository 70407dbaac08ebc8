// A customer's whole way, as the back office and the IA service ask for it, by a client generated from the OpenAPI document: taken on,
// subscribed, counted, changed, paused, canceled; and what other services and auditors hear of it.

import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { listenToEvents } from './event-listener.ts'
import { ensureClients } from './foreign-clients.ts'
import { isAnswered, runDocument } from './run-document.ts'
import { npmRun } from './run-program.ts'
import { startSystem } from './start-system.ts'
import { connectClient, refusalOf, type TypedClient, told } from './typed-client.ts'

await ensureClients()
const system = await startSystem(t)
const { api } = system
const platform = connectClient(api.url, api.key)
const listener = await listenToEvents(t, system.environment)

const clinic = told(
  await platform.POST('/v1/customers', {
    params: { header: { 'idempotency-key': 'take-on-clinic' } },
    body: {
      kind: 'sme',
      legalName: 'Clinique du Lac SARL',
      country: 'FR',
      currency: 'EUR',
      timeZone: 'Europe/Paris',
      taxId: 'FR40303265045'
    }
  })
)
const bank = told(
  await platform.POST('/v1/customers', {
    body: {
      kind: 'institution',
      legalName: 'Banque du Littoral SA',
      country: 'SN',
      currency: 'EUR',
      timeZone: 'Africa/Dakar',
      registrationNumber: 'SN-DKR-2004-B-1032',
      contractReference: 'MSA-2026-014'
    }
  })
)
const small = await publishPlan({ code: 'clinic', baseFeeMinor: '4900', max: 2_000 })
const large = await publishPlan({ code: 'clinic-plus', baseFeeMinor: '9900', max: 10_000 })
const heldBack = await publishPlan({ code: 'bank', baseFeeMinor: '250000', max: 1_000_000, onlyFor: 'institution' })

interface PlanAsked {
  readonly code: string
  readonly baseFeeMinor: string
  /** Tokens a billing period. */
  readonly max: number
  readonly onlyFor?: 'institution'
}

/** Answers the id of the published version. */
async function publishPlan({ code, baseFeeMinor, max, onlyFor }: PlanAsked): Promise<string> {
  const draft = told(
    await platform.POST('/v1/plans', {
      body: {
        code,
        title: code,
        currency: 'EUR',
        interval: 'month',
        baseFeeMinor,
        ...(onlyFor === undefined ? {} : { onlyFor }),
        prices: [
          {
            pool: 'input',
            model: '*',
            chargeModel: 'per_unit',
            perTokens: 1_000_000,
            tiers: [{ upTo: null, amount: '3.00' }]
          }
        ],
        limits: [
          {
            id: 'period-total',
            scope: { kind: 'customer' },
            measure: { kind: 'total' },
            window: { kind: 'plan-period' },
            max,
            mode: 'hard',
            whenUnknown: 'deny'
          }
        ]
      }
    })
  )
  const { status, id } = told(
    await platform.POST('/v1/plans/{planId}/publish', { params: { path: { planId: draft.id } } })
  )
  if (status !== 'published') throw new Error(`the plan ${code} is ${status}`)
  return id
}

/** Asked again while a counter that has just begun can't know what came before it. */
function check(customerId: string, input: number) {
  const body = { customerId, model: 'gpt-5.1', tokens: { input } }
  return waitUntil(async () => (await platform.POST('/v1/quota/check', { body })).data, {
    what: `a known standing of ${customerId}`,
    timeoutMs: 20_000
  })
}

async function balanceOf(client: TypedClient, customerId: string) {
  return client.GET('/v1/customers/{customerId}/balance', { params: { path: { customerId } } })
}

/** The way to act on the clinic's subscription, once it has one. */
function onSubscription(subscriptionId: string) {
  return { params: { path: { subscriptionId } } }
}

let subscriptionId = ''

t.test('a repeated request gets the first answer, and the user who was invited becomes active', async (t) => {
  const customerId = clinic.id
  const invited = told(
    await platform.POST('/v1/customers/{customerId}/users', {
      params: { path: { customerId }, header: { 'idempotency-key': 'invite-amina' } },
      body: { email: 'amina@lac.example', role: 'owner', name: 'Amina Diallo' }
    })
  )
  t.equal(invited.status, 'invited')
  const again = await platform.POST('/v1/customers/{customerId}/users', {
    params: { path: { customerId }, header: { 'idempotency-key': 'invite-amina' } },
    body: { email: 'amina@lac.example', role: 'owner', name: 'Amina Diallo' }
  })
  t.same([told(again), again.response.headers.get('idempotent-replayed')], [invited, 'true'])
  const path = { customerId, userId: invited.id }
  const active = told(await platform.POST('/v1/customers/{customerId}/users/{userId}/activate', { params: { path } }))
  t.match(active, { id: invited.id, status: 'active', role: 'owner' })
})

t.test('without a subscription nothing is allowed; with one, what its plan allows is', async (t) => {
  const { id: customerId } = clinic
  const refused = await platform.POST('/v1/subscriptions', { body: { customerId, planId: heldBack } })
  t.equal(refusalOf(refused), '409 plan-not-available', 'a plan for institutions is none for an SME')
  const subscribed = told(await platform.POST('/v1/subscriptions', { body: { customerId, planId: small } }))
  t.match(subscribed, { customerId, planId: small, status: 'active', version: 1 })
  subscriptionId = subscribed.id
  t.match(await check(customerId, 600), { allowed: true, limits: [{ id: 'period-total', limit: 2_000, used: 0 }] })
  const ofBank = told(await platform.POST('/v1/subscriptions', { body: { customerId: bank.id, planId: heldBack } }))
  t.equal(ofBank.status, 'active')
})

t.test('usage by HTTP shows in the balance, in the next check and in analytics', async (t) => {
  const { id: subject } = clinic
  const data = { model: 'gpt-5.1', provider: 'openai', userId: 'amina', tokens: { input: 1_200, output: 300 } }
  const time = new Date().toISOString()
  const event = {
    specversion: '1.0',
    id: 'call-1',
    source: '/ia',
    type: 'ai.tokens.used',
    subject,
    time,
    data
  } as const
  t.match(told(await platform.POST('/v1/usage-events', { body: [event, event] })), { accepted: 1, duplicates: 1 })
  await system.drained()
  const { limits } = told(await balanceOf(platform, clinic.id))
  t.match(limits, [{ id: 'period-total', limit: 2_000, used: 1_500, remaining: 500, unknown: null }])
  t.match(await check(clinic.id, 600), { allowed: false, binding: 'period-total' })
  const from = new Date(Date.now() - 86_400_000).toISOString()
  const to = new Date(Date.now() + 3_600_000).toISOString()
  const query = { customerId: clinic.id, from, to, grain: 'all', groupBy: 'user,model' } as const
  t.match(told(await platform.GET('/v1/usage', { params: { query } })), {
    data: [{ userId: 'amina', model: 'gpt-5.1', tokens: '1500', events: '1' }]
  })
})

t.test('a larger plan holds at once, for the price that its preview told, and keeps what was used', async (t) => {
  const asked = { ...onSubscription(subscriptionId), body: { planId: large } }
  const preview = told(await platform.POST('/v1/subscriptions/{subscriptionId}/preview', asked))
  t.match(preview, { planId: large, when: 'now', currency: 'EUR' })
  const { creditMinor, chargeMinor, netMinor } = preview
  t.equal(BigInt(netMinor), BigInt(chargeMinor) - BigInt(creditMinor))
  t.ok(BigInt(netMinor) > 0n)
  const changed = await platform.POST('/v1/subscriptions/{subscriptionId}/change-plan', {
    params: { ...asked.params, header: { 'if-match': '"1"' } },
    body: asked.body
  })
  t.match(told(changed), { planId: large, status: 'active', version: 2 })
  const stale = { params: { path: { subscriptionId }, header: { 'if-match': '"1"' } } }
  t.equal(refusalOf(await platform.POST('/v1/subscriptions/{subscriptionId}/pause', stale)), '412 version-mismatch')
  t.match(await check(clinic.id, 600), { allowed: true, limits: [{ id: 'period-total', limit: 10_000, used: 1_500 }] })
})

t.test('a paused subscription denies every call, a resumed one none that fits', async (t) => {
  told(await platform.POST('/v1/subscriptions/{subscriptionId}/pause', onSubscription(subscriptionId)))
  t.match(await check(clinic.id, 1), { allowed: false, binding: 'subscription-paused' })
  told(await platform.POST('/v1/subscriptions/{subscriptionId}/resume', onSubscription(subscriptionId)))
  t.match(await check(clinic.id, 600), { allowed: true, binding: 'period-total' })
})

t.test("a customer's own key reads its own balance, and another customer is unknown to it", async (t) => {
  const body = { customerId: bank.id, name: 'dashboard', scopes: ['limits:read', 'plans:read'] as const }
  const { secret } = told(await platform.POST('/v1/api-keys', { body: { ...body, scopes: [...body.scopes] } }))
  const own = connectClient(api.url, secret ?? '')
  t.match(told(await balanceOf(own, bank.id)), { limits: [{ id: 'period-total', limit: 1_000_000 }] })
  t.equal(refusalOf(await balanceOf(own, clinic.id)), '404 unknown-customer')
  t.equal(refusalOf(await own.GET('/v1/customers')), '403 access-denied')
  const { data: plans } = told(await own.GET('/v1/plans'))
  t.ok(
    plans.some(({ id }) => id === heldBack),
    'an institution sees the plan held back for its kind'
  )
})

t.test('other services hear of every change once and in order', async (t) => {
  const body = { when: 'now' } as const
  const canceled = told(
    await platform.POST('/v1/subscriptions/{subscriptionId}/cancel', { ...onSubscription(subscriptionId), body })
  )
  t.equal(canceled.status, 'canceled')
  t.match(await check(clinic.id, 1), { allowed: false, binding: 'no-subscription' })
  const events = await listener.heardUpTo(clinic.id, 'tokenmeter.subscription.canceled')
  t.same(
    events.map(({ type }) => type.replace('tokenmeter.', '')),
    [
      'customer.created',
      'user.invited',
      'user.updated',
      'subscription.created',
      'subscription.changed',
      'subscription.paused',
      'subscription.resumed',
      'subscription.canceled'
    ]
  )
  t.equal(new Set(events.map(({ id }) => id)).size, events.length)
  t.same(events.at(-1)?.data, canceled, 'an event tells what the API answered')
})

t.test('the audit trail tells who did all of it, and verifies', async (t) => {
  const query = { customerId: clinic.id }
  const { data } = told(await platform.GET('/v1/audit-events', { params: { query } }))
  const inOrder = data.toSorted((a, b) => a.sequence - b.sequence)
  t.same(
    inOrder.map(({ sequence, action }) => `${sequence} ${action}`),
    [
      '1 customer.created',
      '2 user.invited',
      '3 user.activated',
      '4 subscription.created',
      '5 subscription.changed',
      '6 subscription.paused',
      '7 subscription.resumed',
      '8 subscription.canceled'
    ]
  )
  for (const { actor } of data) t.match(actor, { kind: 'api-key', id: 'local' })
  t.match(await npmRun(system.environment, 'audit:verify'), clinic.id)
})

t.test('the commands of docs/api.md are answered as it says', async (t) => {
  const runs = await runDocument('docs/api.md', { API: api.url, KEY: api.key })
  t.ok(runs.length > 5)
  for (const run of runs) t.ok(isAnswered(run), run.commands, { ...run })
})

t.test('a document that promises another answer is found out', async (t) => {
  t.ok(isAnswered({ expected: { id: '…', used: [1] }, actual: { id: 'a', used: [1] } }))
  for (const actual of [
    { id: 'a', used: [2] },
    { id: 1, used: [1] },
    { id: 'a', used: [1], more: 1 },
    { id: 'a' },
    null
  ]) {
    t.notOk(isAnswered({ expected: { id: '…', used: [1] }, actual }))
  }
})
