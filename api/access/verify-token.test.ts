import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK } from 'jose'
import t from 'tap'
import { accessVariables } from '../../monitoring/access/config.ts'
import { ConfigError, loadConfig } from '../../monitoring/load-config.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { NOW } from '../ports-in-memory.ts'
import { AUDIENCE, ISSUER, KEYS, PUBLIC_PEM, RULES, tokenOf } from './test-tokens.ts'
import { tokenRulesOf, tokenVerifier } from './verify-token.ts'

const NO_LIMITS = { configuredKeys: [], cacheMs: 0, keyEnvironment: 'test', requestsPerMinute: 0, trustedProxies: [] }

t.test('a key set that is away is 503 with Retry-After, never 401, and heals by itself', async (t) => {
  let isAway = true
  const jwk = { ...(await exportJWK(KEYS.publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
  const gateway = createServer((_request, response) => {
    response.statusCode = isAway ? 500 : 200
    response.end(isAway ? '' : JSON.stringify({ keys: [jwk] }))
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  t.teardown(() => gateway.close())
  const { port } = gateway.address() as AddressInfo
  const rules = { ...RULES, keys: { kind: 'key-set', url: `http://127.0.0.1:${port}/keys` } } as const
  const { app } = await startCustomerService(t, {}, { access: { ...NO_LIMITS, tokens: tokenVerifier(rules) } })
  const present = async (kid: string) => {
    const authorization = `Bearer ${await tokenOf({ header: { kid } })}`
    return app.inject({ url: '/v1/api-keys', headers: { authorization } })
  }
  const refused = await present('k1')
  t.match([refused.statusCode, refused.headers['retry-after']], [503, '2'])
  t.match(refused.json(), { code: 'service-unavailable', reason: 'token-keys-unavailable' })
  t.notMatch(refused.payload, String(port))
  isAway = false
  t.equal((await present('k1')).statusCode, 200)
  const unknown = await present('k2')
  t.match([unknown.statusCode, unknown.json().code], [401, 'invalid-token'], 'a key id that the set does not have')
})

t.test('whose token it is follows from its claims, under the name that the configuration gives them', async (t) => {
  const verify = tokenVerifier({ ...RULES, customerClaim: 'org' })
  const owner = await verify(await tokenOf({ claims: { tokenmeter_role: 'owner', org: 'clinic-42' } }), NOW)
  t.match(owner.principal, { id: 'ada', kind: 'user', customerId: 'clinic-42', role: 'owner' })
  const platform = await verify(await tokenOf(), NOW)
  t.match(platform.principal, { id: 'ada', kind: 'user', customerId: null, role: null })
  t.equal(platform.expiresAt, NOW + 630_000)
})

t.test('a public key is taken from one line, and nothing is taken unless it is configured', async (t) => {
  const configured = {
    JWT_ALGORITHMS: 'ES256',
    JWT_ISSUER: ISSUER,
    JWT_AUDIENCE: AUDIENCE,
    JWT_PUBLIC_KEY: PUBLIC_PEM.trim().replaceAll('\n', String.raw`\n`)
  }
  const rules = tokenRulesOf(loadConfig([accessVariables], configured))
  t.match(rules, { customerClaim: 'customer_id', leewaySeconds: 30 })
  t.ok(rules !== null && (await tokenVerifier(rules)(await tokenOf(), NOW)))
  t.equal(tokenRulesOf(loadConfig([accessVariables], {})), null)
})

t.test('a configuration that would take tokens it should not is refused', async (t) => {
  const secret = 's'.repeat(32)
  const whole = { JWT_ALGORITHMS: 'HS256', JWT_ISSUER: 'i', JWT_AUDIENCE: 'a', JWT_SECRET: secret }
  t.ok(loadConfig([accessVariables], whole))
  for (const bad of [
    { ...whole, JWT_ALGORITHMS: 'none' },
    { ...whole, JWT_ALGORITHMS: 'RS256' },
    { ...whole, JWT_ALGORITHMS: 'HS256,ES256' },
    { ...whole, JWT_ALGORITHMS: '' },
    { ...whole, JWT_AUDIENCE: '' },
    { ...whole, JWT_ISSUER: '' },
    { ...whole, JWT_SECRET: 'short' },
    { ...whole, JWT_PUBLIC_KEY: PUBLIC_PEM },
    { ...whole, JWT_SECRET: '', JWT_PUBLIC_KEY: PUBLIC_PEM }
  ]) {
    t.throws(() => loadConfig([accessVariables], bad), ConfigError, JSON.stringify(bad).slice(0, 60))
  }
})
