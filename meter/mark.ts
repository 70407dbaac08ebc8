/**
 * The duplicate mark of an event: where it lies and what it says. A mark is 8 bytes of the identity's SHA-1 in the bucket that
 * 4 more of its bytes choose (so ≥ 64 bits tell identities apart), and 2 bytes that tell contents apart.
 */
import { hash } from 'node:crypto'
import { contentOf, identityOf, type UsageEvent } from '../domain/tokens/usage-event.ts'

export const MARK_ID_BYTES = 8
export const MARK_FINGERPRINT_BYTES = 2

export interface Mark {
  readonly bucket: number
  /** Bytes, one a character (latin1). */
  readonly id: string
  /** In [0, 65536). */
  readonly fingerprint: number
}

export function markOf(event: UsageEvent, buckets: number): Mark {
  // As text: 0.8 µs where a buffer of Node's takes 2.2.
  const digest = hash('sha1', identityOf(event), 'binary')
  return {
    bucket: unsigned32(digest, MARK_ID_BYTES) % buckets,
    id: digest.slice(0, MARK_ID_BYTES),
    fingerprint: fingerprintOf(contentOf(event))
  }
}

/** Little-endian, in [0, 2^32). */
function unsigned32(bytes: string, at: number): number {
  const [lowest, low, high] = [bytes.charCodeAt(at), bytes.charCodeAt(at + 1), bytes.charCodeAt(at + 2)]
  return (lowest | (low << 8) | (high << 16) | (bytes.charCodeAt(at + 3) << 24)) >>> 0
}

/** Which generation of marks an arrival belongs to. A repeat is looked for in its own, the one before and later ones. */
export function markGenerationOf(arrivedAt: number, markGenerationMs: number): number {
  return Math.floor(arrivedAt / markGenerationMs)
}

/** FNV-1a over UTF-16 units, folded to 16 bits. Nobody gains by a forged collision: the first event's numbers stand anyway. */
function fingerprintOf(content: string): number {
  let state = 0x811c9dc5
  for (let i = 0; i < content.length; i++) state = Math.imul(state ^ content.charCodeAt(i), 0x01000193)
  return (state ^ (state >>> 16)) & 0xffff
}
