/**
 * What a usage event is: first stop on the way of one event. It says that a call of an AI model on behalf of a customer
 * used some tokens, at a time the emitter states. A correction (`voided`) takes an earlier event's tokens back.
 */
import type { TokenPools } from './token-pools.ts'

export const USAGE_EVENT_TYPE = 'ai.tokens.used'
export const VOID_EVENT_TYPE = 'ai.tokens.voided'

export interface UsageEvent {
  /** `used` counts; `voided` is a correction: its `id` is the id of the event taken back and its pools are negated. */
  readonly kind: 'used' | 'voided'
  readonly id: string
  readonly source: string
  readonly customerId: string
  /** When the tokens were used, as the emitter says: milliseconds since the epoch. It decides windows and prices. */
  readonly occurredAt: number
  /** Empty when the emitter names no user. */
  readonly userId: string
  readonly model: string
  readonly provider: string
  readonly operation: string
  readonly requestId: string
  /** The hold that this usage settles; empty when there is none. */
  readonly holdId: string
  readonly tokens: TokenPools
  /** Flat strings for analytics, never for billing. */
  readonly metadata: Readonly<Record<string, string>>
}

/** A record of the usage topic as the log keeps it. */
export interface UsageRecord {
  readonly offset: number
  /** The broker's time of arrival, milliseconds since the epoch (the topic has LogAppendTime). */
  readonly arrivedAt: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>
}

/** Why an event was not decoded. Each code is documented in docs/dead-letters.md. */
export type RejectionCode =
  | 'too-large'
  | 'not-json'
  | 'forbidden-key'
  | 'invalid-envelope'
  | 'invalid-data'
  | 'unknown-type'
  | 'usage-does-not-add-up'
  | 'too-late'
  | 'too-early'

/** The outcome for bad input: it names the field (a path such as `data.tokens.input`) when there is one. */
export interface Rejection {
  readonly code: RejectionCode
  readonly field: string | null
  readonly message: string
}

export type Decoded = { readonly event: UsageEvent } | { readonly rejection: Rejection }

/** Why an offset of the log was not counted. */
export type UncountedReason = 'duplicate' | 'conflict' | RejectionCode

/**
 * The identity by which a repeat is known: (customer, source, id), and for a correction the id of what it takes back, so
 * that a second void of one event is a duplicate. Lengths stand in front so that no two identities spell alike.
 */
export function identityOf(event: UsageEvent): string {
  return `${event.customerId.length}:${event.customerId}${event.source.length}:${event.source}${event.kind === 'voided' ? 'v' : 'u'}${event.id}`
}

/** What two events of one identity must agree on; the same identity with another content is a conflict. */
export function contentOf(event: UsageEvent): string {
  const { input, cacheRead, cacheWrite, output, reasoning } = event.tokens
  return `${input},${cacheRead},${cacheWrite},${output},${reasoning},${event.userId.length}:${event.userId}${event.model}`
}
