/** What a route's change brings with it into the store's transaction: who did it, what others are told, what a repeat is answered. */
import { createHash, randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Actor, AuditRecord } from '../../domain/audit/audit-record.ts'
import { type Change, type IdempotentRequest, PLATFORM, type Reach, type StoredAnswer } from '../../domain/change.ts'
import type { JsonObject } from '../../domain/json.ts'
import type { PublishedEvent, PublishedEventType } from '../../domain/published-event.ts'
import type { Principal } from '../access/access-rule.ts'
import { ProblemError } from '../problem.ts'

export interface ChangeTold {
  /** Whose trail it belongs to; null: the platform's own, as a plan. */
  readonly customerId: string | null
  /** `customer.suspended` for instance. */
  readonly action: string
  readonly entity: { readonly kind: string; readonly id: string }
  readonly before: JsonObject | null
  readonly after: JsonObject | null
  /** When, ms. */
  readonly at: number
  /** Types of the events that tell it, with `after` as their data; none for what nobody is told. */
  readonly events?: readonly PublishedEventType[]
  /** Of a POST: what is answered, and answered again. */
  readonly answer?: StoredAnswer
}

/** The principal of a route that is not public. */
export function principalOf({ principal }: Pick<FastifyRequest, 'principal'>): Principal {
  if (principal === null) throw new Error('a public route has no principal')
  return principal
}

/** Whose rows the caller may reach. */
export function reachOf(request: Pick<FastifyRequest, 'principal'>): Reach {
  const { customerId } = principalOf(request)
  return customerId === null ? PLATFORM : { kind: 'customer', customerId }
}

export function actorOf(request: Pick<FastifyRequest, 'principal' | 'ip' | 'id'>): Actor {
  const { kind, id } = principalOf(request)
  return { kind, id, address: request.ip, requestId: request.id }
}

export function changeOf(request: FastifyRequest, told: ChangeTold): Change {
  const { customerId, action, entity, before, after, at, events = [], answer } = told
  const audit: AuditRecord = {
    id: randomUUIDv7(),
    customerId,
    actor: actorOf(request),
    action,
    entity,
    before,
    after,
    at
  }
  return {
    reach: reachOf(request),
    audit: [audit],
    events: events.map((type): PublishedEvent => {
      if (customerId === null || after === null) throw new Error(`${type} tells of no customer`)
      return { id: randomUUIDv7(), type, customerId, at, data: after }
    }),
    request: answer === undefined ? null : idempotentRequest(request, answer)
  }
}

/** Null without an Idempotency-Key. */
function idempotentRequest(request: FastifyRequest, answer: StoredAnswer): IdempotentRequest | null {
  const key = requestKeyOf(request)
  return key === null ? null : { ...key, answer }
}

export const KEY_LENGTH_MAX = 255

/** The caller's key and what it stands for; null when none was given. */
export function requestKeyOf(request: FastifyRequest): Omit<IdempotentRequest, 'answer'> | null {
  const key = request.headers['idempotency-key']
  if (key === undefined) return null
  if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key) || key.length > KEY_LENGTH_MAX) {
    throw new ProblemError('validation-failed', 'See `errors`.', {
      errors: [{ field: 'headers.idempotency-key', message: `must be 1 to ${KEY_LENGTH_MAX} visible ASCII characters` }]
    })
  }
  const { kind, customerId, id } = principalOf(request)
  const fingerprint = createHash('sha256')
    .update(`${request.method} ${request.url}\n${bodyText(request)}`)
    .digest('hex')
  // As a list: ids may hold whatever would part them, and no two callers may be one.
  return { caller: JSON.stringify([kind, customerId, id]), key, fingerprint }
}

/** A parser reads lists within lists that are too deep to be written again. */
function bodyText({ body = null }: FastifyRequest): string {
  try {
    return JSON.stringify(body)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ProblemError('validation-failed', 'See `errors`.', {
      errors: [{ field: '', message: 'has too many levels' }],
      cause: error
    })
  }
}
