/** Tokens and the credentials beside them, for tests. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'
import { NOW } from '../ports-in-memory.ts'
import type { TokenRules } from './verify-token.ts'

export const ISSUER = 'https://gateway.test'
export const AUDIENCE = 'tokenmeter'
export const KEYS = generateKeyPairSync('ec', { namedCurve: 'P-256' })
export const PUBLIC_PEM = KEYS.publicKey.export({ type: 'spki', format: 'pem' }).toString()
/** Of the rules below: a token is good for so long after its exp. */
export const LEEWAY_SECONDS = 30

export const RULES: TokenRules = {
  algorithms: ['ES256'],
  issuer: ISSUER,
  audience: AUDIENCE,
  customerClaim: 'customer_id',
  leewaySeconds: LEEWAY_SECONDS,
  keys: { kind: 'public-key', pem: PUBLIC_PEM }
}

export interface TokenChoice {
  readonly header?: Readonly<Record<string, unknown>>
  /** Undefined takes a claim out. */
  readonly claims?: Readonly<Record<string, unknown>>
  readonly key?: KeyObject | Uint8Array
}

/** A good token of a platform user unless told. */
export async function tokenOf({ header = {}, claims = {}, key = KEYS.privateKey }: TokenChoice = {}): Promise<string> {
  const seconds = NOW / 1_000
  const all = { iss: ISSUER, aud: AUDIENCE, sub: 'ada', tokenmeter_role: 'platform', exp: seconds + 600, ...claims }
  const payload: JWTPayload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', ...header }).sign(key)
}
