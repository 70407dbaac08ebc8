import t from 'tap'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'

const names = new Map<string, readonly string[]>()
const service = await startCustomerService(
  t,
  {},
  {
    webhookUrls: {
      allowPrivate: false,
      resolveHost: async (host) => {
        const addresses = names.get(host)
        if (addresses !== undefined) return addresses
        throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' })
      }
    }
  }
)
const { call } = service
names.set('hooks.example.com', ['198.41.0.4', '2001:500:9f::42'])
names.set('new.example.com', ['198.41.0.4'])

const URL_GIVEN = 'https://hooks.example.com/tokenmeter'

async function newCustomer(): Promise<string> {
  const { body } = await call('POST /v1/customers', {
    kind: 'sme',
    legalName: 'Clinic',
    country: 'FR',
    currency: 'EUR',
    timeZone: 'Europe/Paris',
    locale: 'fr',
    taxId: 'FR12345678901'
  })
  return body.id
}

const customerId = await newCustomer()

t.test('the secret is told to its maker once: no later answer, audit record or row of answers has it', async (t) => {
  const key = { 'idempotency-key': 'make-endpoint' }
  const made = await call('POST /v1/webhook-endpoints', { customerId, url: URL_GIVEN }, key)
  t.equal(made.status, 201)
  t.match(made.body, { customerId, url: URL_GIVEN, eventTypes: [], status: 'active', version: 1 })
  const { id, secret } = made.body
  t.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
  const rotated = await call(`POST /v1/webhook-endpoints/${id}/rotate-secret`, {}, { 'idempotency-key': 'rotate' })
  t.match(rotated, { status: 200, body: { id, version: 2 } })
  t.not(rotated.body.secret, secret)
  const repeats = [
    await call('POST /v1/webhook-endpoints', { customerId, url: URL_GIVEN }, key),
    await call(`POST /v1/webhook-endpoints/${id}/rotate-secret`, {}, { 'idempotency-key': 'rotate' })
  ]
  t.same(
    repeats.map(({ body }) => [body.id, body.secret]),
    [
      [id, null],
      [id, null]
    ]
  )
  const answers = [
    ...repeats,
    await call(`GET /v1/webhook-endpoints/${id}`),
    await call(`GET /v1/webhook-endpoints?customerId=${customerId}`),
    await call(`PATCH /v1/webhook-endpoints/${id}`, { description: 'a' }, { 'if-match': '*' }),
    await call(`GET /v1/webhook-endpoints/${id}/deliveries`),
    await call(`GET /v1/audit-events?customerId=${customerId}`)
  ]
  for (const { status, text } of answers) {
    t.ok(status < 300, text.slice(0, 200))
    for (const one of [secret, rotated.body.secret]) t.notOk(text.includes(one))
  }
  t.match(answers.at(-1)?.text, 'webhook-endpoint.secret-rotated')
  t.same(await placesOf([secret, rotated.body.secret]), ['webhook_endpoint'])
})

/** Tables in which one of the texts stands. */
async function placesOf(texts: readonly string[]): Promise<string[]> {
  const options = { databaseUrl: service.databaseUrl, applicationName: 'webhooks-test', role: 'login' } as const
  const database = new Database(options)
  const tables = await database.query<{ name: string }>('list tables', {
    text: `select table_name as name from information_schema.tables
            where table_schema = 'public' and table_type = 'BASE TABLE' order by 1`
  })
  const places: string[] = []
  for (const { name } of tables) {
    const [row] = await database.query<{ found: boolean }>('look for secrets', {
      text: `select exists (select from "${name}" as row where exists
               (select from unnest($1::text[]) as secret where position(secret in row::text) > 0)) as found`,
      values: [[...texts]]
    })
    if (row?.found === true) places.push(name)
  }
  await database.close()
  return places
}

