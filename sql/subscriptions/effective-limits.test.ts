import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { NOW } from '../../api/ports-in-memory.ts'
import { renewDue } from '../../api/renew-limits.ts'
import { renewDueSubscriptions } from '../../api/subscriptions/renew-subscriptions.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import type { PlanLimit } from '../../domain/subscriptions/plan.ts'
import { giveGrant } from '../../domain/tokens/grants/give-grant.ts'
import { SETTLE_AFTER_MS } from '../../domain/tokens/grants/reckon-grants.ts'
import { quarterOf } from '../../domain/tokens/quarter-hour.ts'
import { ledgerOf } from '../../test/counted-events.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'
import { Database } from '../connect.ts'

const service = await startCustomerService(t)
const { call, inForce, now, setNow, stores } = service
const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'effective-test', role: 'login' })
t.teardown(() => database.close())
const use = ledgerOf(t, service.databaseUrl)
t.beforeEach(() => setNow(NOW))

const ms = (text: string) => Date.parse(`${text}Z`)
/** Local midnights of Paris. */
const PERIODS = ['2026-03-11T23:00', '2026-04-11T22:00', '2026-05-11T22:00', '2026-06-11T22:00'].map(ms)
const [STARTED = 0, FIRST_END = 0, SECOND_END = 0] = PERIODS
const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

const limitOf = (id: string, window: PlanLimit['window'], max = 1_000): PlanLimit => ({
  id,
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window,
  max,
  mode: 'hard',
  whenUnknown: 'deny'
})
const limits = [limitOf('period', { kind: 'plan-period' }), limitOf('day', { kind: 'day' }, 5_000)]
const plan = await addPlan(service, { limits })

async function subscribed(planId = plan.id): Promise<string> {
  const { id: customerId } = await addCustomer(service)
  t.equal((await call('POST /v1/subscriptions', { customerId, planId })).status, 201)
  return customerId
}

async function give(customerId: string, change: object = {}): Promise<string> {
  const { status, body } = await call(`POST /v1/customers/${customerId}/grants`, {
    tokens: 500,
    source: 'purchase',
    ...change
  })
  t.equal(status, 201)
  return body.id
}

/** As the processes do it each second: periods first, then limits. */
async function renewAll(at = now()): Promise<void> {
  setNow(at)
  const { failed } = await renewDueSubscriptions({ ...stores, now }, () => false)
  t.strictSame(failed, [])
  await renewDue({ ...stores, now }, () => false)
}

function maxima(customerId: string): Record<string, number> {
  return Object.fromEntries((inForce.get(customerId)?.limits ?? []).map(({ id, max }) => [id, max]))
}

function windowsOf(customerId: string, limitId: string) {
  const compiled = inForce.get(customerId)
  const counterId = compiled?.limits.find(({ id }) => id === limitId)?.counterId
  return compiled?.counters.find(({ id }) => id === counterId)?.windows ?? []
}

async function burntOf(grantId: string): Promise<unknown> {
  const [row] = await database.query<{ burnt: string; settled: Date | null }>('read a grant', {
    text: 'select burnt, settled_until as settled from customer_grant where id = $1',
    values: [grantId]
  })
  return row === undefined ? null : [Number(row.burnt), row.settled?.getTime() ?? null]
}

t.test("a subscription puts its plan's limits in force, with the windows of its periods and of the zone", async (t) => {
  const customerId = await subscribed()
  t.same(maxima(customerId), { period: 1_000, day: 5_000 })
  const periods = windowsOf(customerId, 'period')
  t.strictSame(periods.slice(0, 2), [
    [quarterOf(STARTED), quarterOf(FIRST_END)],
    [quarterOf(FIRST_END), quarterOf(SECOND_END)]
  ])
  t.equal(periods.length, 13, 'a year of periods is listed ahead')
  t.strictSame(windowsOf(customerId, 'day')[1], [quarterOf(STARTED), quarterOf(STARTED) + 96])
})

t.test("a limit of the customer's own replaces the plan's of the same id, until it is taken out", async (t) => {
  const customerId = await subscribed()
  const path = `/v1/customers/${customerId}/limits`
  const own = { ...limitOf('day', { kind: 'day' }), max: 70 }
  t.equal((await call(`PUT ${path}`, { timeZone: 'Europe/Paris', limits: [own] })).status, 201)
  t.same(maxima(customerId), { period: 1_000, day: 70 })
  await call(`PUT ${path}`, { timeZone: 'Europe/Paris', limits: [] })
  t.same(maxima(customerId), { period: 1_000, day: 5_000 })
})

t.test('whoever is suspended, paused or canceled is denied at once, and let in again at once', async (t) => {
  const customerId = await subscribed()
  const { body } = await call(`GET /v1/subscriptions?customerId=${customerId}`)
  const subscription = `/v1/subscriptions/${body.data[0].id}`
  const steps: readonly [`POST ${string}`, object][] = [
    [`POST /v1/customers/${customerId}/suspend`, { period: 1_000, day: 5_000, 'customer-suspended': 0 }],
    [`POST /v1/customers/${customerId}/reactivate`, { period: 1_000, day: 5_000 }],
    [`POST ${subscription}/pause`, { period: 1_000, day: 5_000, 'subscription-paused': 0 }],
    [`POST ${subscription}/resume`, { period: 1_000, day: 5_000 }]
  ]
  for (const [step, expected] of steps) {
    t.equal((await call(step)).status, 200, step)
    t.strictSame(maxima(customerId), expected, step)
  }
  t.equal((await call(`POST ${subscription}/cancel`, { when: 'now' })).status, 200)
  t.strictSame(maxima(customerId), { 'no-subscription': 0 })
})

