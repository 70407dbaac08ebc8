import t from 'tap'
import { startCustomerService } from '../../test/customer-service.ts'
import { addPlan } from '../../test/plans-and-customers.ts'
import { NOW } from '../ports-in-memory.ts'

const service = await startCustomerService(t)
const { call, stores, inForce } = service

const SME = {
  kind: 'sme',
  legalName: 'Clinique Amina SARL',
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  taxId: '0058291 2G3'
}
const EVERYBODY = { status: null, kind: null, externalId: null, search: null, limit: 200, cursor: '' } as const

t.test('a customer is taken on, read, changed and listed', async (t) => {
  const made = await call('POST /v1/customers', { ...SME, externalId: 'crm-7', metadata: { b: 1, a: [null] } })
  t.match(made, { status: 201, headers: { etag: '"1"', location: `/v1/customers/${made.body.id}` } })
  t.match(made.body, { ...SME, status: 'active', paymentTermsDays: 0, createdAt: new Date(NOW).toISOString() })
  const url = `/v1/customers/${made.body.id}`
  const read = await call(`GET ${url}`)
  t.match(read, { status: 200, headers: { etag: '"1"' } })
  t.same(read.body, made.body)
  const changed = await call(`PATCH ${url}`, { legalName: 'Clinique', metadata: {} }, { 'if-match': '"1"' })
  t.match(changed, { status: 200, headers: { etag: '"2"' }, body: { legalName: 'Clinique', metadata: {}, version: 2 } })
  t.same((await call(`GET ${url}`)).body, changed.body)
  const listed = await call('GET /v1/customers?externalId=crm-7&kind=sme&status=active&search=clini')
  t.same(listed.body, { data: [changed.body], nextCursor: null, hasMore: false })
  t.match(await call('POST /v1/customers', { ...SME, externalId: 'crm-7' }), {
    status: 409,
    body: { code: 'external-id-taken' }
  })
})

t.test('a body with faults names every field', async (t) => {
  const { status, body } = await call('POST /v1/customers', {
    ...SME,
    taxId: null,
    country: 'XX',
    version: 2,
    contacts: [{}]
  })
  t.equal(status, 400)
  t.same(body.errors.map(({ field }: { field: string }) => field).sort(), [
    'contacts[0].email',
    'contacts[0].name',
    'contacts[0].purpose',
    'country',
    'taxId',
    'version'
  ])
  for (const other of ['[]', 'null', '7', '"x"', '{}']) {
    t.match(await call('POST /v1/customers', other), { status: 400, body: { code: 'validation-failed' } }, other)
  }
  t.match(await call('POST /v1/customers', '{"kind":"sme","metadata":{"__proto__":1}}'), {
    status: 400,
    body: { code: 'malformed-json' }
  })
  for (const query of ['limit=0', 'limit=201', 'status=gone', 'cursor=x', 'cursor=WzdD', 'search=%00', 'colour=red']) {
    t.match(await call(`GET /v1/customers?${query}`), { status: 400, body: { code: 'validation-failed' } }, query)
  }
})

t.test('a change says over which version, and only that one is changed', async (t) => {
  const { body } = await call('POST /v1/customers', SME)
  const url = `/v1/customers/${body.id}`
  t.match(await call(`PATCH ${url}`, { locale: 'fr' }), { status: 428, body: { code: 'precondition-required' } })
  for (const etag of ['"2"', '"0"', '1', 'W/"1"']) {
    t.match(
      await call(`PATCH ${url}`, { locale: 'fr' }, { 'if-match': etag }),
      { status: 412, body: { code: 'version-mismatch' } },
      etag
    )
  }
  t.match(await call(`POST ${url}/suspend`, undefined, { 'if-match': '"2"' }), { status: 412 })
  t.match(await call(`PATCH ${url}`, { kind: 'institution' }, { 'if-match': '*' }), { status: 400 })
  t.match((await call(`GET ${url}`)).body, { version: 1, locale: 'en', status: 'active' })
})

