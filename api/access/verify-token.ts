/**
 * Tokens (JWT) of the gateway's users. Algorithms and keys are the configuration's alone: what a token's header says of itself
 * chooses among them and never adds one.
 */
import { createPublicKey } from 'node:crypto'
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { USER_ROLES } from '../../domain/customers/user-role.ts'
import { RetryableError } from '../../domain/errors.ts'
import { ProblemError } from '../problem.ts'
import type { Principal } from './access-rule.ts'
import { EVERY_SCOPE } from './configured-keys.ts'
import type { Known } from './credential-cache.ts'

export interface TokenRules {
  /** As RFC 7518 names them; at least one. */
  readonly algorithms: readonly string[]
  readonly issuer: string
  readonly audience: string
  /** Claim with the id of the user's customer. */
  readonly customerClaim: string
  /** By how much clocks may differ when exp and nbf are checked. */
  readonly leewaySeconds: number
  readonly keys: TokenKeys
}

export type TokenKeys =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'public-key'; readonly pem: string }
  | { readonly kind: 'key-set'; readonly url: string }

/** The variables of configuration that say it. */
interface TokenVariables {
  readonly JWT_ALGORITHMS: readonly string[]
  readonly JWT_ISSUER?: string
  readonly JWT_AUDIENCE?: string
  readonly JWT_JWKS_URL?: string
  readonly JWT_PUBLIC_KEY?: string
  readonly JWT_SECRET?: string
  readonly JWT_CUSTOMER_CLAIM: string
  readonly JWT_LEEWAY_SECONDS: number
}

/** Whose token it is. Throws a problem for one that is refused, `RetryableError` when the keys can't be had now. */
export type TokenVerifier = (token: string, now: number) => Promise<Known>

/** `owner` and so on: a user of a customer. `platform`: of the back office, for every customer. */
const ROLE_CLAIM = 'tokenmeter_role'
const PLATFORM_ROLE = 'platform'
const KEY_SET_TIMEOUT_MS = 2_000
/** A key the set no longer has is refused after so long at most; an unknown key id has the set fetched at once. */
const KEY_SET_CACHE_MS = 600_000
/** Between two fetches for unknown key ids: a flood of made-up ones reaches the gateway twice a minute. */
const KEY_SET_COOLDOWN_MS = 30_000

/** Null: no token is taken. What is incomplete is a fault of the configuration, which is told before. */
export function tokenRulesOf(variables: TokenVariables): TokenRules | null {
  const { JWT_ALGORITHMS: algorithms, JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = variables
  const keys = tokenKeysOf(variables)
  if (algorithms.length === 0 || issuer === undefined || audience === undefined || keys === null) return null
  return {
    algorithms,
    issuer,
    audience,
    customerClaim: variables.JWT_CUSTOMER_CLAIM,
    leewaySeconds: variables.JWT_LEEWAY_SECONDS,
    keys
  }
}

function tokenKeysOf({ JWT_JWKS_URL: url, JWT_PUBLIC_KEY: pem, JWT_SECRET: secret }: TokenVariables): TokenKeys | null {
  if (url !== undefined) return { kind: 'key-set', url }
  if (pem !== undefined) return { kind: 'public-key', pem: pem.replaceAll(String.raw`\n`, '\n') }
  return secret === undefined ? null : { kind: 'secret', secret }
}

export function tokenVerifier(rules: TokenRules): TokenVerifier {
  const key = keyOf(rules.keys)
  return async (token, now) => {
    const { payload } = await refusable(
      jwtVerify(token, key, {
        algorithms: [...rules.algorithms],
        issuer: rules.issuer,
        audience: rules.audience,
        clockTolerance: rules.leewaySeconds,
        currentDate: new Date(now),
        requiredClaims: ['exp', 'sub']
      })
    )
    const principal = principalOf(payload, rules.customerClaim)
    return { principal, expiresAt: ((payload.exp ?? 0) + rules.leewaySeconds) * 1_000 }
  }
}

function keyOf(keys: TokenKeys): JWTVerifyGetKey {
  if (keys.kind === 'secret') {
    const secret = new TextEncoder().encode(keys.secret)
    return async () => secret
  }
  if (keys.kind === 'public-key') {
    const publicKey = createPublicKey(keys.pem)
    return async () => publicKey
  }
  const keySet = createRemoteJWKSet(new URL(keys.url), {
    timeoutDuration: KEY_SET_TIMEOUT_MS,
    cacheMaxAge: KEY_SET_CACHE_MS,
    cooldownDuration: KEY_SET_COOLDOWN_MS
  })
  return async (header, token) => {
    try {
      return await keySet(header, token)
    } catch (error) {
      if (isOfTheToken(error)) throw error
      throw new RetryableError('token-keys-unavailable', 'could not fetch the keys that tokens are signed with', {
        cause: error
      })
    }
  }
}

/** What a look into the key set says of the token rather than of the set. */
function isOfTheToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  )
}

async function refusable<T>(verified: Promise<T>): Promise<T> {
  try {
    return await verified
  } catch (error) {
    if (error instanceof RetryableError) throw error
    if (error instanceof errors.JWTExpired) throw refusal('expired-token', 'The token has expired: get a new one.')
    if (error instanceof errors.JWTClaimValidationFailed) throw refusedClaim(error.claim)
    // A key that does not fit the algorithm is a TypeError: the header asked for another of the allowed ones.
    if (error instanceof errors.JOSEError || error instanceof TypeError) {
      throw refusal('invalid-token', 'The token is not one that was signed for this service.')
    }
    throw error
  }
}

function principalOf(payload: JWTPayload, customerClaim: string): Principal {
  const { sub, [ROLE_CLAIM]: claimedRole, [customerClaim]: customerId } = payload
  if (sub === undefined || !isId(sub)) throw refusedClaim('sub')
  const user = { id: sub, kind: 'user', scopes: EVERY_SCOPE } as const
  if (claimedRole === PLATFORM_ROLE) {
    // Whose it is must not depend on which of the two claims is read first.
    if (customerId !== undefined) throw refusedClaim(customerClaim)
    return { ...user, customerId: null, role: null }
  }
  const role = USER_ROLES.find((name) => name === claimedRole)
  if (role === undefined) throw refusedClaim(ROLE_CLAIM)
  if (typeof customerId !== 'string' || !isId(customerId)) throw refusedClaim(customerClaim)
  return { ...user, customerId, role }
}

/** As ids are in paths: 1 to 128 characters, none of them a control character. */
function isId(text: string): boolean {
  return /^[^\p{Cc}\u2028\u2029]{1,128}$/u.test(text)
}

function refusedClaim(claim: string): ProblemError {
  return refusal('invalid-token', `The token's ${claim} is not accepted here.`)
}

function refusal(code: 'expired-token' | 'invalid-token', detail: string): ProblemError {
  const headers = { 'www-authenticate': 'Bearer realm="tokenmeter", error="invalid_token"' }
  return new ProblemError(code, detail, { headers })
}
