import t from 'tap'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'

const service = await startCustomerService(t)
const { call } = service
const database = new Database({
  databaseUrl: service.databaseUrl,
  applicationName: 'plans-test',
  role: 'login'
})
t.teardown(() => database.close())

const PRICE = {
  pool: 'output',
  model: '*',
  chargeModel: 'per_unit',
  perTokens: 1_000_000,
  tiers: [{ upTo: null, amount: '15.25' }]
}
const LIMIT = {
  id: 'period-total',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'plan-period' },
  max: 1_000,
  mode: 'hard',
  whenUnknown: 'deny'
}
const CONTENT = { title: 'Clinic', currency: 'EUR', interval: 'month', baseFeeMinor: '4900' }
const TOLD_PRICE = { ...PRICE, includedTokens: 0, minimumMinor: '0', effectiveFrom: null }

function planOf(code: string, change: object = {}) {
  return { code, ...CONTENT, prices: [PRICE], limits: [LIMIT], ...change }
}

async function drafted(code: string, change: object = {}) {
  const { status, body, headers } = await call('POST /v1/plans', planOf(code, change))
  t.equal(status, 201)
  return { id: String(body.id), etag: String(headers.etag), body }
}

async function published(code: string, change: object = {}) {
  const { id } = await drafted(code, change)
  const { status, body } = await call(`POST /v1/plans/${id}/publish`)
  t.equal(status, 200)
  return { id, body }
}

function rowsOf(text: string, ...values: unknown[]): Promise<readonly Record<string, unknown>[]> {
  return database.query('look into the tables', { text, values })
}

async function trailOf(id: string): Promise<unknown[]> {
  const rows = await rowsOf('select customer_id, action from audit_event where entity_id = $1 order by sequence', id)
  return rows.map(({ customer_id, action }) => [customer_id, action])
}

t.test('a draft is told whole, with what was left out, and read back the same', async (t) => {
  const { status, headers, body } = await call('POST /v1/plans', planOf('told', { onlyFor: 'sme' }))
  t.equal(status, 201)
  t.equal(headers.etag, '"1"')
  const at = new Date(service.now()).toISOString()
  t.strictSame(body, {
    id: body.id,
    code: 'told',
    version: 1,
    status: 'draft',
    ...CONTENT,
    trialDays: 0,
    onlyFor: 'sme',
    prices: [TOLD_PRICE],
    limits: [LIMIT],
    createdAt: at,
    updatedAt: at,
    publishedAt: null
  })
  const read = await call(`GET /v1/plans/${body.id}`)
  t.strictSame([read.status, read.headers.etag, read.body], [200, '"1"', body])
  t.match(await call('GET /v1/plans/nobody'), { status: 404, body: { code: 'unknown-plan' } })
  t.match(await call('GET /v1/plans/no%00text'), { status: 400, body: { code: 'validation-failed' } })
})

t.test('a plan with faults is refused, each fault with its field', async (t) => {
  const cases: readonly [object, string][] = [
    [{ code: 'Clinic!' }, 'code'],
    [{ title: undefined }, 'title'],
    [{ currency: 'EURO' }, 'currency'],
    [{ interval: 'day' }, 'interval'],
    [{ baseFeeMinor: 4900 }, 'baseFeeMinor'],
    [{ baseFeeMinor: '-4900' }, 'baseFeeMinor'],
    [{ trialDays: 400 }, 'trialDays'],
    [{ onlyFor: 'banks' }, 'onlyFor'],
    [{ note: '' }, 'note'],
    [{ status: 'published' }, 'status'],
    [{ prices: [{ ...PRICE, pool: 'outputs' }] }, 'prices[0].pool'],
    [{ prices: [{ ...PRICE, model: 'a*b' }] }, 'prices[0].model'],
    [{ prices: [{ ...PRICE, tiers: [...PRICE.tiers, ...PRICE.tiers] }] }, 'prices[0].tiers'],
    [{ prices: [{ ...PRICE, tiers: [{ upTo: null, amount: 15.25 }] }] }, 'prices[0].tiers[0].amount'],
    [{ prices: [{ ...PRICE, tiers: [{ upTo: 10, amount: '1' }] }] }, 'prices[0].tiers[0].upTo'],
    [{ prices: [PRICE, PRICE] }, 'prices[1]'],
    [{ prices: [{ ...PRICE, effectiveFrom: '2026-03-01T00:01:00Z' }] }, 'prices[0].effectiveFrom'],
    [{ limits: [{ ...LIMIT, max: -1 }] }, 'limits[0].max'],
    [{ limits: [{ ...LIMIT, window: { kind: 'period', boundaries: [] } }] }, 'limits[0].window.kind'],
    [{ limits: [LIMIT, LIMIT] }, 'limits[1].id']
  ]
  for (const [change, field] of cases) {
    const { status, body } = await call('POST /v1/plans', planOf('faulty', change))
    t.match({ status, code: body.code }, { status: 400, code: 'validation-failed' })
    t.same(
      body.errors.map((fault: { field: string }) => fault.field),
      [field],
      JSON.stringify(change)
    )
  }
  for (const body of ['null', '7', '[]']) {
    t.match(await call('POST /v1/plans', body), { status: 400, body: { code: 'validation-failed' } }, body)
  }
  t.same((await call('GET /v1/plans?code=faulty')).body.data, [])
})