t.test('a URL into the network is refused as it is registered and as it is changed', async (t) => {
  names.set('inside.example.com', ['10.0.0.1'])
  names.set('half.example.com', ['198.41.0.4', '127.0.0.1'])
  names.set('empty.example.com', [])
  const { body } = await call('POST /v1/webhook-endpoints', { customerId, url: URL_GIVEN })
  for (const url of [
    'http://hooks.example.com/',
    'https://127.0.0.1/',
    'https://[::ffff:169.254.169.254]/',
    'https://inside.example.com/',
    'https://half.example.com/',
    'https://empty.example.com/',
    'https://nowhere.example.com/',
    'https://user:pass@hooks.example.com/'
  ]) {
    const refusal = { status: 400, body: { code: 'validation-failed', errors: [{ field: 'url' }] } }
    t.match(await call('POST /v1/webhook-endpoints', { customerId, url }), refusal, url)
    t.match(await call(`PATCH /v1/webhook-endpoints/${body.id}`, { url }, { 'if-match': '*' }), refusal, url)
  }
  t.match(await call(`GET /v1/webhook-endpoints/${body.id}`), { body: { url: URL_GIVEN, version: 1 } })
})

t.test('a change says over which version it is made', async (t) => {
  const { body } = await call('POST /v1/webhook-endpoints', { customerId, url: URL_GIVEN })
  const patch = (change: object, headers = {}) => call(`PATCH /v1/webhook-endpoints/${body.id}`, change, headers)
  t.match(await patch({ status: 'disabled' }), { status: 428 })
  t.match(await patch({ status: 'disabled' }, { 'if-match': '"7"' }), { status: 412 })
  t.match(await patch({}, { 'if-match': '"1"' }), { status: 400 })
  t.match(await patch({ eventTypes: ['no.such'] }, { 'if-match': '"1"' }), { status: 400 })
  const change = { url: 'https://new.example.com/', eventTypes: ['customer.updated'], description: 'Ours' }
  t.match(await patch(change, { 'if-match': '"1"' }), { status: 200, headers: { etag: '"2"' }, body: change })
  t.match(await patch({ description: null, status: 'disabled' }, { 'if-match': '"2"' }), {
    body: { ...change, description: null, status: 'disabled', version: 3 }
  })
})

t.test('the platform names the customer; a customer has sixteen endpoints at most, however fast it asks', async (t) => {
  t.match(await call('POST /v1/webhook-endpoints', { url: URL_GIVEN }), { status: 400 })
  const unknown = await call('POST /v1/webhook-endpoints', { customerId: 'nobody', url: URL_GIVEN })
  t.match(unknown, { status: 404, body: { code: 'unknown-customer' } })
  const other = await newCustomer()
  const asked = Array.from({ length: 20 }, () =>
    call('POST /v1/webhook-endpoints', { customerId: other, url: URL_GIVEN })
  )
  const statuses = (await Promise.all(asked)).map(({ status }) => status).toSorted()
  t.same(statuses, [...Array.from({ length: 16 }, () => 201), 409, 409, 409, 409])
  const first = await call(`GET /v1/webhook-endpoints?customerId=${other}&limit=10`)
  const { nextCursor } = first.body
  const second = await call(`GET /v1/webhook-endpoints?customerId=${other}&limit=10&cursor=${nextCursor}`)
  t.same([first.body.data.length, second.body.data.length, second.body.hasMore], [10, 6, false])
})

t.test('the log follows by pages, the newest first, and by status', async (t) => {
  const id = await newCustomer()
  const { body: endpoint } = await call('POST /v1/webhook-endpoints', { customerId: id, url: URL_GIVEN })
  for (let i = 0; i < 3; i += 1) {
    await call(`POST /v1/customers/${id}/users`, { email: `u${i}@example.test`, role: 'viewer' })
  }
  const log = `GET /v1/webhook-endpoints/${endpoint.id}/deliveries` as const
  const first = await call(`${log}?limit=2&status=pending`)
  t.match(first.body, { data: [{ type: 'user.invited', status: 'pending', attempts: 0 }, {}], hasMore: true })
  const second = await call(`${log}?limit=2&cursor=${first.body.nextCursor}`)
  const ids = [...first.body.data, ...second.body.data].map(({ eventId }: { eventId: string }) => eventId)
  t.same(ids, ids.toSorted().toReversed())
  t.equal(new Set(ids).size, 3)
  t.same((await call(`${log}?status=failed`)).body.data, [])
  t.match(await call(`${log}?cursor=x`), { status: 400 })
  await call(`PATCH /v1/webhook-endpoints/${endpoint.id}`, { status: 'disabled' }, { 'if-match': '*' })
  const again = await call(`POST /v1/webhook-endpoints/${endpoint.id}/deliveries/${ids[0]}/redeliver`)
  t.match(again, { status: 409, body: { code: 'illegal-transition' } })
})
