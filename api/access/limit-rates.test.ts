import t from 'tap'
import { hashOf } from '../../domain/customers/api-key.ts'
import { API_KEY, startTestApp, type TestApp } from '../ports-in-memory.ts'
import { parseApiKeys } from './configured-keys.ts'
import { GUESSES_PER_MINUTE } from './limit-rates.ts'

const CHECK = { customerId: 'clinic-42', model: 'm' }
const OTHER_KEY = 'another key'

interface Teardown {
  teardown(handler: () => unknown): void
}

async function start(t: Teardown, requestsPerMinute: number, trustedProxies: string[] = []): Promise<TestApp> {
  const access = {
    configuredKeys: parseApiKeys(`test:${hashOf(API_KEY)},other:${hashOf(OTHER_KEY)}`),
    tokens: null,
    cacheMs: 5_000,
    keyEnvironment: 'test',
    requestsPerMinute,
    trustedProxies
  }
  const started = await startTestApp({}, { access })
  t.teardown(() => started.app.close())
  return started
}

t.test(
  'a credential that calls too often in a minute is 429 with Retry-After; no other one and no probe is',
  async (t) => {
    const { app, call } = await start(t, 3)
    for (const remaining of ['2', '1', '0']) {
      const { status, headers } = await call('POST /v1/quota/check', CHECK)
      t.match(
        [status, headers],
        [200, { 'ratelimit-limit': '3', 'ratelimit-remaining': remaining, 'ratelimit-reset': /\d/ }]
      )
    }
    const refused = await call('POST /v1/quota/check', CHECK)
    t.match(refused, { status: 429, body: { code: 'rate-limited' }, headers: { 'ratelimit-remaining': '0' } })
    t.match(refused.headers['retry-after'], /^[1-9]\d?$/)
    t.equal((await call('POST /v1/quota/check', CHECK, { 'x-api-key': OTHER_KEY })).status, 200)
    for (let i = 0; i < 10; i += 1) t.equal((await app.inject('/livez')).statusCode, 200)
  }
)

t.test('an address that presents unknown credentials is slowed down, and its good ones go on', async (t) => {
  const { call } = await start(t, 100_000)
  const guess = () => call('POST /v1/quota/check', CHECK, { 'x-api-key': 'a guess' })
  for (let i = 0; i < GUESSES_PER_MINUTE; i += 1) {
    const { status } = await guess()
    if (status !== 401) t.equal(status, 401, `guess ${i}`)
  }
  t.match(await guess(), { status: 429, body: { code: 'rate-limited' } })
  t.equal((await call('POST /v1/quota/check', CHECK)).status, 200)
})

t.test('only a trusted proxy says from which address a guess came', async (t) => {
  for (const [proxies, expected] of [
    [[], 429],
    [['127.0.0.1'], 401]
  ] as const) {
    const { call } = await start(t, 100_000, [...proxies])
    const guess = (from: string) =>
      call('POST /v1/quota/check', CHECK, { 'x-api-key': 'a guess', 'x-forwarded-for': from })
    for (let i = 0; i <= GUESSES_PER_MINUTE; i += 1) await guess('192.0.2.1')
    t.equal((await guess('192.0.2.2')).status, expected)
  }
})

t.test('without a limit nothing is counted', async (t) => {
  const { call } = await start(t, 0)
  for (let i = 0; i < 5; i += 1) {
    const { status, headers } = await call('POST /v1/quota/check', CHECK)
    t.match([status, headers['ratelimit-limit']], [200, undefined])
  }
})
