import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { PostgresEffectiveLimits } from '../../sql/subscriptions/effective-limits.ts'
import { ledgerOf } from '../../test/counted-events.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addKey } from '../../test/plans-and-customers.ts'
import { NOW, startTestApp } from '../ports-in-memory.ts'

const service = await startCustomerService(t)
const { call, setNow, stores, inForce } = service
const use = ledgerOf(t, service.databaseUrl)
t.beforeEach(() => setNow(NOW))

const MONTH: Limit = {
  id: 'month',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 1_000,
  mode: 'hard',
  whenUnknown: 'deny'
}
const TOKENS = { tokens: 500, source: 'purchase' }

/** The address of its grants. */
async function customerWith(limits: readonly Limit[] = [MONTH], content: Parameters<typeof addCustomer>[1] = {}) {
  const { id } = await addCustomer(service, content)
  if (limits.length > 0) await call(`PUT /v1/customers/${id}/limits`, { timeZone: 'Europe/Paris', limits })
  return { id, path: `/v1/customers/${id}/grants` as const }
}

const raisedTo = (customerId: string) => inForce.get(customerId)?.limits.find(({ id }) => id === 'month')?.max

t.test('a grant is told whole, with what was left out, and read back the same', async (t) => {
  const { id: customerId, path } = await customerWith()
  setNow(NOW + 400_000)
  const { status, headers, body } = await call(`POST ${path}`, TOKENS)
  t.equal(status, 201)
  const at = new Date(NOW + 400_000).toISOString()
  t.strictSame(body, {
    id: body.id,
    customerId,
    tokens: 500,
    money: null,
    priority: 100,
    source: 'purchase',
    effectiveAt: new Date(NOW).toISOString(),
    expiresAt: null,
    limitId: null,
    raises: 'month',
    revokedAt: null,
    version: 1,
    createdAt: at,
    updatedAt: at
  })
  t.match(headers, { etag: '"1"', location: `${path}/${body.id}` })
  t.equal(raisedTo(customerId), 1_500, 'and is in force')
  const read = await call(`GET ${path}/${body.id}`)
  t.strictSame([read.status, read.headers.etag, read.body], [200, '"1"', body])
})

t.test('money and tokens that raise nothing yet are kept, and say so', async (t) => {
  const { path } = await customerWith([])
  const money = { amountMinor: '900719925474099', currency: 'EUR' }
  const given = await call(`POST ${path}`, { money, source: 'adjustment', priority: 0 })
  t.match(given, { status: 201, body: { tokens: null, money, raises: null, priority: 0 } })
  const waits = await call(`POST ${path}`, { tokens: Number.MAX_SAFE_INTEGER, source: 'promotion' })
  t.match(waits, { status: 201, body: { tokens: Number.MAX_SAFE_INTEGER, money: null, raises: null } })
  const listed = await call(`GET ${path}`)
  t.strictSame(listed.body, { data: [given.body, waits.body], nextCursor: null, hasMore: false })
})

t.test('a list is paged in the order of creation, of one customer', async (t) => {
  const { path } = await customerWith()
  const other = await customerWith()
  await call(`POST ${other.path}`, TOKENS)
  const ids: string[] = []
  for (let i = 0; i < 3; i += 1) ids.push((await call(`POST ${path}`, TOKENS)).body.id)
  const first = (await call(`GET ${path}?limit=2`)).body
  const second = (await call(`GET ${path}?limit=2&cursor=${first.nextCursor}`)).body
  t.strictSame(
    [...first.data, ...second.data].map(({ id }) => id),
    ids
  )
  t.strictSame([first.hasMore, second.hasMore, second.nextCursor], [true, false, null])
  t.match(await call(`GET ${path}?cursor=x`), { status: 400, body: { errors: [{ field: 'query.cursor' }] } })
})

