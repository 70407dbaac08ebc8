/**
 * Who calls: by a key of the configuration, an API key of Postgres, or a token of the gateway. Each route states its access; one
 * that states none is not built, and would be refused if it were.
 */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { type ApiKey, hashOf, isLive, isWellFormed } from '../../domain/customers/api-key.ts'
import type { ApiKeyLookup } from '../../domain/customers/api-key-store.ts'
import type { UserStore } from '../../domain/customers/user-store.ts'
import { ProblemError, statusOfProblem } from '../problem.ts'
import { type Access, type Principal, SCOPES } from './access-rule.ts'
import { authorize } from './authorize.ts'
import { type ConfiguredKey, findConfigured } from './configured-keys.ts'
import { CredentialCache, type Known } from './credential-cache.ts'
import type { RateLimits } from './limit-rates.ts'
import type { TokenVerifier } from './verify-token.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
    /** For a browser's own pages: the key may come as the password of HTTP Basic, and the browser is told to ask for it. */
    takesBasic?: true
  }
  interface FastifyRequest {
    /** Who calls; null on a public route. */
    principal: Principal | null
  }
}

export interface Credentials {
  readonly configuredKeys: readonly ConfiguredKey[]
  readonly apiKeys: ApiKeyLookup
  /** Null: no token is taken. */
  readonly tokens: TokenVerifier | null
  /** Those whom a customer's tokens name: a disabled one is refused. */
  readonly users: Pick<UserStore, 'find'>
  /** How long an answer of these stores is believed, ms. */
  readonly cacheMs: number
  readonly now: () => number
  readonly rateLimits: RateLimits
}

/** Tokens with many claims stay below; whatever is longer is not even hashed. */
const CREDENTIAL_LENGTH_MAX = 8_192

/**
 * Puts authentication in front of every route that is registered afterwards, before its body is read. A credential that is known waits
 * for nothing: its request goes on at once.
 */
export function requireAccess(app: FastifyInstance, credentials: Credentials): void {
  const cache = new CredentialCache(credentials)
  app.decorateRequest('principal', null)
  // What it throws or rejects with is the answer; a promise is waited for in place of `done`.
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.is404) {
      done()
      return
    }
    const { access, takesBasic = false } = request.routeOptions.config
    if (access === 'public') {
      done()
      return
    }
    if (access === undefined) throw new ProblemError('access-denied', 'The route states no access.')
    const credential = presented(request, takesBasic)
    const known = credential instanceof ProblemError ? undefined : recall(credential.hash, credentials, cache)
    if (known) {
      request.principal = known
      authorize(known, access)
      done()
      return
    }
    return identify(request, { credential, takesBasic, credentials, cache }).then((principal) => {
      request.principal = principal
      authorize(principal, access)
    })
  })
}

/** Routes that state no access, as `METHOD url`. */
export function findUndeclared(routes: readonly RouteOptions[]): string[] {
  return routes.filter(({ config }) => config?.access === undefined).map(({ method, url }) => `${method} ${url}`)
}

interface Presented {
  readonly text: string
  readonly isToken: boolean
  readonly hash: string
}

/** Null: it is known to be nobody's; undefined: it is looked up. Costs a hash and no more. */
function recall(hash: string, { configuredKeys }: Credentials, cache: CredentialCache): Principal | null | undefined {
  return findConfigured(configuredKeys, hash) ?? cache.recall(hash)
}

interface Claim {
  /** Or why there is none to look up. */
  readonly credential: Presented | ProblemError
  readonly takesBasic: boolean
  readonly credentials: Credentials
  readonly cache: CredentialCache
}

/** Of a credential that is not known to be good: it is looked up, unless its address failed too often. */
async function identify(request: FastifyRequest, claim: Claim): Promise<Principal> {
  const { credential, takesBasic, credentials, cache } = claim
  const { rateLimits } = credentials
  try {
    if (credential instanceof ProblemError) throw credential
    const { text, isToken, hash } = credential
    const recalled = cache.recall(hash)
    await rateLimits.refuseGuesses(request)
    const found = recalled === undefined ? await cache.ask(hash, () => lookUp(text, isToken, credentials)) : recalled
    if (found === null) throw unknownKey()
    return found
  } catch (error) {
    if (!(error instanceof ProblemError) || statusOfProblem(error.code) !== 401) throw error
    await rateLimits.noteGuess(request)
    throw takesBasic ? askingForBasic(error) : error
  }
}

function presented({ headers }: FastifyRequest, takesBasic: boolean): Presented | ProblemError {
  const { authorization } = headers
  if (authorization === undefined) {
    const key = headers['x-api-key']
    if (typeof key === 'string' && key !== '') return bounded(key, false)
    return refusal(
      'authentication-required',
      'Send an API key or a token as `Authorization: Bearer`, or a key as `X-API-Key`.'
    )
  }
  const text = takesBasic ? bearerOrPassword(authorization) : bearer(authorization)
  if (text === undefined) {
    return refusal('authentication-required', 'Authorization must be `Bearer` and the API key or token.')
  }
  return bounded(text, text.includes('.'))
}

function bearer(authorization: string): string | undefined {
  return /^Bearer +(?<text>\S+)$/i.exec(authorization)?.groups?.text
}

/** The user's name of HTTP Basic says nothing: the key says who it is. */
function bearerOrPassword(authorization: string): string | undefined {
  const encoded = /^Basic +(?<encoded>[\w+/]+=*)$/i.exec(authorization)?.groups?.encoded
  if (encoded === undefined) return bearer(authorization)
  return /^[^:]*:(?<password>\S+)$/.exec(Buffer.from(encoded, 'base64').toString())?.groups?.password
}

function askingForBasic({ code, message }: ProblemError): ProblemError {
  return new ProblemError(code, message, {
    headers: { 'www-authenticate': 'Basic realm="tokenmeter", charset="UTF-8"' }
  })
}

function bounded(text: string, isToken: boolean): Presented | ProblemError {
  return text.length > CREDENTIAL_LENGTH_MAX ? unknownKey() : { text, isToken, hash: hashOf(text) }
}

async function lookUp(text: string, isToken: boolean, credentials: Credentials): Promise<Known | null> {
  const { tokens, apiKeys, now } = credentials
  if (isToken) return tokens === null ? null : ofActiveUser(await tokens(text, now()), credentials)
  if (!isWellFormed(text)) return null
  const key = await apiKeys.use(hashOf(text), now())
  return key === null || !isLive(key, now()) ? null : { principal: principalOf(key), expiresAt: key.expiresAt }
}

/** The gateway may know people whom the customer's list does not have; one whom the list has as disabled is refused. */
async function ofActiveUser(known: Known, { users }: Credentials): Promise<Known> {
  const { id, customerId } = known.principal
  if (customerId === null) return known
  const user = await users.find({ kind: 'customer', customerId }, { customerId, id })
  if (user?.status === 'disabled') throw refusal('invalid-token', 'The user of this token is disabled.')
  return known
}

function principalOf({ id, customerId, scopes }: ApiKey): Principal {
  return {
    id,
    kind: 'api-key',
    customerId,
    role: null,
    scopes: new Set(SCOPES.filter((scope) => scopes.includes(scope)))
  }
}

function unknownKey(): ProblemError {
  return refusal('unknown-api-key', 'The key is not, or no longer, one of this service.')
}

function refusal(code: 'authentication-required' | 'unknown-api-key' | 'invalid-token', detail: string): ProblemError {
  return new ProblemError(code, detail, { headers: { 'www-authenticate': 'Bearer realm="tokenmeter"' } })
}