t.test('ten drafts of one code at once get the versions 1 to 10', async (t) => {
  const answers = await Promise.all(Array.from({ length: 10 }, () => call('POST /v1/plans', planOf('raced'))))
  t.same(
    answers.map(({ body }) => body.version).sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  )
})

t.test('a repeat under one Idempotency-Key drafts nothing more and is answered the same', async (t) => {
  const key = { 'idempotency-key': 'draft-1' }
  const first = await call('POST /v1/plans', planOf('repeated'), key)
  const again = await call('POST /v1/plans', planOf('repeated'), key)
  t.equal(first.status, 201)
  t.strictSame([again.status, again.body, again.headers.etag], [201, first.body, '"1"'])
  t.equal((await call('GET /v1/plans?code=repeated')).body.data.length, 1)
  const other = await call('POST /v1/plans', planOf('repeated', { title: 'Other' }), key)
  t.match(other, { status: 422, body: { code: 'idempotency-key-reused' } })

  const many = { 'idempotency-key': 'draft-2' }
  const racing = await Promise.all(Array.from({ length: 8 }, () => call('POST /v1/plans', planOf('repeated-2'), many)))
  t.ok(racing.every(({ status }) => status === 201 || status === 409))
  t.equal((await call('GET /v1/plans?code=repeated-2')).body.data.length, 1)
})

t.test('a draft is edited over the version that was read, and no other', async (t) => {
  const { id, etag } = await drafted('edited')
  service.setNow(service.now() + 1_000)
  const edit = { baseFeeMinor: '5900', limits: [] }
  t.match(await call(`PATCH /v1/plans/${id}`, edit), { status: 428, body: { code: 'precondition-required' } })
  const done = await call(`PATCH /v1/plans/${id}`, edit, { 'if-match': etag })
  t.match(done, { status: 200, headers: { etag: '"2"' } })
  t.match(done.body, { ...edit, title: 'Clinic', version: 1, updatedAt: new Date(service.now()).toISOString() })
  t.strictSame(done.body.prices, [TOLD_PRICE], 'what is left out stays')
  t.strictSame((await call(`GET /v1/plans/${id}`)).body, done.body)
  const late = await call(`PATCH /v1/plans/${id}`, { title: 'Late' }, { 'if-match': etag })
  t.match(late, { status: 412, body: { code: 'version-mismatch' } })

  const racing = await Promise.all(
    Array.from({ length: 6 }, (_, i) => call(`PATCH /v1/plans/${id}`, { title: `T${i}` }, { 'if-match': '"2"' }))
  )
  t.same(racing.map(({ status }) => status).sort(), [200, 412, 412, 412, 412, 412])
  t.same(await trailOf(id), [
    ['', 'plan.created'],
    ['', 'plan.updated'],
    ['', 'plan.updated']
  ])
})

t.test('an edit with faults is refused, each fault with its field, and changes nothing', async (t) => {
  const { id, body } = await drafted('mended')
  const cases: readonly [unknown, string][] = [
    [{ code: 'other' }, 'code'],
    [{ version: 9 }, 'version'],
    [{ baseFeeMinor: '1.5' }, 'baseFeeMinor'],
    [{ prices: [{ ...PRICE, pool: 'all' }] }, 'prices[0].pool'],
    [[], '']
  ]
  for (const [edit, field] of cases) {
    const refused = await call(`PATCH /v1/plans/${id}`, JSON.stringify(edit), { 'if-match': '*' })
    t.match(refused, { status: 400, body: { code: 'validation-failed', errors: [{ field }] } }, JSON.stringify(edit))
  }
  t.strictSame((await call(`GET /v1/plans/${id}`)).body, body)
})

t.test('publishing freezes a plan: no edit, no second publishing, no way back', async (t) => {
  const { id, etag } = await drafted('frozen')
  service.setNow(service.now() + 1_000)
  const stale = await call(`POST /v1/plans/${id}/publish`, undefined, { 'if-match': '"9"' })
  t.match(stale, { status: 412, body: { code: 'version-mismatch' } })
  const done = await call(`POST /v1/plans/${id}/publish`, undefined, { 'if-match': etag })
  t.match(done, { status: 200, headers: { etag: '"2"' } })
  t.match(done.body, { status: 'published', publishedAt: new Date(service.now()).toISOString() })
  const refused = [
    await call(`PATCH /v1/plans/${id}`, { title: 'New' }, { 'if-match': '"2"' }),
    await call(`POST /v1/plans/${id}/publish`)
  ]
  for (const answer of refused) t.match(answer, { status: 409, body: { code: 'illegal-transition' } })
  await t.rejects(rowsOf(`update plan_version set prices = '[]' where id = $1`, id), /never changes/)
  t.strictSame((await call(`GET /v1/plans/${id}`)).body, done.body)
  t.equal((await drafted('frozen')).body.version, 2, 'what is to change is a new version')
})