t.test('a grant with faults is refused, each fault with its field, and nothing is kept', async (t) => {
  const rolling = { ...MONTH, id: 'rolling', window: { kind: 'rolling', hours: 24 } } as const
  const { path } = await customerWith([MONTH, rolling])
  const euros = { amountMinor: '4900', currency: 'EUR' }
  const cases: readonly [object, string][] = [
    [{ source: 'purchase' }, 'tokens'],
    [{ ...TOKENS, money: euros }, 'tokens'],
    [{ ...TOKENS, tokens: 0 }, 'tokens'],
    [{ ...TOKENS, tokens: 1.5 }, 'tokens'],
    [{ ...TOKENS, tokens: 2 ** 53 }, 'tokens'],
    [{ ...TOKENS, source: 'gift' }, 'source'],
    [{ ...TOKENS, priority: -1 }, 'priority'],
    [{ ...TOKENS, note: '' }, 'note'],
    [{ source: 'purchase', money: { ...euros, amountMinor: 4_900 } }, 'money.amountMinor'],
    [{ source: 'purchase', money: { ...euros, amountMinor: '0' } }, 'money.amountMinor'],
    [{ source: 'purchase', money: { ...euros, currency: 'XOF' } }, 'money.currency'],
    [{ source: 'purchase', money: euros, limitId: 'month' }, 'limitId'],
    [{ ...TOKENS, limitId: 'gone' }, 'limitId'],
    [{ ...TOKENS, limitId: 'rolling' }, 'limitId'],
    [{ ...TOKENS, effectiveAt: 'today' }, 'effectiveAt'],
    [{ ...TOKENS, effectiveAt: '2026-03-12T09:31:00Z' }, 'effectiveAt'],
    [{ ...TOKENS, effectiveAt: '2026-03-12T09:15:00Z' }, 'effectiveAt'],
    [{ ...TOKENS, expiresAt: '2026-03-12T09:30:00Z' }, 'expiresAt'],
    [{ ...TOKENS, expiresAt: '2026-03-12T09:46:00Z' }, 'expiresAt'],
    [{ ...TOKENS, effectiveAt: '2026-03-13T00:00:00Z', expiresAt: '2026-03-12T23:00:00Z' }, 'expiresAt']
  ]
  for (const [body, field] of cases) {
    const refused = await call(`POST ${path}`, body)
    t.match(refused, { status: 400, body: { code: 'validation-failed' } })
    t.same(
      refused.body.errors.map((fault: { field: string }) => fault.field),
      [field],
      JSON.stringify(body)
    )
  }
  t.same((await call(`GET ${path}`)).body.data, [])
})

t.test('a repeat under one Idempotency-Key gives nothing more', async (t) => {
  const { id, path } = await customerWith()
  const key = { 'idempotency-key': 'top-up-1' }
  const answers = await Promise.all(Array.from({ length: 6 }, () => call(`POST ${path}`, TOKENS, key)))
  const first = answers.find(({ status }) => status === 201)
  t.ok(answers.every(({ status }) => status === 201 || status === 409))
  const again = await call(`POST ${path}`, TOKENS, key)
  t.strictSame([again.status, again.text, again.headers.location], [201, first?.text, first?.headers.location])
  t.equal((await call(`GET ${path}`)).body.data.length, 1)
  t.equal(raisedTo(id), 1_500)
})

t.test('a grant is taken back once, over the version that was read', async (t) => {
  const { id, path } = await customerWith()
  const { body } = await call(`POST ${path}`, TOKENS)
  const revoke = `POST ${path}/${body.id}/revoke` as const
  t.match(await call(revoke, undefined, { 'if-match': '"9"' }), { status: 412, body: { code: 'version-mismatch' } })
  setNow(NOW + 3_700_000)
  const racing = await Promise.all(Array.from({ length: 5 }, () => call(revoke, undefined, { 'if-match': '"1"' })))
  t.same(racing.map(({ status }) => status === 200).filter(Boolean).length, 1)
  const read = await call(`GET ${path}/${body.id}`)
  t.match(read, { headers: { etag: '"2"' }, body: { revokedAt: '2026-03-12T10:30:00.000Z', version: 2 } })
  t.equal(raisedTo(id), 1_000)
  t.match(await call(revoke), { status: 409, body: { code: 'illegal-transition' } })

  const expired = await call(`POST ${path}`, { ...TOKENS, expiresAt: '2026-03-12T11:00:00Z' })
  setNow(NOW + 7_200_000)
  const late = await call(`POST ${path}/${expired.body.id}/revoke`)
  t.match(late, { status: 409, body: { code: 'illegal-transition' } })
})

t.test('what was not known, is closed, or is of another customer is refused', async (t) => {
  const { path } = await customerWith()
  const other = await customerWith()
  const { body } = await call(`POST ${other.path}`, TOKENS)
  t.match(await call('POST /v1/customers/nobody/grants', TOKENS), { status: 404, body: { code: 'unknown-customer' } })
  t.match(await call('GET /v1/customers/nobody/grants'), { status: 404, body: { code: 'unknown-customer' } })
  t.match(await call(`GET ${path}/${body.id}`), { status: 404, body: { code: 'unknown-grant' } })
  t.match(await call(`GET ${path}/no%00text`), { status: 400, body: { code: 'validation-failed' } })
  t.match(await call(`POST ${path}/${body.id}/revoke`), { status: 404, body: { code: 'unknown-grant' } })
  const closed = await customerWith([], { status: 'closed' })
  t.match(await call(`POST ${closed.path}`, TOKENS), { status: 409, body: { code: 'customer-not-active' } })
  const suspended = await customerWith([], { status: 'suspended' })
  t.equal((await call(`POST ${suspended.path}`, TOKENS)).status, 201, 'one who is to pay first may')
})

