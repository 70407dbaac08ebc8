/** API keys of the configuration: the platform's own, which open everything and need no store to be known. */
import { timingSafeEqual } from 'node:crypto'
import { type Principal, SCOPES } from './access-rule.ts'

/** A key as the configuration holds it: never the key itself. */
export interface ConfiguredKey {
  readonly name: string
  /** SHA-256 of the key, 32 bytes. Keys are random, so a slow hash would add nothing. */
  readonly sha256: Buffer
}

/**
 * Reads `name:hash,name:hash`, the hash being 64 hexadecimal digits of the key's SHA-256. Several keys live side by side, so
 * that one can be replaced without a pause. Throws on anything else.
 */
export function parseApiKeys(list: string): readonly ConfiguredKey[] {
  const keys = list
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part, index): ConfiguredKey => {
      const { name, hash } = /^(?<name>[\w.-]{1,64}):(?<hash>[0-9a-f]{64})$/i.exec(part.trim())?.groups ?? {}
      if (name === undefined || hash === undefined) {
        throw new Error(`API key ${index + 1} is not name:sha256 with 64 hexadecimal digits`)
      }
      return { name, sha256: Buffer.from(hash, 'hex') }
    })
  if (new Set(keys.map(({ name }) => name)).size !== keys.length) throw new Error('two API keys have one name')
  return keys
}

/** By the hash of what was presented. Compares with every key in constant time, whether or not an earlier one fits. */
export function findConfigured(keys: readonly ConfiguredKey[], hash: string): Principal | null {
  const sha256 = Buffer.from(hash, 'hex')
  const found = keys.filter((key) => timingSafeEqual(key.sha256, sha256))[0]
  if (found === undefined) return null
  return { id: found.name, kind: 'api-key', customerId: null, role: null, scopes: EVERY_SCOPE }
}

export const EVERY_SCOPE: ReadonlySet<(typeof SCOPES)[number]> = new Set(SCOPES)
