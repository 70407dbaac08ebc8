// Credentials that somebody made up, bent or kept too long: each is refused with the right status, and nothing changes.

import { createHmac, generateKeyPairSync, randomUUIDv7 } from 'node:crypto'
import { exportJWK } from 'jose'
import t from 'tap'
import { PLATFORM } from '../../domain/change.ts'
import { type ApiKey, hashOf, makeSecret } from '../../domain/customers/api-key.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import type { AccessSettings } from '../api-dependencies.ts'
import { NOW } from '../ports-in-memory.ts'
import { LEEWAY_SECONDS, PUBLIC_PEM, RULES, tokenOf } from './test-tokens.ts'
import { type TokenRules, tokenVerifier } from './verify-token.ts'

const SECONDS = NOW / 1_000
const STRANGER = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 })
const SHARED_SECRET = 'a secret of the gateway, long enough for HS256'
const WRONG = { code: 'invalid-token' } as const
const EXPIRED = { code: 'expired-token' } as const
const UNKNOWN = { code: 'unknown-api-key' } as const
const MISSING = { code: 'authentication-required' } as const

function accessBy(rules: TokenRules): AccessSettings {
  return {
    configuredKeys: [],
    tokens: tokenVerifier(rules),
    cacheMs: 0,
    keyEnvironment: 'test',
    requestsPerMinute: 0,
    trustedProxies: []
  }
}

const { app, stores } = await startCustomerService(t, {}, { access: accessBy(RULES) })
const BODY = { name: 'made by a forger', scopes: ['quota:check'] }

async function present(authorization: string) {
  return app.inject({ method: 'POST', url: '/v1/api-keys', headers: { authorization }, payload: BODY })
}

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function signedAs(header: object, payload: string, sign: (text: string) => string): string {
  const text = `${base64url(header)}.${payload}`
  return `${text}.${sign(text)}`
}

const good = await tokenOf()
const [head = '', payload = '', signature = ''] = good.split('.')
const richer = base64url({ ...JSON.parse(Buffer.from(payload, 'base64url').toString()), sub: 'root' })
const hmac = (secret: string) => (text: string) => createHmac('sha256', secret).update(text).digest('base64url')
const flipped = `${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`
const strangersKey = await exportJWK(STRANGER.publicKey)