t.test('of twenty changes over one version one is made, and the others are told', async (t) => {
  const { body } = await call('POST /v1/customers', SME)
  const url = `/v1/customers/${body.id}`
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => call(`PATCH ${url}`, { legalName: `Clinique ${i}` }, { 'if-match': '"1"' }))
  )
  t.same(answers.map(({ status }) => status).sort(), [200, ...Array.from({ length: 19 }, () => 412)])
  t.same((await call(`GET ${url}`)).body, answers.find(({ status }) => status === 200)?.body)
})

t.test('fifty requests with one Idempotency-Key make one customer, and get one answer', async (t) => {
  const body = { ...SME, legalName: 'Once Ltd' }
  const headers = { 'idempotency-key': 'once' }
  const answers = await Promise.all(Array.from({ length: 50 }, () => call('POST /v1/customers', body, headers)))
  const first = answers.find(({ status, headers }) => status === 201 && headers['idempotent-replayed'] === undefined)
  for (const { status, text, body } of answers) {
    if (status === 201) t.equal(text, first?.text)
    else t.match({ status, body }, { status: 409, body: { code: 'idempotency-in-flight' } })
  }
  const repeat = await call('POST /v1/customers', body, headers)
  t.match(repeat, {
    status: 201,
    headers: { etag: '"1"', location: first?.headers.location, 'idempotent-replayed': 'true' }
  })
  t.equal(repeat.text, first?.text)
  const { rows } = await stores.customerStore.list({ kind: 'platform' }, { ...EVERYBODY, search: 'once' })
  t.equal(rows.length, 1)
  t.match(await call('POST /v1/customers', { ...body, locale: 'fr' }, headers), {
    status: 422,
    body: { code: 'idempotency-key-reused' }
  })
})

t.test('a customer is suspended, reactivated and closed for ever', async (t) => {
  const { body } = await call('POST /v1/customers', SME)
  const url = `/v1/customers/${body.id}`
  const refused = { status: 409, body: { code: 'illegal-transition' } }
  t.match(await call(`POST ${url}/reactivate`), refused)
  const suspended = await call(`POST ${url}/suspend`, undefined, { 'idempotency-key': body.id })
  t.match(suspended, { status: 200, headers: { etag: '"2"' }, body: { status: 'suspended', version: 2 } })
  t.match(await call(`POST ${url}/suspend`), refused)
  const again = await call(`POST ${url}/suspend`, undefined, { 'idempotency-key': body.id })
  t.match(again, { status: 200, text: suspended.text }, 'a repeat is no second transition')
  t.match(await call(`POST ${url}/reactivate`), { status: 200, body: { status: 'active', version: 3 } })
  t.match(await call(`POST ${url}/close`, undefined, { 'if-match': '"3"' }), {
    status: 200,
    body: { status: 'closed' }
  })
  for (const step of ['suspend', 'reactivate', 'close']) t.match(await call(`POST ${url}/${step}`), refused)
  t.match(await call('POST /v1/customers/nobody/close'), { status: 404, body: { code: 'unknown-customer' } })
})

t.test('a currency changes until something is subscribed to, and then stays', async (t) => {
  const { body } = await call('POST /v1/customers', SME)
  const url = `/v1/customers/${body.id}`
  t.match(await call(`PATCH ${url}`, { currency: 'EUR' }, { 'if-match': '*' }), {
    status: 200,
    body: { currency: 'EUR' }
  })
  const plan = await addPlan(service)
  t.equal((await call('POST /v1/subscriptions', { customerId: body.id, planId: plan.id })).status, 201)
  t.match(await call(`PATCH ${url}`, { currency: 'XOF' }, { 'if-match': '*' }), {
    status: 409,
    body: { code: 'currency-in-use' }
  })
  t.match(await call(`PATCH ${url}`, { locale: 'fr' }, { 'if-match': '*' }), { status: 200, body: { currency: 'EUR' } })
})

