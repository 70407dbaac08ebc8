import t from 'tap'
import { type Change, PLATFORM } from '../../domain/change.ts'
import {
  cancel,
  createSubscription,
  pause,
  type Transition
} from '../../domain/subscriptions/subscription-life-cycle.ts'
import { renew } from '../../domain/subscriptions/subscription-renewal.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'
import { Database } from '../connect.ts'

const service = await startCustomerService(t)
const { subscriptionStore: store } = service.stores
const NOW = service.now()
const database = new Database({
  databaseUrl: service.databaseUrl,
  applicationName: 'subscription-store-test',
  role: 'login'
})
t.teardown(() => database.close())
const plan = await addPlan(service, { trialDays: 7 })

const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }
const EVENT_AT = { at: NOW, data: {} }

async function anySubscription({ id = crypto.randomUUID(), now = NOW } = {}): Promise<Transition> {
  const customer = await addCustomer(service)
  return written(createSubscription({ id, customer, plan, now }))
}

function written(outcome: ReturnType<typeof createSubscription>): Transition {
  if ('refused' in outcome) throw new Error(`refused: ${outcome.refused}`)
  return outcome
}

async function rowsOf(table: 'subscription_period' | 'subscription_change', id: string): Promise<number> {
  const text = `select count(*)::integer as rows from ${table} where subscription_id = $1`
  const [counted] = await database.query<{ rows: number }>('count rows', { text, values: [id] })
  return counted?.rows ?? -1
}

async function limitsDue(customerId: string): Promise<boolean> {
  const text = 'select renew_at from customer_limits where customer_id = $1'
  const [row] = await database.query<{ renew_at: string }>('read', { text, values: [customerId] })
  return row?.renew_at === '0'
}

t.test('a subscription comes back as it was written, with every field there is', async (t) => {
  const made = await anySubscription()
  t.equal(await store.insert(made, UNTOLD), 'inserted')
  t.strictSame(await store.find(PLATFORM, made.next.id), made.next)
  const canceled = written(cancel(made.next, { when: 'period-end', now: NOW + 1 }))
  t.equal(await store.update(canceled, UNTOLD), 'updated')
  t.strictSame(await store.find(PLATFORM, made.next.id), canceled.next)
  t.match(canceled.next, { trialEnd: Number, canceledAt: NOW + 1, scheduledChange: { kind: 'cancel' } })
})

t.test('what loses against another version or a live subscription leaves nothing behind', async (t) => {
  const made = await anySubscription()
  const { id, customerId } = made.next
  await store.insert(made, UNTOLD)
  const lost: Change = { ...UNTOLD, events: [{ ...EVENT_AT, id: 'lost', type: 'subscription.canceled', customerId }] }
  const second = { ...made, next: { ...made.next, id: crypto.randomUUID() } }
  t.equal(await store.insert(second, lost), 'another-is-live')
  t.equal(await store.find(PLATFORM, second.next.id), null)
  const canceled = written(cancel(made.next, { when: 'now', now: NOW }))
  t.equal(await store.update({ ...canceled, next: { ...canceled.next, version: 3 } }, lost), 'other-version')
  t.equal(await store.update(canceled, UNTOLD), 'updated')
  t.equal(await store.update(canceled, lost), 'other-version', 'once')
  t.same([await rowsOf('subscription_period', id), await rowsOf('subscription_change', id)], [1, 2])
  t.same(await database.query('read', { text: "select id from outbox where id = 'lost'" }), [])
  await database.query('suspend', { text: `update customer set status = 'suspended' where id = '${customerId}'` })
  t.equal(await store.insert(second, lost), 'customer-changed')
  await database.query('go on', { text: `update customer set status = 'active' where id = '${customerId}'` })
  t.equal(await store.insert(second, UNTOLD), 'inserted', 'one that is canceled is not in the way')
})

t.test("each change marks the customer's limits due in its own transaction", async (t) => {
  const made = await anySubscription()
  const { customerId } = made.next
  await store.insert(made, UNTOLD)
  t.ok(await limitsDue(customerId))
  const settle = { text: 'update customer_limits set renew_at = 9 where customer_id = $1', values: [customerId] }
  await database.query('settle', settle)
  const canceled = written(cancel(made.next, { when: 'period-end', now: NOW }))
  await store.update({ ...canceled, next: { ...canceled.next, version: 7 } }, UNTOLD)
  t.notOk(await limitsDue(customerId), 'nothing was changed')
  await store.update(canceled, UNTOLD)
  t.ok(await limitsDue(customerId))
})

t.test('whoever is due is given out once per lease, until it is renewed, and never when it is over', async (t) => {
  const made = await Promise.all(Array.from({ length: 12 }, () => anySubscription()))
  for (const each of made) await store.insert(each, UNTOLD)
  const ids = made.map(({ next }) => next.id).sort()
  const end = made[0]?.next.currentPeriod.end ?? Number.NaN
  const taken = async (now: number) =>
    (await store.takeDue(now, 500)).map(({ id }) => id).filter((id) => ids.includes(id))
  t.same(await taken(end - 1), [])
  const rounds = await Promise.all(Array.from({ length: 4 }, () => taken(end)))
  t.same(rounds.flat().sort(), ids)
  t.same(await taken(end + 499), [])
  const [first, second] = made
  if (first === undefined || second === undefined) throw new Error('none was made')
  const context = { now: end, timeZone: 'Europe/Paris', scheduledPlan: null }
  const renewal = written(renew(first.next, context))
  await store.update(renewal, UNTOLD)
  await store.update(written(cancel(second.next, { when: 'now', now: end - 1 })), UNTOLD)
  t.same(
    (await taken(end + 500)).sort(),
    ids.filter((id) => id !== first.next.id && id !== second.next.id)
  )
  t.ok((await taken(renewal.next.currentPeriod.end)).includes(first.next.id))
})

t.test('the tables refuse a gap, an overlap and a second open period', async (t) => {
  const made = await anySubscription()
  const { id, currentPeriod } = made.next
  await store.insert(made, UNTOLD)
  const renewal = written(renew(made.next, { now: currentPeriod.end, timeZone: 'Europe/Paris', scheduledPlan: null }))
  const { closed, opened } = renewal
  if (closed === null || opened === null) throw new Error('nothing follows')
  const quarter = 900_000
  for (const [what, wrong] of [
    ['a gap', { closed: { ...closed, end: closed.end - quarter } }],
    ['an overlap', { opened: { ...opened, start: opened.start - quarter } }],
    ['a second open one', { closed: null }],
    ['one that is closed already', { closed: { ...closed, start: closed.start - quarter } }]
  ] as const) {
    // The adapter says what a period follows by what it closes: here it is told wrong.
    const transition = { ...renewal, ...wrong }
    await t.rejects(store.update(transition, UNTOLD), what)
  }
  t.equal(await rowsOf('subscription_period', id), 1)
  t.equal(await store.update(renewal, UNTOLD), 'updated')
  t.equal(await store.update(written(pause(renewal.next, currentPeriod.end)), UNTOLD), 'updated')
})