t.test("a customer's own credential reads its grants and gives itself none", async (t) => {
  const { id, path } = await customerWith()
  const { body } = await call(`POST ${path}`, TOKENS)
  const key = await addKey(service, id)
  t.strictSame((await call(`GET ${path}`, undefined, key)).body.data, [body])
  t.strictSame((await call(`GET ${path}/${body.id}`, undefined, key)).body, body)
  t.match(await call(`POST ${path}`, TOKENS, key), { status: 403, body: { code: 'access-denied' } })
  t.equal((await call(`POST ${path}/${body.id}/revoke`, undefined, key)).status, 403)
  const other = await customerWith()
  t.equal((await call(`GET ${other.path}`, undefined, key)).status, 404)
})

t.test('each step stands in the trail', async (t) => {
  const { id, path } = await customerWith()
  const { body } = await call(`POST ${path}`, TOKENS)
  await call(`POST ${path}/${body.id}/revoke`)
  const { data } = (await call(`GET /v1/audit-events?customerId=${id}&entityKind=grant`)).body
  t.same(data.map(({ action, entity }: { action: string; entity: { id: string } }) => [action, entity.id]).sort(), [
    ['grant.given', body.id],
    ['grant.revoked', body.id]
  ])
})

t.test('a meter that is away keeps no grant from being given', async (t) => {
  const away = new RetryableError('meter-unavailable', 'Redis is away')
  const others = { ...stores, now: service.now, limitRefresh: { refresh: () => Promise.reject(away) } }
  const without = await startTestApp({}, others)
  t.teardown(() => without.app.close())
  const { id, path } = await customerWith()
  const given = await without.call(`POST ${path}`, TOKENS)
  t.equal(given.status, 201)
  t.strictSame((await call(`GET ${path}/${given.body.id}`)).body, given.body)
  t.ok((await stores.limitStore.takeDue(NOW, 1_000)).includes(id), 'its limits wait for the renewal')
})

t.test('the balance says what is left of which grant, until when', async (t) => {
  const { id, path } = await customerWith()
  const balance = `GET /v1/customers/${id}/balance` as const
  t.strictSame((await call(balance)).body.grants, [])
  const soon = (await call(`POST ${path}`, { ...TOKENS, expiresAt: '2026-03-20T00:00:00Z' })).body
  const later = (await call(`POST ${path}`, { ...TOKENS, effectiveAt: '2026-04-01T00:00:00Z', priority: 7 })).body
  await call(`POST ${path}`, { money: { amountMinor: '1', currency: 'EUR' }, source: 'purchase' })
  await use({ customerId: id, at: NOW, tokens: 1_120 })
  setNow(NOW + 60_000)
  const grants = [
    {
      id: soon.id,
      limitId: 'month',
      tokens: 500,
      burnt: 120,
      remaining: 380,
      effectiveAt: soon.effectiveAt,
      expiresAt: '2026-03-20T00:00:00.000Z',
      priority: 100
    },
    {
      id: later.id,
      limitId: 'month',
      tokens: 500,
      burnt: 0,
      remaining: 500,
      effectiveAt: '2026-04-01T00:00:00.000Z',
      expiresAt: null,
      priority: 7
    }
  ]
  t.strictSame((await call(balance)).body.grants, grants)
  setNow(NOW + 3_600_000)
  await call(`POST ${path}/${soon.id}/revoke`)
  const [revoked] = (await call(balance)).body.grants
  t.match(revoked, { burnt: 120, remaining: 0, expiresAt: '2026-03-12T10:30:00.000Z' })
})

t.test('the balance is told without grants while Postgres is away', async (t) => {
  const database = new EntityDatabase({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none', applicationName: 'away' })
  t.teardown(() => database.close())
  const { app, call: ask } = await startTestApp({}, { effectiveLimits: new PostgresEffectiveLimits(database) })
  t.teardown(() => app.close())
  t.match(await ask('GET /v1/customers/clinic-42/balance'), { status: 200, body: { limits: [{}], grants: null } })
})
