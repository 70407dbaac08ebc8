import t from 'tap'
import { PostgresUserActivity } from '../../sql/customers/user-activity.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { NOW } from '../ports-in-memory.ts'

const { call, entities } = await startCustomerService(t)

const SME = {
  kind: 'sme',
  legalName: 'Clinique Amina SARL',
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  taxId: '0058291 2G3'
}

async function freshCustomer(): Promise<string> {
  return (await call('POST /v1/customers', SME)).body.id
}

t.test('a user is invited, let in, changed and disabled', async (t) => {
  const customerId = await freshCustomer()
  const users = `/v1/customers/${customerId}/users`
  const owner = await call(`POST ${users}`, { email: 'Owner@Clinic.example', role: 'owner' })
  t.match(owner, { status: 201, headers: { etag: '"1"', location: `${users}/${owner.body.id}` } })
  t.match(owner.body, { customerId, email: 'owner@clinic.example', name: null, status: 'invited', lastSeenAt: null })
  const { body: user } = await call(`POST ${users}`, { email: 'a@clinic.example', role: 'viewer', name: 'Amina' })
  const url = `${users}/${user.id}`
  t.match(await call(`POST ${url}/activate`), { status: 200, body: { status: 'active', version: 2 } })
  t.match(await call(`POST ${url}/activate`), { status: 409, body: { code: 'illegal-transition' } })
  t.match(await call(`PATCH ${url}`, { role: 'developer' }), { status: 428 })
  t.match(await call(`PATCH ${url}`, { role: 'developer' }, { 'if-match': '"1"' }), { status: 412 })
  const changed = await call(`PATCH ${url}`, { role: 'developer' }, { 'if-match': '"2"' })
  t.match(changed, { status: 200, headers: { etag: '"3"' }, body: { role: 'developer', name: 'Amina', version: 3 } })
  t.match(await call(`POST ${url}/disable`), { status: 200, body: { status: 'disabled', version: 4 } })
  t.match(await call(`POST ${url}/activate`), { status: 200, body: { status: 'active', version: 5 } })
  t.match((await call(`GET ${users}?role=developer&status=active`)).body, { data: [{ id: user.id }], hasMore: false })
  t.match((await call(`GET ${users}?email=OWNER@clinic.example`)).body, { data: [{ id: owner.body.id }] })
})

t.test('when a user was last seen can be read, and raises no version', async (t) => {
  const customerId = await freshCustomer()
  const { body: user } = await call(`POST /v1/customers/${customerId}/users`, { email: 'a@b', role: 'viewer' })
  await new PostgresUserActivity(entities).noteSeen([{ customerId, userId: user.id, at: NOW + 60_000 }])
  const read = await call(`GET /v1/customers/${customerId}/users/${user.id}`)
  t.match(read, { headers: { etag: '"1"' }, body: { lastSeenAt: '2026-03-12T09:31:00.000Z', version: 1 } })
})

t.test('faults name their field, and what is not there is not found', async (t) => {
  const customerId = await freshCustomer()
  const users = `/v1/customers/${customerId}/users`
  const { status, body } = await call(`POST ${users}`, { email: 'nobody', role: 'king', name: '', status: 'active' })
  t.equal(status, 400)
  t.same(body.errors.map(({ field }: { field: string }) => field).sort(), ['email', 'name', 'role', 'status'])
  t.match(await call(`POST ${users}`, '[]'), { status: 400, body: { code: 'validation-failed' } })
  const user = { email: 'a@b', role: 'viewer' }
  t.equal((await call(`POST ${users}`, user)).status, 201)
  t.match(await call(`POST ${users}`, { ...user, email: 'A@B' }), { status: 409, body: { code: 'email-taken' } })
  t.match(await call(`GET ${users}/nobody`), { status: 404, body: { code: 'unknown-user' } })
  t.match(await call('GET /v1/customers/nobody/users'), { status: 404, body: { code: 'unknown-customer' } })
  t.match(await call('POST /v1/customers/nobody/users', user), { status: 404, body: { code: 'unknown-customer' } })
})

t.test('ten requests at once do not take the last owner away', async (t) => {
  const customerId = await freshCustomer()
  const users = `/v1/customers/${customerId}/users`
  const owners: string[] = []
  for (let i = 0; i < 10; i += 1) {
    owners.push((await call(`POST ${users}`, { email: `o${i}@clinic.example`, role: 'owner' })).body.id)
  }
  const answers = await Promise.all(
    owners.map((id, i) =>
      i % 2 === 0
        ? call(`POST ${users}/${id}/disable`)
        : call(`PATCH ${users}/${id}`, { role: 'admin' }, { 'if-match': '"1"' })
    )
  )
  t.same(answers.map(({ status }) => status).sort(), [...Array.from({ length: 9 }, () => 200), 409])
  t.match(answers.find(({ status }) => status === 409)?.body, { code: 'last-owner' })
  t.equal((await call(`GET ${users}?role=owner&status=invited`)).body.data.length, 1)
})

t.test('a customer’s key manages its own users, but neither owners nor another customer’s', async (t) => {
  const [ownId, foreignId] = [await freshCustomer(), await freshCustomer()]
  const owner = await call(`POST /v1/customers/${ownId}/users`, { email: 'o@b', role: 'owner' })
  const foreign = await call(`POST /v1/customers/${foreignId}/users`, { email: 'f@b', role: 'viewer' })
  const scopes = ['users:read', 'users:write']
  const key = await call('POST /v1/api-keys', { customerId: ownId, name: 'own', scopes })
  const headers = { 'x-api-key': key.body.secret }
  const users = `/v1/customers/${ownId}/users`
  const denied = { status: 403, body: { code: 'access-denied' } }
  const invited = await call(`POST ${users}`, { email: 'v@b', role: 'viewer' }, headers)
  t.equal(invited.status, 201)
  t.match(await call(`POST ${users}`, { email: 'w@b', role: 'owner' }, headers), denied)
  t.match(await call(`PATCH ${users}/${invited.body.id}`, { role: 'owner' }, { ...headers, 'if-match': '"1"' }), denied)
  t.match(await call(`POST ${users}/${owner.body.id}/disable`, undefined, headers), denied)
  t.match(await call(`POST ${users}/${invited.body.id}/disable`, undefined, headers), { status: 200 })
  t.match(await call(`GET /v1/customers/${foreignId}/users/${foreign.body.id}`, undefined, headers), { status: 404 })
  t.match(await call(`GET ${users}/${foreign.body.id}`, undefined, headers), { status: 404 })
  t.match(await call(`GET /v1/customers/${foreignId}/users`, undefined, headers), { status: 404 })
})