t.test('a grant raises its limit at once and stops when it ends, but for what it had burnt', async (t) => {
  const customerId = await subscribed()
  await give(customerId, { expiresAt: '2026-03-20T00:00:00Z' })
  await give(customerId, { tokens: 40, priority: 200 })
  await give(customerId, { tokens: 7, limitId: 'day' })
  t.same(maxima(customerId), { period: 1_540, day: 5_007 })
  await use({ customerId, at: ms('2026-03-19T10:00'), tokens: 1_300 })
  await renewAll(ms('2026-03-20T00:00') - 1)
  t.same(maxima(customerId).period, 1_540, 'what was burnt was there to be used')
  await renewAll(ms('2026-03-20T00:00'))
  t.same(maxima(customerId).period, 1_340)
  await use({ customerId, at: ms('2026-03-19T23:59'), tokens: 50 })
  await renewAll(ms('2026-03-20T00:00') + SETTLE_AFTER_MS)
  t.same(maxima(customerId).period, 1_390, 'also what the ledger heard of some seconds later')
})

t.test('what is left of a grant goes on into the next period, and what it burnt is settled', async (t) => {
  const customerId = await subscribed()
  const grantId = await give(customerId)
  await use({ customerId, at: ms('2026-04-01T10:00'), tokens: 1_150 })
  await renewAll(FIRST_END)
  t.equal(maxima(customerId).period, 1_350)
  t.strictSame(await burntOf(grantId), [0, null], 'the ledger may not have heard of all yet')
  await use({ customerId, at: FIRST_END - 1, tokens: 50 })
  await renewAll(FIRST_END + SETTLE_AFTER_MS)
  t.equal(maxima(customerId).period, 1_300)
  t.strictSame(await burntOf(grantId), [200, FIRST_END])
  await use({ customerId, at: FIRST_END + 60_000, tokens: 1_300 })
  await renewAll(SECOND_END + SETTLE_AFTER_MS)
  t.equal(maxima(customerId).period, 1_000)
  t.strictSame(await burntOf(grantId), [500, SECOND_END])
  await renewAll(SECOND_END + 60_000)
  t.strictSame(await burntOf(grantId), [500, SECOND_END], 'a grant that is used up is at rest')
})

t.test('two periods that were slept through are settled one after the other', async (t) => {
  const customerId = await subscribed()
  const grantId = await give(customerId)
  await use({ customerId, at: ms('2026-03-15T10:00'), tokens: 1_100 })
  await use({ customerId, at: ms('2026-04-15T10:00'), tokens: 1_020 })
  await use({ customerId, at: ms('2026-05-15T10:00'), tokens: 1_003 })
  await renewAll(ms('2026-05-20T00:00'))
  t.strictSame(await burntOf(grantId), [120, SECOND_END])
  t.equal(maxima(customerId).period, 1_380)
  const [previous, current] = windowsOf(customerId, 'period')
  t.strictSame(previous, [quarterOf(FIRST_END), quarterOf(SECOND_END)])
  t.equal(current?.[0], quarterOf(SECOND_END))
  t.match((await call(`GET /v1/customers/${customerId}/balance`)).body.grants, [{ burnt: 123, remaining: 377 }])
})

t.test('another subscription gives nothing of a grant back', async (t) => {
  const customerId = await subscribed()
  const grantId = await give(customerId)
  await use({ customerId, at: ms('2026-03-12T10:00'), tokens: 1_200 })
  setNow(ms('2026-03-14T10:07'))
  const { body } = await call(`GET /v1/subscriptions?customerId=${customerId}`)
  await call(`POST /v1/subscriptions/${body.data[0].id}/cancel`, { when: 'now' })
  t.strictSame(await burntOf(grantId), [200, ms('2026-03-14T10:00')])
  setNow(ms('2026-03-16T10:07'))
  t.equal((await call('POST /v1/subscriptions', { customerId, planId: plan.id })).status, 201)
  t.same(maxima(customerId), { period: 1_300, day: 5_000 })
})

t.test('a change that died before it told the meter is put in force by the renewal', async (t) => {
  const customerId = await subscribed()
  await renewAll()
  const given = giveGrant(
    { tokens: 500, money: null, priority: 100, source: 'purchase', effectiveAt: null, expiresAt: null, limitId: null },
    { id: randomUUIDv7(), customer: { id: customerId, currency: 'EUR' }, limits: [], now: now() }
  )
  if ('faults' in given) throw new Error('the grant has faults')
  await stores.grantStore.insert(given.grant, UNTOLD)
  t.same(maxima(customerId).period, 1_000)
  await renewAll()
  t.same(maxima(customerId).period, 1_500)
  const revoked = { ...given.grant, revokedAt: given.grant.effectiveAt, version: 2 }
  t.equal(await stores.grantStore.revoke(revoked, UNTOLD), 'revoked')
  t.equal(await stores.grantStore.revoke(revoked, UNTOLD), 'other-version')
  await renewAll()
  t.same(maxima(customerId).period, 1_000)
})

t.test('changes and reckonings of one customer at the same time leave the last of them in force', async (t) => {
  const customerId = await subscribed()
  const turns = Array.from({ length: 12 }, (_, i) => give(customerId, { tokens: i + 1 }))
  const reckonings = Array.from({ length: 12 }, () => stores.limitRefresh.refresh(customerId))
  const ids = await Promise.all(turns)
  await Promise.all(reckonings)
  await Promise.all(
    ids
      .slice(0, 6)
      .flatMap((id) => [
        call(`POST /v1/customers/${customerId}/grants/${id}/revoke`),
        stores.limitRefresh.refresh(customerId)
      ])
  )
  await renewAll()
  t.equal(maxima(customerId).period, 1_000 + 78 - ids.slice(0, 6).reduce((sum, _, i) => sum + i + 1, 0))
})
