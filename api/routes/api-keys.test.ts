import t from 'tap'
import { PLATFORM } from '../../domain/change.ts'
import { hashOf } from '../../domain/customers/api-key.ts'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { parseApiKeys } from '../access/configured-keys.ts'
import { RULES, tokenOf } from '../access/test-tokens.ts'
import { tokenVerifier } from '../access/verify-token.ts'
import { API_KEY, NOW } from '../ports-in-memory.ts'

const CACHE_MS = 5_000
const service = await startCustomerService(
  t,
  {},
  {
    access: {
      configuredKeys: parseApiKeys(`test:${hashOf(API_KEY)}`),
      tokens: tokenVerifier(RULES),
      cacheMs: CACHE_MS,
      keyEnvironment: 'test',
      requestsPerMinute: 0,
      trustedProxies: []
    }
  }
)
const { app, call, stores, setNow } = service
const database = new Database({ databaseUrl: service.databaseUrl, applicationName: 'api-keys-test', role: 'login' })
t.teardown(() => database.close())

const customerId = await customer('a')

async function customer(name: string): Promise<string> {
  const body = { kind: 'sme', legalName: name, country: 'SN', currency: 'XOF', timeZone: 'Africa/Dakar', taxId: '1' }
  const answer = await call('POST /v1/customers', body)
  if (answer.status !== 201) throw new Error(answer.text)
  return answer.body.id
}

async function admin(role = 'admin'): Promise<{ authorization: string }> {
  const token = await tokenOf({ claims: { tokenmeter_role: role, customer_id: customerId } })
  return { authorization: `Bearer ${token}` }
}

async function statusWith(secret: string, url = '/v1/api-keys'): Promise<number> {
  return (await app.inject({ url, headers: { 'x-api-key': secret } })).statusCode
}

t.test('a key opens what its scopes open, and its secret is told once and kept nowhere', async (t) => {
  const made = await call('POST /v1/api-keys', { name: 'ops', scopes: ['api-keys:write'] })
  t.match(made, { status: 201, headers: { etag: '"1"' }, body: { customerId: null, name: 'ops', lastUsedAt: null } })
  const { id, secret } = made.body
  t.equal(await statusWith(secret), 200)
  t.equal(await statusWith(secret, '/v1/customers'), 403)
  const listed = await call('GET /v1/api-keys')
  t.match(listed.body.data[0], { id, lastUsedAt: new Date(NOW).toISOString(), version: 1 })
  t.notMatch(listed.text, secret)
  const dump = await database.query<{ row: string }>('dump', {
    text: `select t::text as row from api_key t union all select t::text from audit_event t union all select t::text from idempotency_record t`
  })
  t.ok(dump.some(({ row }) => row.includes(id)))
  t.notOk(dump.some(({ row }) => row.includes(secret)))
})

t.test('a repeat with its Idempotency-Key makes no second key, and tells no secret', async (t) => {
  const body = { name: 'repeated', scopes: ['usage:read'] }
  const headers = { 'idempotency-key': 'key-1' }
  const first = await call('POST /v1/api-keys', body, headers)
  const again = await call('POST /v1/api-keys', body, headers)
  t.match(first, { status: 201, body: { secret: String } })
  t.same(again.body, { ...first.body, secret: null })
  t.match(again, { status: 201, headers: { 'idempotent-replayed': 'true', etag: '"1"' } })
  const other = await call('POST /v1/api-keys', { ...body, name: 'other' }, headers)
  t.match(other, { status: 422, body: { code: 'idempotency-key-reused' } })
  const names = (await call('GET /v1/api-keys?limit=200')).body.data.map(({ name }: { name: string }) => name)
  t.equal(names.filter((name: string) => name === 'repeated').length, 1)
  t.notOk(names.includes('other'))
  const byOther = await app.inject({
    method: 'POST',
    url: '/v1/api-keys',
    headers: { ...headers, ...(await admin()) },
    payload: body
  })
  t.match([byOther.statusCode, byOther.headers['idempotent-replayed']], [201, undefined], 'keys are of their caller')
})

t.test('of many requests at once with one Idempotency-Key one has an effect, and none a second answer', async (t) => {
  const body = { name: 'raced', scopes: ['usage:read'] }
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => call('POST /v1/api-keys', body, { 'idempotency-key': 'key-2' }))
  )
  const made = answers.filter(({ status, body }) => status === 201 && body.secret !== null)
  t.equal(made.length, 1)
  for (const { status, body, headers } of answers.filter((answer) => !made.includes(answer))) {
    if (status === 409) t.match([body.code, headers['retry-after']], ['idempotency-in-flight', '1'])
    else t.match([status, headers['idempotent-replayed']], [201, 'true'])
  }
  const { rows } = await stores.apiKeyStore.list(PLATFORM, { customerId: null, limit: 200, cursor: '' })
  t.equal(rows.filter(({ name }) => name === 'raced').length, 1)
})

t.test('a refused request is not remembered, and a key that can not be one is refused', async (t) => {
  const headers = { 'idempotency-key': 'key-3' }
  const body = { name: 'refused', scopes: ['usage:read'], customerId: 'nobody' }
  t.match(await call('POST /v1/api-keys', body, headers), { status: 404, body: { code: 'unknown-customer' } })
  t.equal((await call('POST /v1/api-keys', { ...body, customerId }, headers)).status, 201)
  for (const key of ['', 'x'.repeat(256), 'é']) {
    const refused = await call('POST /v1/api-keys', body, { 'idempotency-key': key })
    t.match(refused, { status: 400, body: { errors: [{ field: 'headers.idempotency-key' }] } })
  }
})

