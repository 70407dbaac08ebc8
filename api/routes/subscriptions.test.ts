import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addKey, addPlan } from '../../test/plans-and-customers.ts'
import { NOW } from '../ports-in-memory.ts'

/** Customers whose limits were to be put in force. */
const refreshed: string[] = []
let isMeterAway = false
const limitRefresh = {
  refresh: async (customerId: string) => {
    refreshed.push(customerId)
    if (isMeterAway) throw new RetryableError('meter-unavailable', 'Redis is away')
  }
}
const service = await startCustomerService(t, {}, { limitRefresh })
const { call, setNow } = service
const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'subscriptions-test' })
t.teardown(() => database.close())
t.beforeEach(() => setNow(NOW))

const basic = await addPlan(service)
const pro = await addPlan(service, { baseFeeMinor: 6_200n })
const tried = await addPlan(service, { trialDays: 14 })

async function eventsOf(customerId: string): Promise<string[]> {
  const rows = await database.query<{ type: string }>('read the outbox', {
    text: 'select type from outbox where customer_id = $1 order by position',
    values: [customerId]
  })
  return rows.map(({ type }) => type.replace('subscription.', ''))
}

async function changesOf(subscriptionId: string): Promise<string[]> {
  const rows = await database.query<{ change: string }>('read the changes', {
    text: `select reason || ' ' || to_status || to_char(changed_at at time zone 'UTC', ' MM-DD HH24:MI') as change
             from subscription_change where subscription_id = $1 order by position`,
    values: [subscriptionId]
  })
  return rows.map(({ change }) => change)
}

/** Subscribed, with the address of the subscription. */
async function subscribed(planId = basic.id) {
  const { id: customerId } = await addCustomer(service)
  const created = await call('POST /v1/subscriptions', { customerId, planId })
  return { customerId, created, id: created.body.id, path: `/v1/subscriptions/${created.body.id}` as const }
}

function countOf(statuses: readonly number[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(statuses, String)].map(([status, those]) => [status, those.length]))
}

t.test('a subscription goes through its life, and tells each step once', async (t) => {
  const { customerId, created, id, path } = await subscribed(tried.id)
  t.match(created, { status: 201, headers: { etag: '"1"' }, body: { status: 'trialing', anchor: '2026-03-26' } })
  t.equal(created.body.trialEnd, '2026-03-25T23:00:00.000Z')
  const read = await call(`GET ${path}`)
  t.match(read, { status: 200, headers: { etag: '"1"' } })
  t.same(read.body, created.body)

  const active = await call(`POST ${path}/activate`)
  t.match(active, { status: 200, headers: { etag: '"2"' }, body: { status: 'active', anchor: '2026-03-12' } })
  t.same(active.body.currentPeriod, { start: '2026-03-11T23:00:00.000Z', end: '2026-04-11T22:00:00.000Z' })

  setNow(Date.parse('2026-03-20T10:20:00Z'))
  const previewed = await call(`POST ${path}/preview`, { planId: pro.id })
  t.match(previewed, { status: 200 })
  // 23 of 31 days are left, the 20th of March among them.
  t.same(previewed.body, {
    planId: pro.id,
    when: 'now',
    effectiveAt: '2026-03-20T10:15:00.000Z',
    currency: 'EUR',
    creditMinor: '2300',
    chargeMinor: '4600',
    netMinor: '2300'
  })
  t.same((await call(`GET ${path}`)).body, active.body, 'a preview changes nothing')
  t.match((await call(`POST ${path}/change-plan`, { planId: pro.id })).body, { planId: pro.id, version: 3 })
  t.match((await call(`POST ${path}/pause`)).body, { status: 'paused', pausedAt: '2026-03-20T10:15:00.000Z' })
  setNow(Date.parse('2026-03-21T00:00:00Z'))
  t.match((await call(`POST ${path}/resume`)).body, { status: 'active', pausedAt: null })
  const scheduled = { kind: 'change-plan', planId: basic.id, at: '2026-04-11T22:00:00.000Z' }
  t.match((await call(`POST ${path}/change-plan`, { planId: basic.id })).body, { scheduledChange: scheduled })
  t.match((await call(`POST ${path}/keep`)).body, { planId: pro.id, scheduledChange: null })
  t.match((await call(`POST ${path}/cancel`, { when: 'period-end' })).body, { scheduledChange: { kind: 'cancel' } })

  setNow(Date.parse('2026-04-11T22:00:00Z'))
  t.match(await call(`POST ${path}/pause`), { status: 409, body: { code: 'illegal-transition' } })
  t.match((await call(`GET ${path}`)).body, { status: 'ended', version: 9, canceledAt: '2026-03-21T00:00:00.000Z' })
  const told = 'created activated changed paused resumed changed changed changed canceled'
  t.same(await eventsOf(customerId), told.split(' '))
  t.same(await changesOf(id), [
    'created trialing 03-12 09:30',
    'activated active 03-12 09:30',
    'changed active 03-20 10:15',
    'paused paused 03-20 10:15',
    'resumed active 03-21 00:00',
    'ended ended 04-11 22:00'
  ])
})

