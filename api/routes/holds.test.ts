import t from 'tap'
import type { Hold, HoldOutcome } from '../../domain/api-ports.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { NOW, standingOf, startTestApp } from '../ports-in-memory.ts'

const HOLD: Hold = {
  holdId: 'h1',
  customerId: 'c',
  userId: '',
  model: 'm',
  tokens: { ...NO_TOKENS, output: 50 },
  state: 'held',
  expiresAt: NOW + 60_000
}
const RESERVE = { holdId: 'h1', customerId: 'c', model: 'm', tokens: { output: 50 }, ttlSeconds: 60 }

t.test('a reserved hold answers 201, and its retry the same', async (t) => {
  const { app, call, told } = await startTestApp({
    holdOutcome: () => ({ outcome: 'held', hold: HOLD, limits: [standingOf()] })
  })
  t.teardown(() => app.close())
  const first = await call('POST /v1/quota/holds', RESERVE)
  t.equal(first.status, 201)
  t.match(first.body, {
    hold: {
      holdId: 'h1',
      userId: null,
      state: 'held',
      expiresAt: '2026-03-12T09:31:00.000Z',
      tokens: { output: 50, input: 0 }
    },
    limits: [{ id: 'month-total', remaining: 1000 }]
  })
  t.equal((await call('POST /v1/quota/holds', RESERVE)).text, first.text)
  t.same(told.asks[0], { holdId: 'h1', customerId: 'c', userId: '', model: 'm', tokens: HOLD.tokens, ttlMs: 60_000 })
})

t.test('a hold over a hard limit is 429, with the limits, until the binding one resets', async (t) => {
  const limits = [standingOf({ id: 'a', resetsAt: NOW + 9_000_000 }), standingOf({ id: 'b', resetsAt: NOW + 1_500 })]
  const { app, call } = await startTestApp({ holdOutcome: () => ({ outcome: 'refused', binding: 'b', limits }) })
  t.teardown(() => app.close())
  t.match(await call('POST /v1/quota/holds', RESERVE), {
    status: 429,
    headers: { 'retry-after': '2' },
    body: { code: 'quota-exceeded', binding: 'b', limits: [{ id: 'a' }, { id: 'b' }] }
  })
})

t.test('every other outcome has its own status and code, on each route that can meet it', async (t) => {
  const { app, answers, call } = await startTestApp()
  t.teardown(() => app.close())
  const outcomes: readonly (readonly [HoldOutcome, number, string])[] = [
    [{ outcome: 'conflict', hold: HOLD }, 409, 'hold-conflict'],
    [{ outcome: 'not-found' }, 404, 'unknown-hold'],
    [{ outcome: 'unknown-customer' }, 404, 'unknown-customer'],
    [{ outcome: 'unknown', why: 'seeding' }, 503, 'quota-unknown']
  ]
  for (const [outcome, status, code] of outcomes) {
    answers.holdOutcome = () => outcome
    for (const called of [
      await call('POST /v1/quota/holds', RESERVE),
      await call('POST /v1/quota/holds/h1/extend', { customerId: 'c', ttlSeconds: 60 }),
      await call('POST /v1/quota/holds/h1/settle', { customerId: 'c', tokens: {} }),
      await call('POST /v1/quota/holds/h1/release', { customerId: 'c' })
    ]) {
      t.match(called, { status, body: { code } }, code)
    }
  }
})

t.test('a hold that has ended reserves nothing: taking or extending it is 409, ending it again 200', async (t) => {
  const hold: Hold = { ...HOLD, state: 'released' }
  const { app, call } = await startTestApp({ holdOutcome: () => ({ outcome: 'ended', hold, limits: [] }) })
  t.teardown(() => app.close())
  const ended = { status: 409, body: { code: 'hold-ended', hold: { state: 'released' } } }
  t.match(await call('POST /v1/quota/holds', RESERVE), ended)
  t.match(await call('POST /v1/quota/holds/h1/extend', { customerId: 'c', ttlSeconds: 60 }), ended)
  t.match(await call('POST /v1/quota/holds/h1/release', { customerId: 'c' }), {
    status: 200,
    body: { hold: { state: 'released' } }
  })
  t.match(await call('GET /v1/quota/holds/h1?customerId=c'), { status: 200, body: { holdId: 'h1', state: 'released' } })
})

t.test(
  'a change says what it changes: extend keeps the tokens it is not given, settle and release say how',
  async (t) => {
    const { app, call, told } = await startTestApp({ holdOutcome: () => ({ outcome: 'held', hold: HOLD, limits: [] }) })
    t.teardown(() => app.close())
    await call('POST /v1/quota/holds/h1/extend', { customerId: 'c', ttlSeconds: 60 })
    await call('POST /v1/quota/holds/h1/settle', { customerId: 'c', tokens: { output: 50 } })
    await call('POST /v1/quota/holds/h1/release', { customerId: 'c' })
    t.same(told.asks, [
      { customerId: 'c', holdId: 'h1', tokens: null, ttlMs: 60_000 },
      { customerId: 'c', holdId: 'h1', how: 'settle', tokens: HOLD.tokens },
      { customerId: 'c', holdId: 'h1', how: 'release', tokens: null }
    ])
  }
)

t.test('a time to live outside of a second to an hour, and an id that is not plain, are refused', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  for (const ttlSeconds of [0, 3601, 1.5, '60']) {
    t.match(await call('POST /v1/quota/holds', { ...RESERVE, ttlSeconds }), {
      status: 400,
      body: { errors: [{ field: 'ttlSeconds' }] }
    })
  }
  t.match(await call('POST /v1/quota/holds', { ...RESERVE, holdId: 'a b' }), {
    status: 400,
    body: { errors: [{ field: 'holdId' }] }
  })
  t.match(await call('GET /v1/quota/holds/a%20b?customerId=c'), {
    status: 400,
    body: { errors: [{ field: 'path.holdId' }] }
  })
  t.match(await call('GET /v1/quota/holds/h1'), { status: 400, body: { errors: [{ field: 'query.customerId' }] } })
})
