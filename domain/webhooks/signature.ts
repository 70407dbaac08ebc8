/**
 * Signatures of Standard Webhooks 1.0 (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body, so that none of the
 * three can be changed or the whole be sent again much later.
 */
import { createHmac } from 'node:crypto'

const SECRET_PREFIX = 'whsec_'

export interface Signed {
  readonly id: string
  /** Of the attempt, ms. */
  readonly at: number
  readonly payload: string
}

/** The headers of an attempt: one signature for each secret, so that a receiver may know either while one replaces the other. */
export function signatureHeaders({ id, at, payload }: Signed, secrets: readonly string[]) {
  const timestamp = String(Math.floor(at / 1_000))
  const signatures = secrets.map((secret) => `v1,${hmacOf(secret, `${id}.${timestamp}.${payload}`)}`)
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}

function hmacOf(secret: string, text: string): string {
  const key = Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64')
  return createHmac('sha256', key).update(text).digest('base64')
}
