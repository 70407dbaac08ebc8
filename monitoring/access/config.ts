/** Variables of who may call the API and how often, beside `API_KEYS`. The rules of config.ts apply. */
import Type, { type Static } from 'typebox'

const ALGORITHM = '(HS|RS|PS|ES)(256|384|512)|EdDSA'

export const accessVariables = Type.Object({
  API_TRUSTED_PROXIES: Type.Unsafe<readonly string[]>({
    type: 'string',
    separator: ',',
    pattern: String.raw`^([\da-fA-F.:]+(/\d{1,3})?(,[\da-fA-F.:]+(/\d{1,3})?)*)?$`,
    default: '',
    examples: ['10.0.0.0/24'],
    description:
      "Addresses or networks of the gateway and balancers, whose X-Forwarded-For tells the caller's address, for the audit trail and the limit on failures. Unset: none is believed. Too wide: callers choose their address."
  }),
  API_KEY_ENVIRONMENT: Type.String({
    pattern: '^[a-z0-9]{1,16}$',
    default: 'live',
    description:
      "Stands in each API key that is made, tm_live_…, so that a key of one installation is not taken for another's."
  }),
  API_RATE_LIMIT_PER_MINUTE: Type.Integer({
    minimum: 0,
    default: 60_000,
    description:
      'Requests of one credential a minute, in each API process; beyond it 429. 0: no limit, and none on failed attempts to sign in either.'
  }),
  AUTH_CACHE_MS: Type.Integer({
    minimum: 0,
    maximum: 60_000,
    default: 5_000,
    description:
      'Milliseconds for which an API key or token is known without asking Postgres: for so long a revoked one goes on. 0: each request asks.'
  }),
  JWT_ALGORITHMS: Type.Unsafe<readonly string[]>({
    type: 'string',
    separator: ',',
    pattern: `^((${ALGORITHM})(,(${ALGORITHM}))*)?$`,
    default: '',
    examples: ['ES256'],
    description:
      "Signatures that are accepted of users' tokens, with one of the three kinds of key below. Unset: no token is taken. HS… and the others never together."
  }),
  JWT_ISSUER: Type.Optional(
    Type.String({ examples: ['https://gateway.example'], description: 'Who must have issued a token (iss).' })
  ),
  JWT_AUDIENCE: Type.Optional(
    Type.String({
      examples: ['tokenmeter'],
      description: 'For whom a token must be (aud): no token of another service.'
    })
  ),
  JWT_JWKS_URL: Type.Optional(
    Type.String({
      pattern: '^https?://',
      examples: ['https://gateway.example/.well-known/jwks.json'],
      description: 'Where the gateway publishes its public keys. Fetched when first needed; away, tokens are 503.'
    })
  ),
  JWT_PUBLIC_KEY: Type.Optional(
    Type.String({
      pattern: '^-----BEGIN PUBLIC KEY-----',
      description: String.raw`Instead of JWT_JWKS_URL: the gateway's one public key as PEM; a line end may be written \n.`
    })
  ),
  JWT_SECRET: Type.Optional(
    Type.String({
      minLength: 32,
      description:
        'Instead of either: shared with the gateway, for HS… alone. Whoever has it can make tokens: prefer a public key.'
    })
  ),
  JWT_CUSTOMER_CLAIM: Type.String({
    minLength: 1,
    default: 'customer_id',
    description: "Claim with the id of the user's customer."
  }),
  JWT_LEEWAY_SECONDS: Type.Integer({
    minimum: 0,
    maximum: 300,
    default: 30,
    description: 'Seconds by which clocks may differ: a token is taken so long before nbf and after exp.'
  })
})

/** What one variable alone can't tell. */
export function findAccessContradictions(env: Partial<Static<typeof accessVariables>>): string[] {
  const { JWT_ALGORITHMS: algorithms = [], JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = env
  const keys = [env.JWT_JWKS_URL, env.JWT_PUBLIC_KEY, env.JWT_SECRET].filter((key) => key !== undefined)
  const isTaken = algorithms.length > 0
  if (!isTaken && keys.length > 0) return ['JWT_ALGORITHMS must be set beside the key of tokens']
  if (!isTaken) return []
  const faults: string[] = []
  if (issuer === undefined || audience === undefined) {
    faults.push('JWT_ISSUER and JWT_AUDIENCE must be set with JWT_ALGORITHMS: else any token of the gateway opens')
  }
  if (keys.length !== 1) {
    faults.push('JWT_ALGORITHMS needs one of JWT_JWKS_URL, JWT_PUBLIC_KEY and JWT_SECRET, and no other')
  }
  const isShared = env.JWT_SECRET !== undefined
  if (keys.length === 1 && algorithms.some((algorithm) => algorithm.startsWith('HS') !== isShared)) {
    faults.push('JWT_ALGORITHMS HS256, HS384 and HS512 are for JWT_SECRET, all others for public keys')
  }
  return faults
}
