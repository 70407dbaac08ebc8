/**
 * A parsed CloudEvents 1.0 envelope becomes a `UsageEvent` or a rejection. Kafka records and HTTP bodies both end here, so
 * that one set of rules decides what counts. A function of the envelope and its time of arrival alone: no clock, no look-up.
 *
 * A used event's data: `{ userId?, model, provider, operation?, requestId?, holdId?, tokens | usage, metadata? }`.
 * A correction's data: `{ voids: { id, source }, userId?, model, provider, operation?, requestId?, tokens, metadata? }` with
 * the pools negated; its envelope has the voided event's source, subject and time, and the id `void:<voided id>`.
 *
 * A number is what a double makes of it, as with any JSON reader: 9007199254740993 arrives as 2^53 and is refused like it.
 */

import { parseRfc3339 } from '../rfc3339-time.ts'
import {
  FieldReader,
  type FieldScope,
  FirstFault,
  findUnsafe,
  isObject,
  isPrintable,
  shownKey
} from './field-reader.ts'
import { poolsFromProviderUsage } from './provider-usage.ts'
import { NO_TOKENS, TOKEN_POOLS, type TokenPools, totalTokens } from './token-pools.ts'
import { type Decoded, type RejectionCode, USAGE_EVENT_TYPE, type UsageEvent, VOID_EVENT_TYPE } from './usage-event.ts'

export interface DecodeLimits {
  /** Bytes of a record's value, or of the JSON of one event by HTTP. */
  readonly valueBytesMax: number
  /** How long before its arrival an event may have happened. Never more than the duplicate window. */
  readonly acceptanceWindowMs: number
  /** How far the emitter's clock may be ahead of the broker's. */
  readonly leadMs: number
}

export const DEFAULT_DECODE_LIMITS: DecodeLimits = {
  valueBytesMax: 65_536,
  acceptanceWindowMs: 86_400_000,
  leadMs: 300_000
}

/** Longest texts, in UTF-16 units. */
export const TEXT_LENGTH_MAX = {
  id: 128,
  source: 128,
  customerId: 128,
  userId: 128,
  model: 128,
  provider: 64,
  operation: 64,
  requestId: 128,
  holdId: 128,
  metadataKey: 64,
  metadataValue: 256
} as const

export const METADATA_KEYS_MAX = 32

const VOID_ID_PREFIX = 'void:'

/** The envelope id of the correction that takes an event back: one per event, so that a second one is the same event. */
export function voidEnvelopeId(voidedId: string): string {
  return `${VOID_ID_PREFIX}${voidedId}`
}

