import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { PLATFORM } from '../../domain/change.ts'
import { verifyTrails } from '../../ingest/commands/audit-command.ts'
import { PostgresAuditChains } from '../../sql/change/audit-chains.ts'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { NOW } from '../ports-in-memory.ts'

const { call, entities, databaseUrl, setNow } = await startCustomerService(t)
const database = new Database({ databaseUrl, applicationName: 'erase-test' })
t.teardown(() => database.close())

const SME = {
  kind: 'sme',
  legalName: 'Clinique du Parc SARL',
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  taxId: '0058291 2G3'
}
/** What names the person, in every form that it was ever told in. */
const PERSON = /amina|diallo|sow|192\.0\.2\.7/i

interface Erasable {
  readonly customerId: string
  readonly id: string
  readonly url: string
}

async function freshCustomer(): Promise<string> {
  return (await call('POST /v1/customers', SME)).body.id
}

async function disabledUser(): Promise<Erasable> {
  const customerId = await freshCustomer()
  const users = `/v1/customers/${customerId}/users`
  const { body } = await call(`POST ${users}`, { email: 'Amina@clinic.example', role: 'viewer', name: 'Amina Diallo' })
  const url = `${users}/${body.id}`
  await call(`POST ${url}/activate`)
  await call(`PATCH ${url}`, { name: 'Amina Sow' }, { 'if-match': '"2"' })
  t.match(await call(`POST ${url}/disable`), { status: 200, body: { version: 4 } })
  return { customerId, id: body.id, url }
}

/** As another service tells it: what the user did, and what was done to the user. */
async function tellOf({ customerId, id }: Erasable): Promise<void> {
  const actor = { kind: 'user', id, address: '192.0.2.7', requestId: null } as const
  const told = { customerId, actor, before: null, at: NOW }
  const audit = [
    {
      ...told,
      id: randomUUIDv7(),
      action: 'report.read',
      entity: { kind: 'report', id: 'r' },
      after: { name: 'Kept' }
    },
    { ...told, id: randomUUIDv7(), action: 'user.greeted', entity: { kind: 'user', id }, after: { name: 'Amina' } }
  ]
  await entities.change({ reach: PLATFORM, audit, events: [], request: null }, 'tell', async () => undefined)
}

async function trailOf({ customerId }: Erasable): Promise<string> {
  return (await call(`GET /v1/audit-events?customerId=${customerId}&limit=200`)).text
}

async function faultsOfTrails(): Promise<unknown[]> {
  const findings = await Array.fromAsync(verifyTrails(new PostgresAuditChains(database)))
  return findings.filter(({ fault }) => fault !== null)
}

t.test('who is erased is named nowhere any more, and all that was done still stands', async (t) => {
  const user = await disabledUser()
  await tellOf(user)
  const before = await call(`GET ${user.url}`)
  t.match(await trailOf(user), PERSON)
  setNow(NOW + 1_000)
  const erased = await call(`POST ${user.url}/erase`)
  t.match(erased, { status: 200, headers: { etag: '"5"' } }, erased.text)
  t.same(erased.body, {
    ...before.body,
    email: `erased-${user.id}@erased.invalid`,
    name: null,
    version: 5,
    updatedAt: '2026-03-12T09:30:01.000Z'
  })
  t.same((await call(`GET ${user.url}`)).body, erased.body)
  const trail = await trailOf(user)
  t.notMatch(trail, PERSON)
  const { data } = JSON.parse(trail)
  t.match(data[0], { action: 'user.erased', before: { status: 'disabled' }, after: { status: 'disabled', version: 5 } })
  t.match(data[0], { actor: { address: '127.0.0.1' } }, 'who erased is known')
  t.match(trail, /Kept/)
  t.same(await faultsOfTrails(), [])
  const [event] = await database.query<{ type: string; data: object }>('read the last event', {
    text: 'select type, data from outbox where customer_id = $1 order by position desc limit 1',
    values: [user.customerId]
  })
  t.same(event, { type: 'user.updated', data: erased.body })
  const users = `/v1/customers/${user.customerId}/users`
  t.match(
    await call(`POST ${users}`, { email: 'amina@clinic.example', role: 'viewer' }),
    { status: 201 },
    'may come back'
  )
})

