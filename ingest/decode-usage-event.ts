/**
 * Fourth stop on the way of one event: a record of the usage topic becomes a `UsageEvent` or a rejection bound for the
 * dead-letter topic. It reads CloudEvents 1.0 in both modes of the Kafka binding: *structured*, the whole envelope as JSON in
 * the value (content type `application/cloudevents+json`, or none), and *binary*, attributes in `ce_` headers and the data
 * alone in the value. A function of the record alone: a replay decides the same again.
 *
 * An event that is written plainly is read by `readPlainUsageEvent` in 2 µs. Any other takes 7 (2 busy cores, Node 24), 3 of them in
 * JSON.parse and 4 in the checks, which are written by hand: they name the field, and the domain depends on no schema compiler.
 *
 * Source: github.com/cloudevents/spec, cloudevents/bindings/kafka-protocol-binding.md.
 */
import { isUtf8 } from 'node:buffer'
import { type DecodeLimits, decodeCloudEvent, isJsonContentType } from '../domain/tokens/decode-cloud-event.ts'
import { readPlainUsageEvent } from '../domain/tokens/plain-usage-event.ts'
import type { Decoded, Rejection, RejectionCode, UsageEvent, UsageRecord } from '../domain/tokens/usage-event.ts'

const ATTRIBUTES = ['specversion', 'id', 'source', 'type', 'subject', 'time'] as const
const STRUCTURED_CONTENT_TYPE = /^application\/cloudevents\+json\s*(?:;|$)/i
const ANY_CLOUD_EVENTS = /^application\/cloudevents/i

type Headers = UsageRecord['headers']

export function decodeUsageEvent(record: UsageRecord, limits: DecodeLimits): Decoded {
  const plain = readPlain(record, limits)
  if (plain !== null) return { event: plain }
  const read = readEnvelope(record, limits.valueBytesMax)
  return 'rejection' in read ? read : decodeCloudEvent(read.envelope, record.arrivedAt, limits)
}

function readPlain({ value, headers, arrivedAt }: UsageRecord, limits: DecodeLimits): UsageEvent | null {
  if (value === null || value.length > limits.valueBytesMax || modeOf(headers) !== 'structured') return null
  return readPlainUsageEvent(value.toString('latin1'), arrivedAt, limits)
}

/** The CloudEvents envelope that a record holds, in either mode, with nothing looked at but its form. For any topic of ours. */
export function readEnvelope(
  { value, headers }: Pick<UsageRecord, 'value' | 'headers'>,
  valueBytesMax: number
): { readonly envelope: unknown } | { readonly rejection: Rejection } {
  if (value === null || value.length === 0) {
    return rejected(
      'invalid-envelope',
      null,
      'the value is empty: what was told is taken back by another event, not by a tombstone'
    )
  }
  if (value.length > valueBytesMax) {
    return rejected('too-large', null, `the value has ${value.length} bytes; ${valueBytesMax} are accepted`)
  }
  const mode = modeOf(headers)
  if (mode === null) {
    return rejected(
      'invalid-envelope',
      'content-type',
      'must be application/cloudevents+json, or application/json in binary mode'
    )
  }
  const parsed = parse(value)
  if (parsed === null) return rejected('not-json', null, 'the value is not JSON in UTF-8')
  if (mode === 'structured') return { envelope: parsed.json }
  const envelope: Record<string, unknown> = { data: parsed.json }
  for (const name of ATTRIBUTES) {
    const attribute = headers[`ce_${name}`]
    if (attribute === undefined) continue
    const text = textOf(attribute)
    if (text === null) return rejected('invalid-envelope', name, `the header ce_${name} must be one UTF-8 text`)
    envelope[name] = text
  }
  return { envelope }
}

function rejected(code: RejectionCode, field: string | null, message: string): { readonly rejection: Rejection } {
  return { rejection: { code, field, message } }
}

/** Structured when the content type says so, binary when `ce_` attributes stand in headers, else an envelope in plain JSON. */
function modeOf(headers: Headers): 'structured' | 'binary' | null {
  const header = headers['content-type']
  const contentType = header === undefined ? '' : textOf(header)
  if (contentType === null) return null
  if (ANY_CLOUD_EVENTS.test(contentType)) return STRUCTURED_CONTENT_TYPE.test(contentType) ? 'structured' : null
  if (contentType !== '' && !isJsonContentType(contentType)) return null
  return ATTRIBUTES.some((name) => headers[`ce_${name}`] !== undefined) ? 'binary' : 'structured'
}

/** Null when the header came several times or is not UTF-8: replaced bytes could make two identities one. */
function textOf(header: NonNullable<Headers[string]>): string | null {
  if (typeof header === 'string') return header
  if (Array.isArray(header)) return null
  return isUtf8(header) ? header.toString('utf8') : null
}

function parse(value: Buffer): { readonly json: unknown } | null {
  if (!isUtf8(value)) return null
  try {
    return { json: JSON.parse(value.toString('utf8')) }
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