const TOKENS: Readonly<Record<string, readonly [token: string, expected: { readonly code: string }]>> = {
  'alg none, unsigned': [`${base64url({ alg: 'none' })}.${payload}.`, WRONG],
  'alg None, signed': [`${base64url({ alg: 'None' })}.${payload}.${signature}`, WRONG],
  'HS256 with the public key as its secret': [signedAs({ alg: 'HS256' }, payload, hmac(PUBLIC_PEM)), WRONG],
  'HS256 with an empty secret': [signedAs({ alg: 'HS256' }, payload, hmac('')), WRONG],
  'another algorithm with a good key of its own': [
    await tokenOf({ header: { alg: 'RS256' }, key: RSA.privateKey }),
    WRONG
  ],
  'signed by a stranger': [await tokenOf({ key: STRANGER.privateKey }), WRONG],
  'signed by a stranger under the kid of ours': [
    await tokenOf({ key: STRANGER.privateKey, header: { kid: 'ours' } }),
    WRONG
  ],
  "with the stranger's key inside (jwk)": [
    await tokenOf({ key: STRANGER.privateKey, header: { jwk: strangersKey } }),
    WRONG
  ],
  'with an address of keys (jku)': [
    await tokenOf({ key: STRANGER.privateKey, header: { jku: 'http://127.0.0.1:9/keys' } }),
    WRONG
  ],
  'with a certificate inside (x5c)': [await tokenOf({ key: STRANGER.privateKey, header: { x5c: ['MIIB'] } }), WRONG],
  'asking for an extension nobody knows (crit)': [
    `${base64url({ alg: 'ES256', crit: ['exp'], exp: 1 })}.${payload}.${signature}`,
    WRONG
  ],
  'another payload under a good signature': [`${head}.${richer}.${signature}`, WRONG],
  'another header over a good signature': [
    `${base64url({ alg: 'ES256', typ: 'at+jwt' })}.${payload}.${signature}`,
    WRONG
  ],
  'a signature with one bit turned': [`${head}.${payload}.${flipped}`, WRONG],
  'a signature of zeros': [`${head}.${payload}.${Buffer.alloc(64).toString('base64url')}`, WRONG],
  'no signature under a good header': [`${head}.${payload}.`, WRONG],
  'cut short': [good.slice(0, -4), WRONG],
  'two segments': [`${head}.${payload}`, WRONG],
  'a segment more': [`${good}.${signature}`, WRONG],
  'no JSON inside': [`${head}.bm8ganNvbg.${signature}`, WRONG],
  'dots alone': ['..', WRONG],
  'expired beyond the leeway': [await tokenOf({ claims: { exp: SECONDS - LEEWAY_SECONDS - 1 } }), EXPIRED],
  'without exp': [await tokenOf({ claims: { exp: undefined } }), WRONG],
  'an exp that is text': [await tokenOf({ claims: { exp: '9999999999' } }), WRONG],
  'not valid yet beyond the leeway': [await tokenOf({ claims: { nbf: SECONDS + LEEWAY_SECONDS + 1 } }), WRONG],
  'of another issuer': [await tokenOf({ claims: { iss: 'https://gateway.test.evil' } }), WRONG],
  'without an issuer': [await tokenOf({ claims: { iss: undefined } }), WRONG],
  'for another audience': [await tokenOf({ claims: { aud: ['billing'] } }), WRONG],
  'without an audience': [await tokenOf({ claims: { aud: undefined } }), WRONG],
  'without a subject': [await tokenOf({ claims: { sub: undefined } }), WRONG],
  'a subject with control characters': [await tokenOf({ claims: { sub: 'a\nb' } }), WRONG],
  'a role nobody has': [await tokenOf({ claims: { tokenmeter_role: 'root' } }), WRONG],
  'a role out of the prototype': [await tokenOf({ claims: { tokenmeter_role: 'constructor' } }), WRONG],
  'several roles': [await tokenOf({ claims: { tokenmeter_role: ['platform'] } }), WRONG],
  'no role': [await tokenOf({ claims: { tokenmeter_role: undefined } }), WRONG],
  "a customer's role without a customer": [await tokenOf({ claims: { tokenmeter_role: 'owner' } }), WRONG],
  "a customer's role with an empty customer": [
    await tokenOf({ claims: { tokenmeter_role: 'owner', customer_id: '' } }),
    WRONG
  ],
  "a customer's role with many customers": [
    await tokenOf({ claims: { tokenmeter_role: 'owner', customer_id: ['a', 'b'] } }),
    WRONG
  ],
  'the platform and a customer at once': [await tokenOf({ claims: { customer_id: 'a' } }), WRONG],
  'longer than any token is': [`${head}.${payload}${'A'.repeat(9_000)}.${signature}`, UNKNOWN],
  'not ASCII': [`${head}.${payload}é.${signature}`, WRONG],
  'a token with a space inside': [`${head}. ${payload}.${signature}`, MISSING]
}

t.test('a good token opens, also within the leeway of a clock that is slow', async (t) => {
  t.equal((await present(`Bearer ${good}`)).statusCode, 201)
  const late = await tokenOf({ claims: { exp: SECONDS - LEEWAY_SECONDS + 2, nbf: SECONDS + LEEWAY_SECONDS - 2 } })
  t.equal((await present(`Bearer ${late}`)).statusCode, 201)
})

t.test('forged, bent and expired tokens are refused, and nothing changes', async (t) => {
  const before = await stores.apiKeyStore.list(PLATFORM, { customerId: null, limit: 200, cursor: '' })
  for (const [name, [token, expected]] of Object.entries(TOKENS)) {
    const response = await present(`Bearer ${token}`)
    t.equal(response.statusCode, 401, name)
    t.match(response.json(), expected, name)
    t.match(response.headers['www-authenticate'], /^Bearer realm="tokenmeter"/, name)
    t.notOk(response.payload.includes(signature), name)
  }
  t.ok(Object.keys(TOKENS).length >= 40)
  t.same(await stores.apiKeyStore.list(PLATFORM, { customerId: null, limit: 200, cursor: '' }), before)
})

