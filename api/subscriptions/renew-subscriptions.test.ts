import Fastify from 'fastify'
import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { PlanVersion } from '../../domain/subscriptions/plan.ts'
import { Database } from '../../sql/connect.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'
import { catchUp, type RenewalDependencies, renewDueSubscriptions, subscriptionRenewal } from './renew-subscriptions.ts'

const START = Date.parse('2026-01-31T14:20:00Z')

const service = await startCustomerService(t, {}, { limitRefresh: { refresh: async () => undefined } })
const { call, setNow, stores, now } = service
const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'renewal-test' })
t.teardown(() => database.close())
t.beforeEach(() => setNow(START))

const dependencies: RenewalDependencies = { ...stores, now }
const basic = await addPlan(service)
const pro = await addPlan(service, { baseFeeMinor: 6_200n })

async function subscribed(plan: PlanVersion = basic) {
  const { id: customerId } = await addCustomer(service)
  const { body } = await call('POST /v1/subscriptions', { customerId, planId: plan.id })
  return { customerId, id: body.id, path: `/v1/subscriptions/${body.id}` as const }
}

async function stored(id: string) {
  const subscription = await stores.subscriptionStore.find({ kind: 'platform' }, id)
  if (subscription === null) throw new Error(`no subscription ${id}`)
  return subscription
}

async function periodsOf(id: string): Promise<string[]> {
  const rows = await database.query<{ period: string }>('read the periods', {
    text: `select concat_ws(' ', to_char(starts_at at time zone 'UTC', 'MM-DD HH24:MI'), status, time_zone) as period
             from subscription_period where subscription_id = $1 order by starts_at`,
    values: [id]
  })
  return rows.map(({ period }) => period)
}

async function eventsOf(customerId: string): Promise<string[]> {
  const rows = await database.query<{ event: string }>('read the outbox', {
    text: `select type || to_char(occurred_at at time zone 'UTC', ' MM-DD') as event
             from outbox where customer_id = $1 order by position`,
    values: [customerId]
  })
  return rows.map(({ event }) => event.replace('subscription.', ''))
}

const never = () => false

t.test('five missed months are caught up one by one, once, by however many renew at the same time', async (t) => {
  const { customerId, id } = await subscribed()
  const before = await stored(id)
  setNow(Date.parse('2026-07-10T00:00:00Z'))
  const rounds = await Promise.all([
    renewDueSubscriptions(dependencies, never),
    renewDueSubscriptions(dependencies, never),
    // The lease keeps them apart; these two are what happens when it has run out.
    catchUp(before, dependencies),
    catchUp(before, dependencies)
  ])
  t.same(
    rounds.flatMap((round) => (round !== null && 'failed' in round ? round.failed : [])),
    []
  )
  await catchUp(await stored(id), dependencies)
  t.same(await periodsOf(id), [
    '01-30 23:00 closed Europe/Paris',
    '02-27 23:00 closed Europe/Paris',
    '03-30 22:00 closed Europe/Paris',
    '04-29 22:00 closed Europe/Paris',
    '05-30 22:00 closed Europe/Paris',
    '06-29 22:00 open Europe/Paris'
  ])
  t.match(await stored(id), { version: 6, status: 'active', anchor: '2026-01-31' })
  t.same(await eventsOf(customerId), [
    'created 01-31',
    'renewed 02-27',
    'renewed 03-30',
    'renewed 04-29',
    'renewed 05-30',
    'renewed 06-29'
  ])
  t.same(await renewDueSubscriptions(dependencies, never), { renewed: 0, failed: [] })
})

