import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { type Change, PLATFORM, type Reach } from '../../domain/change.ts'
import { newCustomer } from '../../domain/customers/change-customer.ts'
import { eraseUser, inviteUser } from '../../domain/customers/change-user.ts'
import type { User } from '../../domain/customers/user.ts'
import type { UserRole } from '../../domain/customers/user-role.ts'
import type { UserFilter } from '../../domain/customers/user-store.ts'
import { freshDatabase } from '../../test/services.ts'
import { PostgresAuditStore } from '../change/audit-store.ts'
import { Database } from '../connect.ts'
import { EntityDatabase } from '../connect-slonik.ts'
import { PostgresCustomerStore } from './customer-store.ts'
import { PostgresUserActivity } from './user-activity.ts'
import { PostgresUserStore } from './user-store.ts'

const databaseUrl = await freshDatabase(t)
const entities = new EntityDatabase({ databaseUrl, applicationName: 'users-test', connectionsMax: 10 })
t.teardown(() => entities.close())
const customers = new PostgresCustomerStore(entities)
const activity = new PostgresUserActivity(entities)
const store = new PostgresUserStore(entities)

const EVERYBODY: UserFilter = { status: null, role: null, email: null, limit: 200, cursor: '' }
const NOW = Date.parse('2026-03-12T09:30:00.123Z')

function changeBy(customerId: string, reach: Reach = PLATFORM): Change {
  const actor = { kind: 'service', id: 'test', address: null, requestId: null } as const
  const entity = { kind: 'user', id: customerId }
  const audit = { id: randomUUIDv7(), customerId, actor, action: 'test', entity, before: null, after: null, at: NOW }
  return { reach, audit: [audit], events: [], request: null }
}

async function freshCustomer(): Promise<string> {
  const stated = newCustomer(
    { kind: 'sme', legalName: 'Clinique', country: 'SN', currency: 'XOF', timeZone: 'Africa/Dakar', taxId: '1' },
    { id: randomUUIDv7(), now: NOW }
  )
  if ('faults' in stated) throw new Error(JSON.stringify(stated.faults))
  await customers.insert(stated.next, changeBy(stated.next.id))
  return stated.next.id
}

async function invite(customerId: string, email: string, role: UserRole = 'viewer'): Promise<User> {
  const stated = inviteUser({ email, role, name: 'Amina' }, { id: randomUUIDv7(), customerId, now: NOW })
  if ('faults' in stated) throw new Error(JSON.stringify(stated.faults))
  t.equal(await store.insert(stated.next, changeBy(customerId)), 'inserted')
  return stated.next
}

function update(user: User, patch: Partial<User>): ReturnType<PostgresUserStore['update']> {
  return store.update({ ...user, ...patch, version: user.version + 1, updatedAt: NOW + 1 }, changeBy(user.customerId))
}

t.test('a user comes back as it was put, and is found in its own customer only', async (t) => {
  const [customerId, otherId] = [await freshCustomer(), await freshCustomer()]
  const user = await invite(customerId, 'amina@clinic.example')
  t.strictSame(await store.find(PLATFORM, user), user)
  t.equal(await store.find(PLATFORM, { ...user, customerId: otherId }), null)
  t.equal(await update(user, { name: null, role: 'admin', status: 'active' }), 'updated')
  const next = { ...user, name: null, role: 'admin', status: 'active', version: 2, updatedAt: NOW + 1 }
  t.strictSame(await store.find(PLATFORM, user), next)
  t.equal(await update(user, { name: 'B' }), 'other-version')
})

t.test('an address is once in a customer, however it is spelt, and may be in another', async (t) => {
  const [customerId, otherId] = [await freshCustomer(), await freshCustomer()]
  const user = await invite(customerId, 'a@b.example')
  const twin = { ...user, id: randomUUIDv7(), email: 'A@B.example' }
  t.equal(await store.insert(twin, changeBy(customerId)), 'email-taken')
  await invite(otherId, 'a@b.example')
  t.equal((await store.list(PLATFORM, customerId, EVERYBODY)).rows.length, 1)
})

t.test('a list has one customer’s users, by status, role and address', async (t) => {
  const customerId = await freshCustomer()
  const owner = await invite(customerId, 'o@b.example', 'owner')
  const viewers = [await invite(customerId, 'v1@b.example'), await invite(customerId, 'v2@b.example')]
  const found = async (filter: Partial<UserFilter>) =>
    (await store.list(PLATFORM, customerId, { ...EVERYBODY, ...filter })).rows.map(({ id }) => id)
  const ids = [owner, ...viewers].map(({ id }) => id).sort()
  t.same(await found({}), ids)
  t.same(await found({ role: 'owner' }), [owner.id])
  t.same(await found({ email: 'V2@B.example' }), [viewers[1]?.id])
  t.same(await found({ status: 'active' }), [])
  const page = await store.list(PLATFORM, customerId, { ...EVERYBODY, limit: 2 })
  t.same(
    page.rows.map(({ id }) => id),
    ids.slice(0, 2)
  )
  t.same(await found({ cursor: page.next ?? '' }), ids.slice(2))
})

