/**
 * A record of the audit topic becomes an audit record or a rejection bound for the dead-letter topic. CloudEvents 1.0 in both
 * modes of the Kafka binding, of type `audit.recorded`; the subject is the customer, none is the platform's own trail. Data:
 * `{ action, actor: { kind, id, address? }, entity: { kind, id }, before?, after?, requestId? }`.
 *
 * Nothing that Postgres could not keep as it came gets past here: one such record would stop its partition for good.
 */
import { createHash } from 'node:crypto'
import type { Actor, AuditRecord } from '../../domain/audit/audit-record.ts'
import type { Json, JsonObject } from '../../domain/json.ts'
import {
  DATA_REQUIRED,
  DEFAULT_DECODE_LIMITS,
  dataOf,
  TEXT_LENGTH_MAX,
  timeOf
} from '../../domain/tokens/decode-cloud-event.ts'
import { FieldReader, FirstFault, findUnsafe, isObject, shownKey } from '../../domain/tokens/field-reader.ts'
import type { Rejection, UsageRecord } from '../../domain/tokens/usage-event.ts'
import { readEnvelope } from '../decode-usage-event.ts'

export const AUDIT_EVENT_TYPE = 'audit.recorded'
/** An entity before and after, each as large as the API takes one, need not fit: half of both is plenty. */
export const AUDIT_VALUE_BYTES_MAX = 262_144

export type DecodedAudit = { readonly record: AuditRecord } | { readonly rejection: Rejection }

const ACTOR_KINDS: readonly Actor['kind'][] = ['api-key', 'user', 'service']
const ACTION = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$/i
/** Longest texts, in UTF-16 units. An address may be an IPv6 address with a zone. */
const LENGTH_MAX = { id: 128, kind: 64, action: 128, address: 64 } as const
const DATA_KEYS: ReadonlySet<string> = new Set(['action', 'actor', 'entity', 'before', 'after', 'requestId'])
const ACTOR_KEYS: ReadonlySet<string> = new Set(['kind', 'id', 'address'])
const ENTITY_KEYS: ReadonlySet<string> = new Set(['kind', 'id'])

/** A function of the record alone: reading it again decides the same. */
export function decodeAuditEvent(record: UsageRecord): DecodedAudit {
  const read = readEnvelope(record, AUDIT_VALUE_BYTES_MAX)
  if ('rejection' in read) return read
  const { envelope } = read
  const fault = new FirstFault()
  if (!isObject(envelope)) {
    fault.reject('invalid-envelope', null, 'the event must be a JSON object')
    return { rejection: fault.rejection ?? DATA_REQUIRED }
  }
  refuseUnsafe(envelope, fault)
  if (fault.rejection !== null) return { rejection: fault.rejection }
  const attributes = new FieldReader(envelope, { code: 'invalid-envelope', path: '', fault })
  checkType(attributes)
  const at = timeOf(attributes)
  if (at > record.arrivedAt + DEFAULT_DECODE_LIMITS.leadMs) {
    attributes.reject('time', `lies ${at - record.arrivedAt} ms after the arrival`, 'too-early')
  }
  const source = attributes.text('source', TEXT_LENGTH_MAX.source)
  const id = attributes.text('id', TEXT_LENGTH_MAX.id)
  const customerId = attributes.optionalText('subject', TEXT_LENGTH_MAX.customerId) || null
  const fields = dataOf(envelope, fault)
  if (fields === null) return { rejection: fault.rejection ?? DATA_REQUIRED }
  const told = readData(fields)
  if (fault.rejection !== null) return { rejection: fault.rejection }
  return { record: { id: auditIdOf({ customerId, source, id }), customerId, ...told, at, origin: { source, id } } }
}

/**
 * The id of a record that another service told: a UUID v8 (RFC 9562) of customer, source and id, the identity of a CloudEvent as
 * this product has it everywhere. A JSON list spells no two identities alike.
 */