t.test('a token in the header of keys, or under another scheme, opens nothing', async (t) => {
  const asKey = await app.inject({ url: '/v1/api-keys', headers: { 'x-api-key': good } })
  t.match(asKey, { statusCode: 401 })
  for (const authorization of [good, `Basic ${good}`, `Bearer`, `Bearer ${good} ${good}`, `Bearer,${good}`]) {
    const response = await present(authorization)
    t.match([response.statusCode, response.json().code], [401, 'authentication-required'], authorization.slice(0, 20))
  }
})

t.test('where secrets are shared, a token signed by a public key or another secret is refused', async (t) => {
  const rules: TokenRules = { ...RULES, algorithms: ['HS256'], keys: { kind: 'secret', secret: SHARED_SECRET } }
  const shared = await startCustomerService(t, {}, { access: accessBy(rules) })
  const keyOf = (secret: string) => new TextEncoder().encode(secret)
  const statusOf = async (token: string) =>
    (await shared.app.inject({ url: '/v1/api-keys', headers: { authorization: `Bearer ${token}` } })).statusCode
  t.equal(await statusOf(await tokenOf({ header: { alg: 'HS256' }, key: keyOf(SHARED_SECRET) })), 200)
  t.equal(await statusOf(await tokenOf({ header: { alg: 'HS256' }, key: keyOf(`${SHARED_SECRET}!`) })), 401)
  t.equal(await statusOf(await tokenOf({ header: { alg: 'HS384' }, key: keyOf(`${SHARED_SECRET}!!!!`) })), 401)
  t.equal(await statusOf(good), 401)
  t.equal(await statusOf(await tokenOf({ header: { alg: 'RS256' }, key: RSA.privateKey })), 401)
})

async function keep(changes: Partial<ApiKey>): Promise<string> {
  const secret = makeSecret('test')
  const key: ApiKey = {
    id: randomUUIDv7(),
    customerId: null,
    name: 'kept',
    scopes: ['api-keys:write'],
    expiresAt: null,
    revokedAt: null,
    replacedBy: null,
    lastUsedAt: null,
    version: 1,
    createdAt: NOW,
    updatedAt: NOW,
    ...changes
  }
  const nothing = { reach: PLATFORM, audit: [], events: [], request: null }
  await stores.apiKeyStore.insert({ key: { ...key, revokedAt: null }, hash: hashOf(secret) }, nothing)
  if (key.revokedAt !== null) await stores.apiKeyStore.update({ ...key, version: 2 }, null, nothing)
  return secret
}

t.test('a key that is misspelt, unknown, revoked, expired or of no scope opens nothing', async (t) => {
  const secret = await keep({})
  t.equal((await present(`Bearer ${secret}`)).statusCode, 403, 'it can not give a scope that it lacks')
  t.equal((await app.inject({ url: '/v1/api-keys', headers: { 'x-api-key': secret } })).statusCode, 200)
  const last = secret.at(-1) === '0' ? '1' : '0'
  const refused: Readonly<Record<string, readonly [key: string, status: number, code: string]>> = {
    'a wrong check': [`${secret.slice(0, -1)}${last}`, 401, 'unknown-api-key'],
    'another case': [secret.toUpperCase(), 401, 'unknown-api-key'],
    'the hash that is kept': [hashOf(secret), 401, 'unknown-api-key'],
    'never made': [makeSecret('test'), 401, 'unknown-api-key'],
    'of another environment': [makeSecret('live'), 401, 'unknown-api-key'],
    revoked: [await keep({ revokedAt: NOW }), 401, 'unknown-api-key'],
    expired: [await keep({ expiresAt: NOW }), 401, 'unknown-api-key'],
    'of no scope': [await keep({ scopes: [] }), 403, 'access-denied'],
    'of a scope there is no more': [await keep({ scopes: ['everything'] }), 403, 'access-denied'],
    'of another scope': [await keep({ scopes: ['usage:read'] }), 403, 'access-denied'],
    'two keys in one header': [`${secret}, ${secret}`, 401, 'unknown-api-key']
  }
  for (const [name, [key, status, code]] of Object.entries(refused)) {
    const response = await app.inject({ url: '/v1/api-keys', headers: { 'x-api-key': key } })
    t.equal(response.statusCode, status, name)
    t.equal(response.json().code, code, name)
  }
})
