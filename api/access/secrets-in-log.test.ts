// A canary: whatever is logged of accepted and refused requests, at the most talkative level, no secret stands in it.

import t from 'tap'
import { hashOf, makeSecret } from '../../domain/customers/api-key.ts'
import { RetryableError } from '../../domain/errors.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { API_KEY } from '../ports-in-memory.ts'
import { parseApiKeys } from './configured-keys.ts'
import { RULES, tokenOf } from './test-tokens.ts'
import { tokenVerifier } from './verify-token.ts'

t.test('no log line holds a credential that was presented, made or forged', async (t) => {
  const lines: string[] = []
  const logger = createLogger({ name: 'api', level: 'trace', destination: { write: (line) => lines.push(line) } })
  const verify = tokenVerifier(RULES)
  const { call, app } = await startCustomerService(
    t,
    {
      usage: () => {
        throw new TypeError(`a defect that tells its request: Bearer ${API_KEY}`)
      }
    },
    {
      logger,
      access: {
        configuredKeys: parseApiKeys(`test:${hashOf(API_KEY)}`),
        tokens: async (token, now) => {
          if (token.startsWith('away.')) throw new RetryableError('token-keys-unavailable', 'away')
          return verify(token, now)
        },
        cacheMs: 0,
        keyEnvironment: 'test',
        requestsPerMinute: 1_000,
        trustedProxies: []
      }
    }
  )
  const { id, secret } = (await call('POST /v1/api-keys', { name: 'canary', scopes: ['api-keys:write'] })).body
  const rotated = (await call(`POST /v1/api-keys/${id}/rotate`, {})).body.secret
  const good = await tokenOf()
  const secrets = [
    API_KEY,
    secret,
    rotated,
    good,
    makeSecret('test'),
    `${secret}x`,
    await tokenOf({ claims: { iss: 'evil' } }),
    'away.token.canary',
    'a-guess-without-any-form'
  ]
  const range = 'from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z'
  for (const text of secrets) {
    for (const headers of [
      { authorization: `Bearer ${text}` },
      { authorization: `Basic ${text}` },
      { 'x-api-key': text }
    ]) {
      for (const url of ['/v1/api-keys', `/v1/usage?${range}`, '/v1/nothing', '/v1/usage%']) {
        await app.inject({ url, headers })
      }
      await app.inject({ method: 'POST', url: '/v1/api-keys', headers, payload: { name: 'x', secret: text } })
    }
  }
  t.ok(lines.length >= 3 * secrets.length)
  t.ok(lines.some((line) => line.includes('a defect')))
  for (const text of secrets) {
    const found = lines.filter((line) => line.includes(text) || line.includes(text.split('.')[2] ?? text))
    t.same(found, [])
  }
})