t.test('erased again, a user stays as it is, and what was told of it since goes as well', async (t) => {
  const user = await disabledUser()
  const keyed = { 'idempotency-key': 'erase-once' }
  const erased = await call(`POST ${user.url}/erase`, undefined, keyed)
  t.equal(erased.status, 200, erased.text)
  const trail = await trailOf(user)
  const replayed = await call(`POST ${user.url}/erase`, undefined, keyed)
  t.match(replayed, { status: 200, text: erased.text, headers: { 'idempotent-replayed': 'true' } })
  const again = await call(`POST ${user.url}/erase`)
  t.match(again, { status: 200, text: erased.text, headers: { etag: '"5"' } })
  t.equal(await trailOf(user), trail, 'nothing in the trail either')
  await tellOf(user)
  t.match(await trailOf(user), PERSON)
  t.match(await call(`POST ${user.url}/erase`), { status: 200, text: erased.text })
  t.notMatch(await trailOf(user), PERSON)
  t.same(await faultsOfTrails(), [])
})

t.test('only who is disabled is erased, and never comes back under its id', async (t) => {
  const user = await disabledUser()
  const illegal = { status: 409, body: { code: 'illegal-transition' } }
  await call(`POST ${user.url}/activate`)
  t.match(await call(`POST ${user.url}/erase`), illegal)
  t.match((await call(`GET ${user.url}`)).body, { name: 'Amina Sow', version: 5 })
  await call(`POST ${user.url}/disable`)
  t.match(await call(`POST ${user.url}/erase`, undefined, { 'if-match': '"5"' }), { status: 412 })
  t.match(await call(`POST ${user.url}/erase`, undefined, { 'if-match': '"6"' }), { status: 200 })
  t.match(await call(`POST ${user.url}/activate`), illegal)
  t.match(await call(`PATCH ${user.url}`, { name: 'Amina' }, { 'if-match': '"7"' }), { status: 400 })
})

t.test('two erasures at once erase once', async (t) => {
  const user = await disabledUser()
  const answers = await Promise.all([call(`POST ${user.url}/erase`), call(`POST ${user.url}/erase`)])
  const codes = answers.map(({ status, body }) => body.code ?? status)
  t.ok(codes.includes(200) && codes.every((code) => code === 200 || code === 'conflicting-change'), codes.join(' '))
  const { body } = await call(`GET /v1/audit-events?customerId=${user.customerId}&action=user.erased`)
  t.equal(body.data.length, 1)
})

t.test('a customer’s key erases its own users, but neither owners nor another customer’s', async (t) => {
  const [user, foreign] = [await disabledUser(), await disabledUser()]
  const users = `/v1/customers/${user.customerId}/users`
  const scopes = ['users:write']
  const key = await call('POST /v1/api-keys', { customerId: user.customerId, name: 'own', scopes })
  const headers = { 'x-api-key': key.body.secret }
  const owners = ['o1@b', 'o2@b'].map(async (email) => (await call(`POST ${users}`, { email, role: 'owner' })).body.id)
  const [ownerId] = await Promise.all(owners)
  await call(`POST ${users}/${ownerId}/disable`)
  t.match(await call(`POST ${users}/${ownerId}/erase`, undefined, headers), { status: 403 })
  t.match(await call(`POST ${foreign.url}/erase`, undefined, headers), { status: 404 })
  t.match(await call(`POST ${users}/${foreign.id}/erase`, undefined, headers), { status: 404 })
  t.match(await call(`POST ${users}/${foreign.id}/erase`), { status: 404, body: { code: 'unknown-user' } })
  t.match((await call(`GET ${foreign.url}`)).body, { name: 'Amina Sow' })
  t.match(await call(`POST ${user.url}/erase`, undefined, headers), { status: 200 })
  t.notMatch(await trailOf(user), PERSON)
})