t.test('a trial that ends is paid for, a scheduled plan holds, a canceled subscription ends', async (t) => {
  const trial = await subscribed(await addPlan(service, { trialDays: 14 }))
  const down = await subscribed(pro)
  await call(`POST ${down.path}/change-plan`, { planId: basic.id })
  const canceled = await subscribed()
  await call(`POST ${canceled.path}/cancel`, { when: 'period-end' })
  setNow(Date.parse('2026-03-05T00:00:00Z'))
  t.same(await renewDueSubscriptions(dependencies, never), { renewed: 3, failed: [] })
  t.match(await stored(trial.id), { status: 'active', anchor: '2026-02-14', version: 2 })
  t.same(await eventsOf(trial.customerId), ['created 01-31', 'activated 02-13'])
  t.match(await stored(down.id), { planId: basic.id, scheduledChange: null })
  t.same(await eventsOf(down.customerId), ['created 01-31', 'changed 01-31', 'renewed 02-27', 'changed 02-27'])
  t.match(await stored(canceled.id), { status: 'ended', canceledAt: START })
  t.same(await periodsOf(canceled.id), ['01-30 23:00 closed Europe/Paris'])
  t.same(await eventsOf(canceled.customerId), ['created 01-31', 'changed 01-31', 'canceled 02-27'])
  setNow(Date.parse('2027-03-05T00:00:00Z'))
  await renewDueSubscriptions(dependencies, never)
  t.equal((await stored(canceled.id)).version, 3, 'nothing follows an end')
})

t.test('another zone of the customer holds from the next period on', async (t) => {
  const { customerId, id } = await subscribed()
  const customer = await stores.customerStore.find({ kind: 'platform' }, customerId)
  if (customer === null) throw new Error('no customer')
  const untold = { reach: { kind: 'platform' }, audit: [], events: [], request: null } as const
  await stores.customerStore.update({ ...customer, timeZone: 'Asia/Tokyo', version: 2 }, untold)
  setNow(Date.parse('2026-03-31T00:00:00Z'))
  await renewDueSubscriptions(dependencies, never)
  t.same(await periodsOf(id), [
    '01-30 23:00 closed Europe/Paris',
    '02-27 23:00 closed Asia/Tokyo',
    '03-30 15:00 open Asia/Tokyo'
  ])
})

t.test('one that can not be renewed keeps no other waiting; a store that is away ends the round', async (t) => {
  const [scheduled, plain] = [await subscribed(pro), await subscribed()]
  await call(`POST ${scheduled.path}/change-plan`, { planId: basic.id })
  setNow(Date.parse('2026-03-05T00:00:00Z'))
  const broken = (error: Error): RenewalDependencies => ({
    ...dependencies,
    planStore: { find: () => Promise.reject(error) }
  })
  const defect = new Error('a defect')
  const round = await renewDueSubscriptions(broken(defect), never)
  t.same(round.failed, [{ id: scheduled.id, error: defect }])
  t.match(await stored(plain.id), { version: 2 })
  t.same(await renewDueSubscriptions(dependencies, never), { renewed: 0, failed: [] }, 'it is leased')
  setNow(Date.parse('2026-03-05T00:00:10Z'))
  await t.rejects(
    renewDueSubscriptions(broken(new RetryableError('postgres-unavailable', 'away')), never),
    RetryableError
  )
  setNow(Date.parse('2026-03-05T00:00:20Z'))
  t.same(await renewDueSubscriptions(dependencies, () => true), { renewed: 0, failed: [] }, 'told to stop')
  setNow(Date.parse('2026-03-05T00:00:30Z'))
  t.same(await renewDueSubscriptions(dependencies, never), { renewed: 1, failed: [] })
  t.match(await stored(scheduled.id), { planId: basic.id })
})

t.test('a process renews by itself what comes due', async (t) => {
  const { id } = await subscribed()
  setNow(Date.parse('2026-03-05T00:00:00Z'))
  const renewal = subscriptionRenewal({ ...dependencies, logger: Fastify().log })
  renewal.start()
  t.teardown(() => renewal.stop())
  await waitUntil(async () => (await stored(id)).version === 2, { what: 'the renewal', timeoutMs: 10_000 })
  await renewal.stop()
  t.match(await stored(id), { version: 2 })
})