t.test('of many owners who leave at once, the last one stays', async (t) => {
  const customerId = await freshCustomer()
  const owners: User[] = []
  for (let i = 0; i < 10; i += 1) owners.push(await invite(customerId, `o${i}@b.example`, 'owner'))
  const leave = (owner: User, i: number) => update(owner, i % 2 === 0 ? { status: 'disabled' } : { role: 'admin' })
  const outcomes = await Promise.all(owners.map(leave))
  t.same(outcomes.toSorted(), ['last-owner', ...Array.from({ length: 9 }, () => 'updated')])
  const left = await store.list(PLATFORM, customerId, { ...EVERYBODY, role: 'owner', status: 'invited' })
  t.same(left.rows, [owners[outcomes.indexOf('last-owner')]])
})

t.test('whoever is no owner may leave though there is none', async (t) => {
  const customerId = await freshCustomer()
  const viewer = await invite(customerId, 'v@b.example')
  t.equal(await update(viewer, { status: 'disabled' }), 'updated')
  const owner = await invite(customerId, 'o@b.example', 'owner')
  t.equal(await update(owner, { role: 'billing' }), 'last-owner')
  t.equal(await update(owner, { name: 'Still here' }), 'updated')
})

t.test('a user and its trail are erased together or not at all', async (t) => {
  const customerId = await freshCustomer()
  const user = await invite(customerId, 'gone@b.example')
  const [told] = changeBy(customerId).audit
  if (told === undefined) throw new Error('a change without a record')
  const record = { ...told, entity: { kind: 'user', id: user.id }, after: { email: user.email, role: user.role } }
  const disabled: User = { ...user, status: 'disabled', version: 2 }
  t.equal(await store.update(disabled, { ...changeBy(customerId), audit: [record] }), 'updated')
  const erased = eraseUser(disabled, NOW + 1)
  if ('refused' in erased) throw new Error(erased.refused)
  const { next } = erased
  const page = { entityKind: 'user', entityId: user.id, actorId: null, action: null, from: null, to: null }
  const after = async () => {
    const found = await new PostgresAuditStore(entities).list(PLATFORM, { ...page, customerId, limit: 9, cursor: '' })
    return found.rows.map((row) => row.after)
  }
  t.equal(await store.erase({ ...next, version: 4 }, changeBy(customerId)), 'other-version')
  const taken = { ...changeBy(customerId), audit: [record] }
  await t.rejects(store.erase(next, taken), /unique integrity/, 'fails as its record is written')
  t.strictSame(await store.find(PLATFORM, user), disabled)
  t.strictSame(await after(), [record.after])
  t.equal(await store.erase(next, changeBy(customerId)), 'erased')
  t.strictSame(await store.find(PLATFORM, user), next)
  t.strictSame(await after(), [{ ...record.after, email: null }])
})

t.test('who was seen is noted at once for many, never backwards, and raises no version', async (t) => {
  const [customerId, otherId] = [await freshCustomer(), await freshCustomer()]
  const [a, b] = [await invite(customerId, 'a@b.example'), await invite(customerId, 'b@b.example')]
  const foreign = await invite(otherId, 'a@b.example')
  const seen = (userId: string, at: number) => ({ customerId, userId, at })
  await activity.noteSeen([a.id, b.id, foreign.id, 'dr-amina'].map((id) => seen(id, NOW + 60_000)))
  await activity.noteSeen([seen(a.id, NOW)])
  await activity.noteSeen([])
  t.strictSame(await store.find(PLATFORM, a), { ...a, lastSeenAt: NOW + 60_000 })
  t.match(await store.find(PLATFORM, b), { lastSeenAt: NOW + 60_000, version: 1 })
  t.match(await store.find(PLATFORM, foreign), { lastSeenAt: null })
  t.same(await activity.countSince([NOW + 60_000, NOW + 60_001]), [2, 0])
  t.equal(await update(a, { name: 'A' }), 'updated')
  t.match(await store.find(PLATFORM, a), { lastSeenAt: NOW + 60_000, version: 2 }, 'a change leaves it')
})

t.test('within the reach of one customer there are no users of another, to see, to change or to add', async (t) => {
  const [ownId, foreignId] = [await freshCustomer(), await freshCustomer()]
  const [own, foreign] = [await invite(ownId, 'a@b.example'), await invite(foreignId, 'a@b.example')]
  const reach = { kind: 'customer', customerId: ownId } as const
  t.strictSame(await store.find(reach, own), own)
  t.equal(await store.find(reach, foreign), null)
  t.same((await store.list(reach, foreignId, EVERYBODY)).rows, [])
  const next = { ...foreign, name: 'Mine', version: 2 }
  t.equal(await store.update(next, changeBy(ownId, reach)), 'other-version')
  const smuggled = { ...foreign, id: randomUUIDv7(), email: 'c@b.example' }
  await t.rejects(store.insert(smuggled, changeBy(ownId, reach)), /row-level security/)
  t.strictSame(await store.find(PLATFORM, foreign), foreign)
})

t.test('the application’s role sees no user while no customer is named', async (t) => {
  const login = new Database({ databaseUrl, applicationName: 'users-test', role: 'login' })
  t.teardown(() => login.close())
  const seen = await login.transaction('look', 'read committed', async (run) => {
    await run({ text: 'set local role tokenmeter_app' })
    return run({ text: 'select id from customer_user' })
  })
  t.same(seen, [])
})