t.test('a customer is closed once its subscription is over, and not before', async (t) => {
  const { body } = await call('POST /v1/customers', { ...SME, currency: 'EUR' })
  const plan = await addPlan(service)
  const subscription = await call('POST /v1/subscriptions', { customerId: body.id, planId: plan.id })
  const close = () => call(`POST /v1/customers/${body.id}/close`)
  t.match(await close(), { status: 409, body: { code: 'illegal-transition', detail: /cancel it first/ } })
  await call(`POST /v1/subscriptions/${subscription.body.id}/cancel`, { when: 'now' })
  t.match(await close(), { status: 200, body: { status: 'closed' } })
})

t.test('suspension and a new zone are in force with the limits as soon as they are answered', async (t) => {
  const { body } = await call('POST /v1/customers', SME)
  const url = `/v1/customers/${body.id}`
  t.equal(inForce.get(body.id), undefined)
  await call(`POST ${url}/suspend`)
  t.match(inForce.get(body.id)?.limits, [{ id: 'customer-suspended', max: 0, mode: 'hard', whenUnknown: 'deny' }])
  await call(`POST ${url}/reactivate`)
  t.match(inForce.get(body.id)?.limits, [{ id: 'no-subscription' }])
  const version = inForce.get(body.id)?.version
  await call(`PATCH ${url}`, { locale: 'fr' }, { 'if-match': '*' })
  t.equal(inForce.get(body.id)?.version, version, 'what has no bearing on limits leaves them')
  await call(`PATCH ${url}`, { timeZone: 'Europe/Paris' }, { 'if-match': '*' })
  t.not(inForce.get(body.id)?.version, version)
})

t.test('pages miss nobody and repeat nobody while others are taken on', async (t) => {
  const before = new Set<string>()
  const takeOn = async (i: number) => (await call('POST /v1/customers', { ...SME, legalName: `Paged ${i}` })).body.id
  for (let i = 0; i < 120; i += 1) before.add(await takeOn(i))
  const seen: string[] = []
  let cursor = ''
  for (let i = 0; ; i += 1) {
    const { body } = await call(`GET /v1/customers?search=paged&limit=50&cursor=${cursor}`)
    seen.push(...body.data.map(({ id }: { id: string }) => id))
    t.equal(body.hasMore, body.nextCursor !== null)
    if (body.nextCursor === null) break
    cursor = body.nextCursor
    await takeOn(1_000 + i)
  }
  t.equal(new Set(seen).size, seen.length, 'nobody twice')
  t.same([...before.difference(new Set(seen))], [], 'nobody missed')
  t.same(seen, seen.toSorted())
})

t.test('a customer’s credential reads its own customer and no other, and changes none', async (t) => {
  const { body: own } = await call('POST /v1/customers', SME)
  const { body: foreign } = await call('POST /v1/customers', SME)
  const scopes = ['customers:read', 'customers:write']
  const key = await call('POST /v1/api-keys', { customerId: own.id, name: 'own', scopes })
  const headers = { 'x-api-key': key.body.secret }
  t.match(await call(`GET /v1/customers/${own.id}`, undefined, headers), { status: 200, body: { id: own.id } })
  t.match(await call(`GET /v1/customers/${foreign.id}`, undefined, headers), {
    status: 404,
    body: { code: 'unknown-customer' }
  })
  t.match(await call('GET /v1/customers', undefined, headers), { status: 403 })
  t.match(await call('POST /v1/customers', SME, headers), { status: 403 })
  t.match(await call(`POST /v1/customers/${own.id}/close`, undefined, headers), { status: 403 })
  t.match(await call(`PATCH /v1/customers/${own.id}`, { locale: 'fr' }, { ...headers, 'if-match': '"1"' }), {
    status: 403
  })
})
