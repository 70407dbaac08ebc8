/**
 * Who may call what. Each route states its access; one that states none is not built, and would be refused if it were.
 * Platform credentials name the customer they act for in the request.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { ProblemError } from './problem.ts'

/** `public`: anyone who reaches the port. `platform`: the IA service and the back office, by API key. */
export type Access = 'public' | 'platform'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    /** Name of the API key that opened the route; null on a public one. */
    apiKeyName: string | null
  }
}

/** A key as the configuration holds it: never the key itself. */
export interface ApiKey {
  readonly name: string
  /** SHA-256 of the key, 32 bytes. Keys are random, so a slow hash would add nothing. */
  readonly sha256: Buffer
}

/**
 * Reads `name:hash,name:hash`, the hash being 64 hexadecimal digits of the key's SHA-256. Several keys live side by side, so
 * that one can be replaced without a pause. Throws on anything else.
 */
export function parseApiKeys(list: string): readonly ApiKey[] {
  const keys = list
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part, index): ApiKey => {
      const { name, hash } = /^(?<name>[\w.-]{1,64}):(?<hash>[0-9a-f]{64})$/i.exec(part.trim())?.groups ?? {}
      if (name === undefined || hash === undefined) {
        throw new Error(`API key ${index + 1} is not name:sha256 with 64 hexadecimal digits`)
      }
      return { name, sha256: Buffer.from(hash, 'hex') }
    })
  if (new Set(keys.map(({ name }) => name)).size !== keys.length) throw new Error('two API keys have one name')
  return keys
}

/** Puts authentication in front of every route that is registered afterwards, before its body is read. */
export function requireAccess(app: FastifyInstance, apiKeys: readonly ApiKey[]): void {
  app.decorateRequest('apiKeyName', null)
  app.addHook('onRequest', async (request) => {
    if (request.is404) return
    const { access } = request.routeOptions.config
    if (access === 'public') return
    if (access === undefined) throw new ProblemError('access-denied', 'The route states no access.')
    request.apiKeyName = findKey(apiKeys, presentedKey(request)).name
  })
}

/** Routes that state no access, as `METHOD url`. */
export function findUndeclared(routes: readonly RouteOptions[]): string[] {
  return routes.filter(({ config }) => config?.access === undefined).map(({ method, url }) => `${method} ${url}`)
}

function presentedKey(request: FastifyRequest): string {
  const { authorization } = request.headers
  if (authorization !== undefined) {
    const key = /^Bearer +(?<key>\S+)$/i.exec(authorization)?.groups?.key
    if (key !== undefined) return key
    throw refusal('authentication-required', 'Authorization must be `Bearer` and the API key.')
  }
  const key = request.headers['x-api-key']
  if (typeof key === 'string' && key !== '') return key
  throw refusal('authentication-required', 'Send the API key as `Authorization: Bearer` or `X-API-Key`.')
}

/** Compares with every key in constant time, whether or not an earlier one fits. */
function findKey(apiKeys: readonly ApiKey[], presented: string): ApiKey {
  const sha256 = createHash('sha256').update(presented).digest()
  const found = apiKeys.filter((key) => timingSafeEqual(key.sha256, sha256))[0]
  if (found === undefined) throw refusal('unknown-api-key', 'The key is not, or no longer, one of this service.')
  return found
}

function refusal(code: 'authentication-required' | 'unknown-api-key', detail: string): ProblemError {
  return new ProblemError(code, detail, { headers: { 'www-authenticate': 'Bearer realm="tokenmeter"' } })
}
