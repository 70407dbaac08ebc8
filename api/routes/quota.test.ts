import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import { knownStanding, NOW, standingOf, startTestApp } from '../ports-in-memory.ts'

const CHECK = { customerId: 'clinic-42', userId: 'dr-amina', model: 'm', tokens: { input: 30, output: 20 } }

t.test('a check answers 200 whether or not the call is allowed, with every limit', async (t) => {
  const { app, answers, call, told } = await startTestApp()
  t.teardown(() => app.close())
  answers.standing = () =>
    knownStanding(standingOf({ max: 1000, used: 900, held: 40 }), standingOf({ id: 'soft', mode: 'soft' }))
  const allowed = await call('POST /v1/quota/check', CHECK)
  t.equal(allowed.status, 200)
  t.same(allowed.body, {
    allowed: true,
    binding: 'month-total',
    limits: [
      {
        id: 'month-total',
        limit: 1000,
        used: 900,
        held: 40,
        remaining: 60,
        resetsAt: '2026-03-12T10:30:00.000Z',
        mode: 'hard',
        unknown: null
      },
      {
        id: 'soft',
        limit: 1000,
        used: 0,
        held: 0,
        remaining: 1000,
        resetsAt: '2026-03-12T10:30:00.000Z',
        mode: 'soft',
        unknown: null
      }
    ],
    asOf: '2026-03-12T09:29:59.880Z',
    source: 'meter'
  })
  answers.standing = () => knownStanding(standingOf({ max: 1000, used: 951, asked: 50 }))
  t.match(await call('POST /v1/quota/check', CHECK), { status: 200, body: { allowed: false, binding: 'month-total' } })
  t.same(told.asks[0], {
    customerId: 'clinic-42',
    userId: 'dr-amina',
    model: 'm',
    tokens: { input: 30, cacheRead: 0, cacheWrite: 0, output: 20, reasoning: 0 }
  })
})

t.test('a customer the meter does not know answers 404', async (t) => {
  const { app, call } = await startTestApp({ standing: () => ({ known: true, limits: null }) })
  t.teardown(() => app.close())
  t.match(await call('POST /v1/quota/check', CHECK), { status: 404, body: { code: 'unknown-customer' } })
  t.match(await call('GET /v1/customers/c/balance'), { status: 404, body: { code: 'unknown-customer' } })
})

t.test('that the meter can not know is 503 with Retry-After, never 429', async (t) => {
  const { app, answers, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const full = standingOf({ max: 1, used: 1 })
  const unknowns = [
    [() => ({ known: false, why: 'stale', limits: [full] }) as const, 'stale', '2'],
    [() => ({ known: false, why: 'unrepaired', limits: [] }) as const, 'unrepaired', '5'],
    [() => knownStanding({ ...full, unknown: 'seeding' }), 'seeding', '2'],
    [() => knownStanding({ ...full, unknown: 'windows-ran-out' }), 'windows-ran-out', '60'],
    [
      () => {
        throw new RetryableError('meter-unavailable', 'Redis is away')
      },
      'unavailable',
      '2'
    ]
  ] as const
  for (const [standing, why, retryAfter] of unknowns) {
    answers.standing = standing
    const { status, headers, body } = await call('POST /v1/quota/check', CHECK)
    t.same([status, body.code, body.why, headers['retry-after']], [503, 'quota-unknown', why, retryAfter])
  }
  t.same(told.outcomes, Array(5).fill('unknown'))
})

t.test('when each hard limit allows calls meanwhile, the answer is a flagged yes', async (t) => {
  const { app, call } = await startTestApp({
    standing: () => ({ known: false, why: 'stale', limits: [standingOf({ whenUnknown: 'allow', used: 1000 })] })
  })
  t.teardown(() => app.close())
  t.match(await call('POST /v1/quota/check', CHECK), {
    status: 200,
    body: { allowed: true, binding: null, asOf: null, source: 'unknown-allowed' }
  })
})

t.test('tokens that add up to 2^53 or more are refused', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const tokens = { input: Number.MAX_SAFE_INTEGER, output: 1 }
  t.match(await call('POST /v1/quota/check', { ...CHECK, tokens }), {
    status: 400,
    body: { errors: [{ field: 'tokens' }] }
  })
  const endless = '{"customerId":"c","model":"m","tokens":{"input":1e400}}'
  t.match(await call('POST /v1/quota/check', endless), { status: 400, body: { errors: [{ field: 'tokens.input' }] } })
})

t.test('a balance tells every limit, for the user and model that are named', async (t) => {
  const { app, answers, call, told } = await startTestApp()
  t.teardown(() => app.close())
  t.match(await call('GET /v1/customers/clinic%2042/balance?userId=u&model=m'), {
    status: 200,
    body: { customerId: 'clinic 42', asOf: new Date(NOW - 120).toISOString(), limits: [{ id: 'month-total' }] }
  })
  t.same(told.asks, [['clinic 42', 'u', 'm']])
  answers.standing = () => ({ known: false, why: 'stale', limits: [standingOf()] })
  t.match(await call('GET /v1/customers/c/balance'), { status: 503, body: { code: 'quota-unknown', why: 'stale' } })
})