t.test('a plan is archived once it was published, and once', async (t) => {
  const { id } = await drafted('past')
  t.match(await call(`POST /v1/plans/${id}/archive`), { status: 409, body: { code: 'illegal-transition' } })
  await call(`POST /v1/plans/${id}/publish`)
  const key = { 'idempotency-key': 'archive-1' }
  const done = await call(`POST /v1/plans/${id}/archive`, undefined, key)
  t.match(done, { status: 200, body: { status: 'archived' } })
  const again = await call(`POST /v1/plans/${id}/archive`, undefined, key)
  t.strictSame([again.status, again.headers.etag, again.body], [200, '"3"', done.body], 'a repeat is answered the same')
  t.match(await call(`POST /v1/plans/${id}/archive`), { status: 409, body: { code: 'illegal-transition' } })
  t.same(await trailOf(id), [
    ['', 'plan.created'],
    ['', 'plan.published'],
    ['', 'plan.archived']
  ])
  t.same(await rowsOf('select id from outbox'), [], 'no other service is told of plans')
})

t.test('a draft that breaks a rule is not published, however it came into the table', async (t) => {
  const { id } = await drafted('smuggled')
  await rowsOf(`update plan_version set prices = prices || prices where id = $1`, id)
  const refused = await call(`POST /v1/plans/${id}/publish`)
  t.match(refused, { status: 400, body: { code: 'validation-failed', errors: [{ field: 'prices[1]' }] } })
  t.match((await call(`GET /v1/plans/${id}`)).body, { status: 'draft' })
})

t.test("a customer's key reads what is published for its kind, and writes nothing", async (t) => {
  await rowsOf(
    `insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, payment_terms_days,
                           contacts, metadata, version, created_at, updated_at)
     values ('shop', 'sme', 'active', 'Shop', 'SN', 'XOF', 'Africa/Dakar', 'fr', 't', 0, '[]', '{}', 1, now(), now())`
  )
  const scopes = ['plans:read', 'plans:write']
  const made = await call('POST /v1/api-keys', { customerId: 'shop', name: 'shop', scopes })
  t.equal(made.status, 201)
  const key = { 'x-api-key': String(made.body.secret) }
  const { id: draft } = await drafted('offer')
  const { id: open } = await published('offer')
  const { id: held } = await published('offer', { onlyFor: 'institution' })
  const seen = await call('GET /v1/plans?code=offer', undefined, key)
  t.same(
    seen.body.data.map(({ id }: { id: string }) => id),
    [open]
  )
  t.equal((await call(`GET /v1/plans/${open}`, undefined, key)).status, 200)
  for (const id of [draft, held]) {
    t.match(await call(`GET /v1/plans/${id}`, undefined, key), { status: 404, body: { code: 'unknown-plan' } })
  }
  const writes = [
    await call('POST /v1/plans', planOf('theirs'), key),
    await call(`PATCH /v1/plans/${draft}`, { title: 'x' }, { ...key, 'if-match': '*' }),
    await call(`POST /v1/plans/${draft}/publish`, undefined, key),
    await call(`POST /v1/plans/${open}/archive`, undefined, key)
  ]
  for (const { status, body } of writes) t.match({ status, code: body.code }, { status: 403, code: 'access-denied' })
})

t.test('plans are listed page by page, by code and by status', async (t) => {
  const ids = [await drafted('listed'), await published('listed'), await drafted('listed')].map(({ id }) => id)
  const first = await call('GET /v1/plans?code=listed&limit=2')
  t.match(first.body, { hasMore: true, data: [{ id: ids[0] }, { id: ids[1] }] })
  const second = await call(`GET /v1/plans?code=listed&limit=2&cursor=${first.body.nextCursor}`)
  t.match(second.body, { hasMore: false, nextCursor: null, data: [{ id: ids[2] }] })
  const { data } = (await call('GET /v1/plans?code=listed&status=published')).body
  t.same(
    data.map(({ id }: { id: string }) => id),
    [ids[1]]
  )
  for (const query of ['limit=0', 'limit=201', 'status=old', 'cursor=x', 'colour=red']) {
    t.match(await call(`GET /v1/plans?${query}`), { status: 400, body: { code: 'validation-failed' } }, query)
  }
})
