import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import { NOW, startTestApp } from '../ports-in-memory.ts'

const LIMIT = {
  id: 'month-total',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 2_000_000,
  mode: 'hard',
  whenUnknown: 'deny'
}
const LIMITS = { timeZone: 'Africa/Dakar', limits: [LIMIT] }
const PUT = 'PUT /v1/customers/clinic-42/limits'

t.test('limits are stored, put in force and given back with their version as ETag', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  t.match(await call('GET /v1/customers/clinic-42/limits'), { status: 404, body: { code: 'unknown-customer' } })
  const created = await call(PUT, LIMITS)
  t.match(created, { status: 201, headers: { etag: '"1"' } })
  t.same(created.body, { customerId: 'clinic-42', version: 1, ...LIMITS })
  t.match(await call(PUT, LIMITS), { status: 200, headers: { etag: '"2"' } })
  const read = await call('GET /v1/customers/clinic-42/limits')
  t.match(read, { status: 200, headers: { etag: '"2"' }, body: { version: 2, limits: [LIMIT] } })
  t.match(told.compiled[1], { customerId: 'clinic-42', version: 2, limits: [{ id: 'month-total', max: 2_000_000 }] })
  t.match(told.renewals[1], ['clinic-42', 2, Number])
})

t.test('limits of every kind come back as they were put', async (t) => {
  const weights = { input: 3, cacheRead: 0, cacheWrite: 4, output: 15, reasoning: 15 }
  const limits = [
    { ...LIMIT, id: 'a', scope: { kind: 'user', userId: 'dr-é' }, window: { kind: 'rolling', hours: 24 } },
    {
      ...LIMIT,
      id: 'b',
      scope: { kind: 'each-model' },
      measure: { kind: 'pool', pool: 'reasoning' },
      window: { kind: 'hour' }
    },
    {
      ...LIMIT,
      id: 'c',
      scope: { kind: 'user-model', userId: 'u', model: 'm' },
      measure: { kind: 'cost', unit: 'EUR/1000000', weights: { '*': weights, m: weights } },
      window: { kind: 'period', boundaries: [0, 900_000] }
    }
  ]
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const { status, body } = await call(PUT, { timeZone: 'UTC', limits })
  t.equal(status, 201)
  t.same(body.limits, limits)
})

t.test('If-Match lets a change through only over the version it names', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  t.match(await call(PUT, LIMITS, { 'if-match': '*' }), { status: 412, body: { code: 'version-mismatch' } })
  await call(PUT, LIMITS)
  for (const etag of ['"2"', '"0"', '"9999999999"', 'W/"1"', '1', '"x"']) {
    t.equal((await call(PUT, LIMITS, { 'if-match': etag })).status, 412, etag)
  }
  t.equal(told.limits.get('clinic-42')?.version, 1)
  t.match(await call(PUT, LIMITS, { 'if-match': '"1"' }), { status: 200, headers: { etag: '"2"' } })
  t.match(await call(PUT, LIMITS, { 'if-match': '*' }), { status: 200, headers: { etag: '"3"' } })
})

t.test('a body with faults names every field and stores nothing', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const faulty = { timeZone: 'Mars/Base', version: 7, limits: [{ ...LIMIT, max: -1, scope: { kind: 'user' } }] }
  const { status, body } = await call(PUT, faulty)
  t.equal(status, 400)
  t.same(body.errors.map(({ field }: { field: string }) => field).sort(), [
    'limits[0].max',
    'limits[0].scope.userId',
    'timeZone',
    'version'
  ])
  for (const other of ['[]', 'null', '7', '"x"', '{}'])
    t.match(await call(PUT, other), { status: 400, body: { code: 'validation-failed' } }, other)
  t.equal(told.limits.size, 0)
})

t.test('limits that are stored while the meter is away stay due, and the answer says so', async (t) => {
  const { app, call, told } = await startTestApp({
    setLimits: () => {
      throw new RetryableError('meter-unavailable', 'Redis is away')
    }
  })
  t.teardown(() => app.close())
  t.match(await call(PUT, LIMITS), {
    status: 503,
    headers: { 'retry-after': '5', etag: '"1"' },
    body: { code: 'limits-pending', version: 1 }
  })
  t.equal(told.limits.get('clinic-42')?.version, 1)
  t.same(told.renewals, [])
})

t.test('windows are compiled for the present', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  await call(PUT, LIMITS)
  const starts = told.compiled[0]?.counters[0]?.windows.map(([start]) => new Date(start * 900_000).toISOString())
  t.ok(starts?.includes('2026-03-01T00:00:00.000Z'))
  t.ok(NOW < Date.parse('2026-04-01'))
})