const SHARED_KEYS = ['userId', 'model', 'provider', 'operation', 'requestId', 'tokens', 'metadata']
const USED_KEYS: ReadonlySet<string> = new Set([...SHARED_KEYS, 'holdId', 'usage'])
const VOIDED_KEYS: ReadonlySet<string> = new Set([...SHARED_KEYS, 'voids'])
const POOL_KEYS: ReadonlySet<string> = new Set(TOKEN_POOLS)
const VOIDS_KEYS: ReadonlySet<string> = new Set(['id', 'source'])
const JSON_CONTENT_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** `arrivedAt` in milliseconds since the epoch. Attributes of the envelope that are not named above are passed over. */
export function decodeCloudEvent(envelope: unknown, arrivedAt: number, limits: DecodeLimits): Decoded {
  if (!isObject(envelope)) return rejected('invalid-envelope', null, 'the event must be a JSON object')
  const unsafe = findUnsafe(envelope)
  if (unsafe !== null) {
    if (unsafe.why === 'too-deep') return rejected('invalid-envelope', null, 'the event is nested too deep')
    return rejected('forbidden-key', unsafe.key, 'must not be a key anywhere in the event')
  }
  const fault = new FirstFault()
  const attributes = new FieldReader(envelope, { code: 'invalid-envelope', path: '', fault })
  const kind = kindOf(attributes)
  const occurredAt = timeOf(attributes)
  const id = attributes.text('id', TEXT_LENGTH_MAX.id + (kind === 'voided' ? VOID_ID_PREFIX.length : 0))
  const source = attributes.text('source', TEXT_LENGTH_MAX.source)
  const customerId = attributes.text('subject', TEXT_LENGTH_MAX.customerId)
  const fields = dataOf(envelope, fault)
  if (fault.rejection !== null || fields === null) return { rejection: fault.rejection ?? DATA_REQUIRED }

  fields.refuseUnknown(kind === 'used' ? USED_KEYS : VOIDED_KEYS)
  const provider = fields.text('provider', TEXT_LENGTH_MAX.provider)
  const event: UsageEvent = {
    kind,
    id: kind === 'used' ? id : voidedIdOf(fields, id, source),
    source,
    customerId,
    occurredAt,
    userId: fields.optionalText('userId', TEXT_LENGTH_MAX.userId),
    model: fields.text('model', TEXT_LENGTH_MAX.model),
    provider,
    operation: fields.optionalText('operation', TEXT_LENGTH_MAX.operation),
    requestId: fields.optionalText('requestId', TEXT_LENGTH_MAX.requestId),
    holdId: kind === 'used' ? fields.optionalText('holdId', TEXT_LENGTH_MAX.holdId) : '',
    tokens: kind === 'used' ? usedTokensOf(fields, provider, fault) : negatedPoolsOf(fields),
    metadata: metadataOf(fields)
  }
  if (kind === 'used') checkAcceptance(attributes, occurredAt - arrivedAt, limits)
  return fault.rejection === null ? { event } : { rejection: fault.rejection }
}

/** What is said of an event without data. */
export const DATA_REQUIRED = { code: 'invalid-data', field: 'data', message: 'must be a JSON object' } as const

function rejected(code: RejectionCode, field: string | null, message: string): Decoded {
  return { rejection: { code, field, message } }
}

function kindOf(attributes: FieldReader): UsageEvent['kind'] {
  const version = attributes.value('specversion')
  if (version !== '1.0') attributes.reject('specversion', version === undefined ? 'is required' : 'must be "1.0"')
  const type = attributes.value('type')
  if (type === USAGE_EVENT_TYPE) return 'used'
  if (type === VOID_EVENT_TYPE) return 'voided'
  if (typeof type !== 'string') attributes.reject('type', 'must be a string')
  else attributes.reject('type', `must be ${USAGE_EVENT_TYPE} or ${VOID_EVENT_TYPE}`, 'unknown-type')
  return 'used'
}

/** The time of any CloudEvent; 0 after a fault. */
export function timeOf(attributes: FieldReader): number {
  const text = attributes.value('time')
  const instant = typeof text === 'string' ? parseRfc3339(text) : null
  if (instant !== null) return instant
  const required = text === undefined || text === null
  attributes.reject('time', required ? 'is required' : 'must be an RFC 3339 time with an offset, from 1970 on')
  return 0
}

/** The data of any CloudEvent, which must be a JSON object; null after a fault. */
export function dataOf(envelope: Readonly<Record<string, unknown>>, fault: FirstFault): FieldReader | null {
  const contentType = envelope.datacontenttype
  if (contentType !== undefined && contentType !== null && !isJsonContentType(contentType)) {
    fault.reject('invalid-envelope', 'datacontenttype', 'must be application/json')
  }
  if (envelope.data_base64 !== undefined)
    fault.reject('invalid-envelope', 'data_base64', 'must be JSON in "data" instead')
  const scope: FieldScope = { code: 'invalid-data', path: 'data.', fault }
  if (isObject(envelope.data)) return new FieldReader(envelope.data, scope)
  fault.reject(DATA_REQUIRED.code, DATA_REQUIRED.field, DATA_REQUIRED.message)
  return null
}