t.test('two keys live while one replaces the other, and each is audited', async (t) => {
  const { id, secret } = (await call('POST /v1/api-keys', { name: 'turned', scopes: ['api-keys:write'] })).body
  const rotated = await call(`POST /v1/api-keys/${id}/rotate`, { overlapSeconds: 60 }, { 'if-match': '"1"' })
  t.match(rotated, { status: 201, body: { name: 'turned', scopes: ['api-keys:write'] } })
  t.equal(await statusWith(secret), 200)
  t.equal(await statusWith(rotated.body.secret), 200)
  t.match(await call(`POST /v1/api-keys/${id}/rotate`, {}), { status: 409, body: { code: 'illegal-transition' } })
  setNow(NOW + 60_000)
  t.equal(await statusWith(secret), 401)
  t.equal(await statusWith(rotated.body.secret), 200)
  setNow(NOW)
  const actions = await database.query<{ action: string }>('read the trail', {
    text: `select action from audit_event where entity_id in ($1, $2) order by sequence`,
    values: [id, rotated.body.id]
  })
  t.same(
    actions.map(({ action }) => action),
    ['api-key.created', 'api-key.rotated', 'api-key.created']
  )
})

t.test('a revoked key opens nothing once the cache has forgotten it, and stays revoked', async (t) => {
  const { id, secret } = (await call('POST /v1/api-keys', { name: 'gone', scopes: ['api-keys:write'] })).body
  t.equal(await statusWith(secret), 200)
  t.match(await call(`POST /v1/api-keys/${id}/revoke`, undefined, { 'if-match': '"7"' }), { status: 412 })
  t.match(await call(`POST /v1/api-keys/${id}/revoke`), { status: 200, body: { version: 2, revokedAt: String } })
  setNow(NOW + CACHE_MS)
  t.equal(await statusWith(secret), 401)
  setNow(NOW)
  t.match(await call(`POST /v1/api-keys/${id}/revoke`), { status: 409, body: { code: 'illegal-transition' } })
  t.match(await call('POST /v1/api-keys/nothing/revoke'), { status: 404, body: { code: 'no-such-api-key' } })
  t.match(await call('POST /v1/api-keys/no%00text/revoke'), { status: 400, body: { code: 'validation-failed' } })
})

t.test("a customer's administrator makes keys of the own customer alone, with what the role opens whole", async (t) => {
  const inject = async (payload: object, headers: Record<string, string>) =>
    app.inject({ method: 'POST', url: '/v1/api-keys', headers, payload })
  const made = await inject({ name: 'mine', scopes: ['usage:read'] }, await admin())
  t.match([made.statusCode, made.json().customerId], [201, customerId])
  const key = { 'x-api-key': made.json().secret }
  t.equal((await inject({ name: 'x', scopes: ['usage:read'] }, key)).statusCode, 403)
  const foreign = await inject({ name: 'x', scopes: ['usage:read'], customerId: await customer('b') }, await admin())
  t.match([foreign.statusCode, foreign.json().code], [404, 'unknown-customer'])
  for (const scope of ['usage:write', 'plans:write', 'subscriptions:write']) {
    const refused = await inject({ name: 'x', scopes: ['usage:read', scope] }, await admin())
    t.match([refused.statusCode, refused.json().code], [403, 'access-denied'], scope)
  }
  t.equal((await inject({ name: 'x', scopes: ['subscriptions:write'] }, await admin('owner'))).statusCode, 201)
  const seen = await app.inject({ url: '/v1/api-keys', headers: await admin() })
  t.ok(seen.json().data.length > 0)
  for (const { customerId: whose } of seen.json().data) t.equal(whose, customerId)
})

t.test('a key with less than its maker wants to give can neither make nor rotate it', async (t) => {
  const { secret } = (await call('POST /v1/api-keys', { name: 'maker', scopes: ['api-keys:write', 'usage:read'] })).body
  const strong = (await call('POST /v1/api-keys', { name: 'strong', scopes: ['customers:write'] })).body
  const headers = { 'x-api-key': secret }
  t.equal((await call('POST /v1/api-keys', { name: 'x', scopes: ['usage:read'] }, headers)).status, 201)
  t.equal((await call('POST /v1/api-keys', { name: 'x', scopes: ['customers:write'] }, headers)).status, 403)
  t.equal((await call(`POST /v1/api-keys/${strong.id}/rotate`, {}, headers)).status, 403)
})

t.test('a token of a disabled user is refused once the cache has forgotten the user', async (t) => {
  const user = (await call(`POST /v1/customers/${customerId}/users`, { email: 'ada@example.test', role: 'viewer' }))
    .body
  const claims = { sub: user.id, tokenmeter_role: 'admin', customer_id: customerId }
  const headers = { authorization: `Bearer ${await tokenOf({ claims })}` }
  const status = async () => (await app.inject({ url: '/v1/api-keys', headers })).statusCode
  t.equal(await status(), 200)
  t.equal((await call(`POST /v1/customers/${customerId}/users/${user.id}/disable`)).status, 200)
  setNow(NOW + CACHE_MS)
  t.equal(await status(), 401)
  setNow(NOW)
})

t.test('a key without a future, a scope or a known field is not made', async (t) => {
  const expiresAt = new Date(NOW).toISOString()
  const scopes = ['usage:read']
  for (const body of [
    { name: 'x', scopes, expiresAt },
    { name: 'x', scopes: [] },
    { name: 'x', scopes: ['everything'] },
    { name: '', scopes },
    { name: 'no\0text', scopes },
    { name: 'half \ud800', scopes },
    { name: 'x', scopes, expiresAt: '2026-12-31T23:59:60Z' },
    { name: 'x', scopes, secret: 'mine' }
  ]) {
    t.match(await call('POST /v1/api-keys', body), { status: 400, body: { code: 'validation-failed' } })
  }
})
