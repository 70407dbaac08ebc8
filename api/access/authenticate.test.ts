import { createHash } from 'node:crypto'
import Fastify from 'fastify'
import t from 'tap'
import { API_KEY, startTestApp } from '../ports-in-memory.ts'
import { handleError } from '../problem.ts'
import { findUndeclared, requireAccess } from './authenticate.ts'
import { parseApiKeys } from './configured-keys.ts'
import { NO_RATE_LIMITS } from './limit-rates.ts'

const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex')

t.test('a key opens a platform route as a bearer token and in its own header', async (t) => {
  const { app } = await startTestApp()
  t.teardown(() => app.close())
  const url = '/v1/customers/c/balance'
  for (const headers of [
    { authorization: `Bearer ${API_KEY}` },
    { authorization: `bearer  ${API_KEY}` },
    { 'x-api-key': API_KEY }
  ]) {
    t.equal((await app.inject({ url, headers })).statusCode, 200)
  }
})

t.test('without a known key a platform route answers 401, before it reads the body', async (t) => {
  const { app } = await startTestApp()
  t.teardown(() => app.close())
  const attempts = [
    [{}, 'authentication-required'],
    [{ authorization: 'Basic abc' }, 'authentication-required'],
    [{ authorization: 'Bearer wrong' }, 'unknown-api-key'],
    [{ 'x-api-key': '' }, 'authentication-required'],
    [{ 'x-api-key': sha256(API_KEY) }, 'unknown-api-key']
  ] as const
  for (const [headers, code] of attempts) {
    const json = { ...headers, 'content-type': 'application/json' }
    const response = await app.inject({ method: 'POST', url: '/v1/quota/check', headers: json, payload: '{' })
    t.equal(response.statusCode, 401)
    t.equal(response.json().code, code)
    t.equal(response.headers['www-authenticate'], 'Bearer realm="tokenmeter"')
  }
})

t.test('two keys of one service both open it, so that one can replace the other', async (t) => {
  const apiKeys = parseApiKeys(`old:${sha256('first')}, next:${sha256('second')}`)
  const { app } = await startTestApp({ apiKeys })
  t.teardown(() => app.close())
  for (const key of ['first', 'second']) {
    t.equal((await app.inject({ url: '/v1/customers/c/balance', headers: { 'x-api-key': key } })).statusCode, 200)
  }
})

t.test('without any key configured nothing opens', async (t) => {
  const { app } = await startTestApp({ apiKeys: parseApiKeys('') })
  t.teardown(() => app.close())
  t.equal((await app.inject({ url: '/v1/customers/c/balance', headers: { 'x-api-key': '' } })).statusCode, 401)
  t.equal((await app.inject({ url: '/livez' })).statusCode, 200)
})

t.test('a route that states no access is found, and refused to everyone', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.setErrorHandler(handleError)
  requireAccess(app, {
    configuredKeys: parseApiKeys(`test:${sha256(API_KEY)}`),
    apiKeys: { use: async () => null },
    users: { find: async () => null },
    tokens: null,
    cacheMs: 0,
    now: Date.now,
    rateLimits: NO_RATE_LIMITS
  })
  app.get('/open', { config: { access: 'public' } }, async () => 'open')
  app.get('/forgotten', async () => 'secret')
  const response = await app.inject({ url: '/forgotten', headers: { 'x-api-key': API_KEY } })
  t.equal(response.statusCode, 403)
  t.equal(response.json().code, 'access-denied')
  t.equal((await app.inject({ url: '/open' })).payload, 'open')
  const handler = async (): Promise<string> => ''
  t.same(findUndeclared([{ method: 'GET', url: '/forgotten', handler }]), ['GET /forgotten'])
})

t.test('a list of keys is refused when an entry is not name:sha256 or a name stands twice', async (t) => {
  t.throws(() => parseApiKeys('test'), /API key 1 is not name:sha256/)
  t.throws(() => parseApiKeys(`a:${sha256('x')},test:${sha256('x').slice(1)}`), /API key 2/)
  t.throws(() => parseApiKeys(`a:${sha256('x')},a:${sha256('y')}`), /one name/)
})