export function auditIdOf(identity: {
  readonly customerId: string | null
  readonly source: string
  readonly id: string
}): string {
  const { customerId, source, id } = identity
  const digest = createHash('sha256')
    .update(JSON.stringify([customerId, source, id]))
    .digest()
  digest[6] = (digest.readUInt8(6) & 0x0f) | 0x80
  digest[8] = (digest.readUInt8(8) & 0x3f) | 0x80
  return digest.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function refuseUnsafe(envelope: Readonly<Record<string, unknown>>, fault: FirstFault): void {
  const unsafe = findUnsafe(envelope)
  if (unsafe === null) return
  if (unsafe.why === 'too-deep') fault.reject('invalid-envelope', null, 'the event is nested too deep')
  else fault.reject('forbidden-key', unsafe.key, 'must not be a key anywhere in the event')
}

function checkType(attributes: FieldReader): void {
  const version = attributes.value('specversion')
  if (version !== '1.0') attributes.reject('specversion', version === undefined ? 'is required' : 'must be "1.0"')
  const type = attributes.value('type')
  if (typeof type !== 'string') attributes.reject('type', 'must be a string')
  else if (type !== AUDIT_EVENT_TYPE) attributes.reject('type', `must be ${AUDIT_EVENT_TYPE}`, 'unknown-type')
}

function readData(fields: FieldReader): Pick<AuditRecord, 'action' | 'actor' | 'entity' | 'before' | 'after'> {
  fields.refuseUnknown(DATA_KEYS)
  const action = fields.text('action', LENGTH_MAX.action)
  if (!ACTION.test(action))
    fields.reject('action', 'must be a noun and a verb with a dot between them, as invoice.paid')
  const requestId = fields.optionalText('requestId', LENGTH_MAX.id) || null
  return {
    action,
    actor: readActor(fields, requestId),
    entity: readEntity(fields),
    before: readState(fields, 'before'),
    after: readState(fields, 'after')
  }
}

function readActor(fields: FieldReader, requestId: string | null): Actor {
  const actor = fields.object('actor')
  if (actor === null) return { kind: 'service', id: '', address: null, requestId }
  actor.refuseUnknown(ACTOR_KEYS)
  const said = actor.value('kind')
  const kind = ACTOR_KINDS.find((known) => known === said)
  if (kind === undefined) actor.reject('kind', `must be one of ${ACTOR_KINDS.join(', ')}`)
  const address = actor.optionalText('address', LENGTH_MAX.address) || null
  return { kind: kind ?? 'service', id: actor.text('id', LENGTH_MAX.id), address, requestId }
}

function readEntity(fields: FieldReader): AuditRecord['entity'] {
  const entity = fields.object('entity')
  if (entity === null) return { kind: '', id: '' }
  entity.refuseUnknown(ENTITY_KEYS)
  return { kind: entity.text('kind', LENGTH_MAX.kind), id: entity.text('id', LENGTH_MAX.id) }
}

/** An entity in whatever shape its service gives it. */
function readState(fields: FieldReader, key: 'before' | 'after'): JsonObject | null {
  const value = fields.value(key)
  if (value === undefined || value === null) return null
  if (!isJsonObject(value)) {
    fields.reject(key, 'must be an object or null')
    return null
  }
  const place = findUnkept(value)
  if (place !== null)
    fields.reject(
      `${key}.${shownKey(place)}`,
      'must be what can be kept as it is: no U+0000, no half of a surrogate pair, no number beyond a double'
    )
  return value
}

/** It was parsed from JSON, so that an object holds nothing but JSON. */
function isJsonObject(value: unknown): value is JsonObject {
  return isObject(value)
}

/**
 * The member whose text Postgres refuses (U+0000, half a surrogate pair) or whose number is no double's: 1e400 is parsed as
 * Infinity, which JSON can't say again. Never deep: `findUnsafe` has been here.
 */
function findUnkept(object: JsonObject): string | null {
  for (const [name, value] of Object.entries(object)) {
    if (!isKept(name) || !isKept(value)) return name
  }
  return null
}

function isKept(value: Json): boolean {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0')
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([name, member]) => isKept(name) && isKept(member))
}
