import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { startTestApp } from './ports-in-memory.ts'

const CHECK = { customerId: 'clinic-42', model: 'm' }

t.test('every refusal is a problem document with a stable code and the id of its request', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const refusals = [
    [await call('GET /v1/nothing'), 404, 'unknown-route'],
    [await call('DELETE /v1/quota/check'), 405, 'method-not-allowed'],
    [await call('POST /v1/quota/check', '{"customerId":'), 400, 'malformed-json'],
    [await call('POST /v1/quota/check', '{"__proto__":{}}'), 400, 'malformed-json'],
    [await call('POST /v1/quota/check', '<a/>', { 'content-type': 'text/xml' }), 415, 'unsupported-media-type'],
    [await call('POST /v1/quota/check', `"${'x'.repeat(300_000)}"`), 413, 'body-too-large'],
    [await call('POST /v1/quota/check', {}), 400, 'validation-failed'],
    [await call('GET /v1/usage%'), 400, 'malformed-request']
  ] as const
  for (const [{ status, headers, body }, expected, code] of refusals) {
    t.equal(status, expected, code)
    t.match(headers['content-type'], /^application\/problem\+json/, code)
    t.match(body, { type: `urn:tokenmeter:problem:${code}`, status: expected, code, title: String, detail: String })
    t.equal(body.requestId, headers['x-request-id'], code)
  }
})

t.test('a method that a route does not take is told which it takes', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  t.equal((await call('POST /v1/customers/c/limits', {})).headers.allow, 'GET, HEAD, PUT')
})

t.test('validation names each field at fault once, as the domain spells paths', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const { body } = await call('POST /v1/quota/check', {
    customerId: '',
    modell: 'm',
    tokens: { input: -1, output: 0.5, extra: 1 }
  })
  const errors: { field: string; message: string }[] = body.errors
  t.same(errors.map(({ field }) => field).sort(), [
    'customerId',
    'model',
    'modell',
    'tokens.extra',
    'tokens.input',
    'tokens.output'
  ])
  const query = await call('GET /v1/usage?from=yesterday&to=2026-01-01T00:00:00Z&limit=many')
  t.same(query.body.errors.map(({ field }: { field: string }) => field).sort(), ['query.from', 'query.limit'])
})

t.test('a store that is away is 503 with Retry-After; what nobody expected is 500 and tells nothing', async (t) => {
  const { app, answers, call } = await startTestApp()
  t.teardown(() => app.close())
  const url = 'GET /v1/usage?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z' as const
  answers.usage = () => {
    throw new RetryableError('analytics-unavailable', 'ClickHouse at 10.0.0.7 is away')
  }
  const away = await call(url)
  t.match(away, {
    status: 503,
    headers: { 'retry-after': '2' },
    body: { code: 'service-unavailable', reason: 'analytics-unavailable' }
  })
  t.notMatch(away.text, '10.0.0.7')
  answers.usage = () => {
    throw new TypeError('secret of the inside')
  }
  const failed = await call(url)
  t.match(failed, { status: 500, body: { code: 'internal-error' } })
  t.notMatch(failed.text, 'secret')
})

t.test('a plain request id of the caller is kept, any other replaced', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  t.equal(
    (await call('POST /v1/quota/check', CHECK, { 'x-request-id': 'trace-1.a_B' })).headers['x-request-id'],
    'trace-1.a_B'
  )
  const replaced = await call('POST /v1/quota/check', CHECK, { 'x-request-id': 'a b' })
  t.match(replaced.headers['x-request-id'], /^[0-9a-f-]{36}$/)
})

t.test('answers carry security headers, are not cached, and no origin may read them unless configured', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const { headers } = await call('POST /v1/quota/check', CHECK, { origin: 'https://evil.example' })
  t.match(headers, {
    'content-security-policy': "default-src 'none';frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'cache-control': 'no-store'
  })
  t.notOk('access-control-allow-origin' in headers)
})

t.test('a configured origin may call, and asks first without a key', async (t) => {
  const { app } = await startTestApp({ corsOrigins: ['https://admin.example'] })
  t.teardown(() => app.close())
  const preflight = (origin: string) =>
    app.inject({
      method: 'OPTIONS',
      url: '/v1/quota/check',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-api-key' }
    })
  const allowed = await preflight('https://admin.example')
  t.equal(allowed.statusCode, 204)
  t.equal(allowed.headers['access-control-allow-origin'], 'https://admin.example')
  t.not((await preflight('https://evil.example')).headers['access-control-allow-origin'], 'https://evil.example')
})

t.test('probes and metrics answer without a key, and readiness follows the services', async (t) => {
  const { app, answers } = await startTestApp()
  t.teardown(() => app.close())
  t.same((await app.inject('/livez')).json(), { status: 'ok' })
  t.same((await app.inject('/readyz')).json(), { status: 'ready', checks: [{ name: 'redis', ready: true }] })
  t.equal((await app.inject('/metrics')).payload, 'up 1\n')
  answers.ready = false
  const notReady = await app.inject('/readyz')
  t.equal(notReady.statusCode, 503)
  t.equal(notReady.json().status, 'not-ready')
})

t.test('each answer is told with the pattern of its route, so that no id becomes a metric', async (t) => {
  const { app, told, call } = await startTestApp()
  t.teardown(() => app.close())
  await call('GET /v1/customers/clinic-42/balance')
  await call('GET /v1/nothing')
  t.same(told.answers, [
    { route: '/v1/customers/:customerId/balance', status: 200 },
    { route: 'unknown', status: 404 }
  ])
})

t.test(
  'an app that was just built is not overloaded by its building, and later refuses what it can not bear',
  async (t) => {
    const { app, call } = await startTestApp({}, { eventLoopDelayMaxMs: 0.000_1 })
    t.teardown(() => app.close())
    await waitUntil(async () => app.isUnderPressure(), { what: 'the first measure', timeoutMs: 10_000 })
    t.equal((await call('GET /v1/customers/c/balance')).status, 200)
    const refused = await waitUntil(
      async () => {
        const answer = await call('GET /v1/customers/c/balance')
        return answer.status === 503 && answer
      },
      { what: 'a refusal', timeoutMs: 10_000 }
    )
    t.match(refused, { body: { code: 'overloaded' }, headers: { 'retry-after': '2' } })
    t.equal((await app.inject('/livez')).statusCode, 200)
  }
)