t.test('of many changes that race, one wins: by If-Match 412 for the others, without it 409', async (t) => {
  const guarded = await subscribed()
  const change = { planId: pro.id }
  const many = Array.from({ length: 20 })
  const answers = await Promise.all(
    many.map(() => call(`POST ${guarded.path}/change-plan`, change, { 'if-match': '"1"' }))
  )
  t.same(countOf(answers.map(({ status }) => status)), { 200: 1, 412: 19 })
  t.match((await call(`GET ${guarded.path}`)).body, { planId: pro.id, version: 2 })
  t.same(await eventsOf(guarded.customerId), ['created', 'changed'])

  const open = await subscribed()
  const outcomes = await Promise.all(many.map(() => call(`POST ${open.path}/change-plan`, change)))
  t.same(countOf(outcomes.map(({ status }) => status)), { 200: 1, 409: 19 })
  t.same(await eventsOf(open.customerId), ['created', 'changed'])
})

t.test('one Idempotency-Key makes one subscription, however often it is sent', async (t) => {
  const { id: customerId } = await addCustomer(service)
  const ask = () => call('POST /v1/subscriptions', { customerId, planId: basic.id }, { 'idempotency-key': 'once' })
  const answers = await Promise.all(Array.from({ length: 50 }, ask))
  for (const { status, body } of answers.filter(({ status }) => status !== 201))
    t.match({ status, body }, { status: 409, body: { code: 'idempotency-in-flight' } })
  const made = new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.id))
  t.equal(made.size, 1)
  const again = await ask()
  t.match(again, { status: 201, headers: { etag: '"1"' } })
  t.ok(made.has(again.body.id))
  t.equal((await call(`GET /v1/subscriptions?customerId=${customerId}`)).body.data.length, 1)
  t.same(await eventsOf(customerId), ['created'])
})

t.test('a customer has one live subscription, however many are asked for at once', async (t) => {
  const { id: customerId } = await addCustomer(service)
  const ask = () => call('POST /v1/subscriptions', { customerId, planId: basic.id })
  const answers = await Promise.all(Array.from({ length: 10 }, ask))
  t.same(countOf(answers.map(({ status }) => status)), { 201: 1, 409: 9 })
  t.match(await ask(), { status: 409, body: { code: 'subscription-exists' } })
  t.same(await eventsOf(customerId), ['created'])
  const { id } = answers.find(({ status }) => status === 201)?.body ?? {}
  t.match((await call(`POST /v1/subscriptions/${id}/cancel`, { when: 'now' })).body, { status: 'canceled' })
  t.match(await ask(), { status: 201 })
})

t.test('one that began some days ago begins with that day, and not before another one ended', async (t) => {
  const { id: customerId } = await addCustomer(service)
  const daysAgo = (days: number) => new Date(service.now() - days * 86_400_000).toISOString()
  const ask = (startsAt: string) => call('POST /v1/subscriptions', { customerId, planId: basic.id, startsAt })
  for (const startsAt of [daysAgo(-1), daysAgo(36)])
    t.match(await ask(startsAt), { status: 400, body: { errors: [{ field: 'startsAt' }] } })
  const { body } = await ask(daysAgo(3))
  t.match(body, { currentPeriod: { start: '2026-03-08T23:00:00.000Z' }, createdAt: daysAgo(0) })
  await call(`POST /v1/subscriptions/${body.id}/cancel`, { when: 'now' })
  t.match(await ask(daysAgo(1)), { status: 409, body: { code: 'subscription-overlaps' } })
  t.match(await ask(daysAgo(0)), { status: 201 })
})

t.test("a customer's credential finds its own subscription and no other", async (t) => {
  const [own, foreign] = [await subscribed(), await subscribed()]
  const key = await addKey(service, own.customerId)
  t.match(await call(`GET ${own.path}`, undefined, key), { status: 200 })
  for (const [route, body] of [
    [`GET ${foreign.path}`, undefined],
    [`POST ${foreign.path}/preview`, { planId: pro.id }],
    [`POST ${foreign.path}/change-plan`, { planId: pro.id }],
    [`POST ${foreign.path}/cancel`, { when: 'now' }],
    ...['activate', 'pause', 'resume', 'keep'].map((act) => [`POST ${foreign.path}/${act}`, undefined] as const)
  ] as const)
    t.match(await call(route, body, key), { status: 404, body: { code: 'unknown-subscription' } }, route)
  const stolen = { customerId: foreign.customerId, planId: pro.id }
  t.match(await call('POST /v1/subscriptions', stolen, key), { status: 404, body: { code: 'unknown-customer' } })
  t.match(await call(`GET /v1/subscriptions?customerId=${foreign.customerId}`, undefined, key), { status: 404 })
  const { data } = (await call('GET /v1/subscriptions', undefined, key)).body
  t.same(
    data.map(({ id }: { id: string }) => id),
    [own.id]
  )
  t.match((await call(`GET ${foreign.path}`)).body, { version: 1 })
  const changed = await call(`POST ${own.path}/change-plan`, { planId: pro.id }, key)
  t.match(changed, { status: 200, body: { planId: pro.id } })
})

