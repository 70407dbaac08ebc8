/** Who did what to which entity: written in the transaction of the change itself, never changed afterwards. */
import type { JsonObject } from '../json.ts'

export interface Actor {
  /** `service`: another service of the platform, or one of our own jobs. */
  readonly kind: 'api-key' | 'user' | 'service'
  readonly id: string
  /** From where, an IP address; null when nobody called. */
  readonly address: string | null
  /** Of the request, to be found in the log. */
  readonly requestId: string | null
}

export interface AuditRecord {
  /** A UUID: v7 of a record made here, v8 of one that another service told (`auditIdOf`). What comes twice under one id is kept once. */
  readonly id: string
  /** Whose trail it belongs to; null: the platform's own. */
  readonly customerId: string | null
  readonly actor: Actor
  /** Noun and past tense, `customer.suspended` for instance. */
  readonly action: string
  readonly entity: { readonly kind: string; readonly id: string }
  /** The entity before and after; null when there was or is none, or when the sender tells neither. */
  readonly before: JsonObject | null
  readonly after: JsonObject | null
  /** When, ms. */
  readonly at: number
  /** The event by which another service told it; absent when the record was made here. */
  readonly origin?: { readonly source: string; readonly id: string }
}