/** Whether a content type says JSON, with any parameters. */
export function isJsonContentType(contentType: unknown): boolean {
  return typeof contentType === 'string' && JSON_CONTENT_TYPE.test(contentType)
}

function voidedIdOf(fields: FieldReader, envelopeId: string, source: string): string {
  const voids = fields.object('voids')
  if (voids === null) return ''
  voids.refuseUnknown(VOIDS_KEYS)
  const id = voids.text('id', TEXT_LENGTH_MAX.id)
  if (envelopeId !== voidEnvelopeId(id)) voids.reject('id', `must be the envelope's id without ${VOID_ID_PREFIX}`)
  if (voids.text('source', TEXT_LENGTH_MAX.source) !== source) voids.reject('source', "must be the envelope's source")
  return id
}

function usedTokensOf(fields: FieldReader, provider: string, fault: FirstFault): TokenPools {
  if (fields.has('tokens') && fields.has('usage')) fields.reject('usage', 'must not stand beside tokens')
  if (!fields.has('usage')) return poolsOf(fields, 'count')
  const read = poolsFromProviderUsage(provider, fields.value('usage'))
  if ('tokens' in read) return read.tokens
  fault.reject(read.rejection.code, read.rejection.field, read.rejection.message)
  return NO_TOKENS
}

function negatedPoolsOf(fields: FieldReader): TokenPools {
  return poolsOf(fields, 'negatedCount')
}

/** Pools that are not named are 0; one at least must be named. */
function poolsOf(fields: FieldReader, read: 'count' | 'negatedCount'): TokenPools {
  const pools = fields.object('tokens')
  if (pools === null) return NO_TOKENS
  pools.refuseUnknown(POOL_KEYS)
  if (pools.keys().length === 0) fields.reject('tokens', 'must name at least one pool')
  const tokens: TokenPools = {
    input: pools.value('input') === undefined ? 0 : pools[read]('input'),
    cacheRead: pools.value('cacheRead') === undefined ? 0 : pools[read]('cacheRead'),
    cacheWrite: pools.value('cacheWrite') === undefined ? 0 : pools[read]('cacheWrite'),
    output: pools.value('output') === undefined ? 0 : pools[read]('output'),
    reasoning: pools.value('reasoning') === undefined ? 0 : pools[read]('reasoning')
  }
  if (!Number.isSafeInteger(totalTokens(tokens))) fields.reject('tokens', 'must sum to less than 2^53')
  return tokens
}

function metadataOf(fields: FieldReader): Readonly<Record<string, string>> {
  const reader = fields.optionalObject('metadata')
  const metadata: Record<string, string> = {}
  if (reader === null) return metadata
  const keys = reader.keys()
  if (keys.length > METADATA_KEYS_MAX) fields.reject('metadata', `must have at most ${METADATA_KEYS_MAX} keys`)
  for (const key of keys.slice(0, METADATA_KEYS_MAX)) {
    const value = reader.value(key)
    if (key.length > TEXT_LENGTH_MAX.metadataKey || !isPrintable(key)) {
      reader.reject(shownKey(key), `must be a key of 1 to ${TEXT_LENGTH_MAX.metadataKey} printable characters`)
    } else if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) {
      metadata[key] = String(value)
    } else {
      metadata[key] = value === '' ? '' : reader.text(key, TEXT_LENGTH_MAX.metadataValue)
    }
  }
  return metadata
}

function checkAcceptance(attributes: FieldReader, sinceArrivalMs: number, limits: DecodeLimits): void {
  if (sinceArrivalMs < -limits.acceptanceWindowMs) {
    const late = `lies ${-sinceArrivalMs} ms before the arrival; ${limits.acceptanceWindowMs} ms are accepted`
    attributes.reject('time', late, 'too-late')
  } else if (sinceArrivalMs > limits.leadMs) {
    attributes.reject(
      'time',
      `lies ${sinceArrivalMs} ms after the arrival; ${limits.leadMs} ms are accepted`,
      'too-early'
    )
  }
}