t.test('lists are narrowed by customer and status, and go on where the page before ended', async (t) => {
  const paused = await subscribed()
  await call(`POST ${paused.path}/pause`)
  const { data } = (await call('GET /v1/subscriptions?status=paused&limit=200')).body
  t.same(
    data.map(({ id }: { id: string }) => id),
    [paused.id]
  )
  const first = (await call('GET /v1/subscriptions?limit=2')).body
  t.match(first, { hasMore: true, data: { length: 2 } })
  const second = (await call(`GET /v1/subscriptions?limit=200&cursor=${first.nextCursor}`)).body
  t.match(second, { hasMore: false, nextCursor: null })
  const ids = [...first.data, ...second.data].map(({ id }: { id: string }) => id)
  t.same(ids, [...new Set(ids)].sort())
  t.match(await call('GET /v1/subscriptions?cursor=x'), { status: 400 })
})

t.test('what can not be done is refused with its reason', async (t) => {
  const { customerId, path } = await subscribed()
  const { id: suspended } = await addCustomer(service, { status: 'suspended' })
  const held = await addPlan(service, { onlyFor: 'institution' })
  const yearly = await addPlan(service, { interval: 'year' })
  const foreign = await addPlan(service, { currency: 'XOF' })
  const plan = { code: 'plan-not-available' }
  for (const [route, body, expected] of [
    [
      'POST /v1/subscriptions',
      { customerId: 'nobody', planId: basic.id },
      { status: 404, body: { code: 'unknown-customer' } }
    ],
    ['POST /v1/subscriptions', { customerId, planId: 'none' }, { status: 404, body: { code: 'unknown-plan' } }],
    [
      'POST /v1/subscriptions',
      { customerId, planId: 'no\0text' },
      { status: 400, body: { code: 'validation-failed' } }
    ],
    ['POST /v1/subscriptions/no%00text/pause', undefined, { status: 400, body: { code: 'validation-failed' } }],
    [
      'POST /v1/subscriptions',
      { customerId: suspended, planId: basic.id },
      { status: 409, body: { code: 'customer-not-active' } }
    ],
    [
      `POST ${path}/change-plan`,
      { planId: held.id },
      { status: 409, body: { ...plan, reason: 'plan-not-for-customer' } }
    ],
    [
      `POST ${path}/change-plan`,
      { planId: foreign.id },
      { status: 409, body: { ...plan, reason: 'currency-mismatch' } }
    ],
    [
      `POST ${path}/change-plan`,
      { planId: yearly.id, when: 'now' },
      { status: 409, body: { reason: 'interval-changes-at-period-end' } }
    ],
    [`POST ${path}/preview`, { planId: basic.id }, { status: 409, body: { reason: 'same-plan' } }],
    [`POST ${path}/activate`, undefined, { status: 409, body: { code: 'illegal-transition' } }],
    [`POST ${path}/resume`, undefined, { status: 409, body: { code: 'illegal-transition' } }],
    [`POST ${path}/cancel`, { when: 'tomorrow' }, { status: 400, body: { code: 'validation-failed' } }],
    [`POST ${path}/cancel`, { when: 'now', why: 'x' }, { status: 400, body: { errors: [{ field: 'why' }] } }]
  ] as const)
    t.match(await call(route, body), expected, route)
  t.match((await call(`GET ${path}`)).body, { version: 1 })
})

t.test('a request that comes before the renewal finds the period of now', async (t) => {
  const { customerId, path } = await subscribed()
  setNow(Date.parse('2026-05-20T12:00:00Z'))
  t.match(await call(`POST ${path}/pause`, undefined, { 'if-match': '"1"' }), { status: 412 })
  const { body } = await call(`POST ${path}/pause`)
  t.match(body, { status: 'paused', version: 4 })
  t.same(body.currentPeriod, { start: '2026-05-11T22:00:00.000Z', end: '2026-06-11T22:00:00.000Z' })
  t.same(await eventsOf(customerId), ['created', 'renewed', 'renewed', 'paused'])
})

t.test('each change has the limits put in force, and stands when the meter is away', async (t) => {
  const { customerId, path } = await subscribed()
  isMeterAway = true
  t.teardown(() => {
    isMeterAway = false
  })
  t.match(await call(`POST ${path}/pause`), { status: 200, body: { status: 'paused' } })
  t.match(await call(`POST ${path}/pause`), { status: 409 })
  t.same(
    refreshed.filter((id) => id === customerId),
    [customerId, customerId]
  )
})
