import type { InjectOptions } from 'fastify'
import t from 'tap'
import { API_KEY, startTestApp } from '../ports-in-memory.ts'
import { SECURITY_HEADERS } from './security-headers.ts'

const EXPECTED = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'DENY',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0'
}
const KEY = { 'x-api-key': API_KEY }
const CHECK = { customerId: 'clinic-42', model: 'm' }

t.test('every answer carries the same security headers, whatever it says', async (t) => {
  const { app } = await startTestApp({ corsOrigins: ['https://admin.example'] })
  t.teardown(() => app.close())
  const asked: readonly (readonly [number, InjectOptions])[] = [
    [200, { method: 'POST', url: '/v1/quota/check', headers: KEY, payload: CHECK }],
    [400, { method: 'POST', url: '/v1/quota/check', headers: KEY, payload: {} }],
    [401, { method: 'POST', url: '/v1/quota/check', payload: CHECK }],
    [404, { url: '/v1/nothing' }],
    [405, { method: 'DELETE', url: '/v1/quota/check', headers: KEY }],
    [204, { method: 'OPTIONS', url: '/v1/quota/check', headers: preflight() }],
    [200, { url: '/livez' }],
    [200, { method: 'HEAD', url: '/livez' }],
    [200, { url: '/metrics' }],
    [200, { url: '/openapi.json' }]
  ]
  for (const [status, options] of asked) {
    const { statusCode, headers } = await app.inject(options)
    const name = `${options.method ?? 'GET'} ${String(options.url)}`
    t.equal(statusCode, status, name)
    t.same(securityOf(headers), EXPECTED, name)
  }
})

t.test('the pages of the documentation differ in their content policy alone', async (t) => {
  const { app } = await startTestApp()
  t.teardown(() => app.close())
  for (const url of ['/docs/', '/docs/static/swagger-ui.css', '/docs/static/swagger-initializer.js']) {
    const { statusCode, headers } = await app.inject(url)
    t.equal(statusCode, 200, url)
    const { 'content-security-policy': policy, ...others } = securityOf(headers)
    t.same({ ...others, 'content-security-policy': EXPECTED['content-security-policy'] }, EXPECTED, url)
    t.match(policy, "default-src 'none'; script-src 'self';", url)
  }
})

function preflight(): Record<string, string> {
  return { origin: 'https://admin.example', 'access-control-request-method': 'POST' }
}

function securityOf(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.keys(SECURITY_HEADERS).map((name) => [name, headers[name]]))
}
