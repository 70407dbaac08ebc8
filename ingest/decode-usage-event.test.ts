import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_DECODE_LIMITS, METADATA_KEYS_MAX } from '../domain/tokens/decode-cloud-event.ts'
import type { TokenPools } from '../domain/tokens/token-pools.ts'
import type { Decoded, UsageEvent, UsageRecord } from '../domain/tokens/usage-event.ts'
import { decodeUsageEvent } from './decode-usage-event.ts'
import { encodeUsageEvent } from './encode-usage-event.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const ARRIVED_AT = Date.UTC(2026, 9, 10, 12)
const STRUCTURED = { 'content-type': 'application/cloudevents+json; charset=UTF-8' }
const ENVELOPE = {
  specversion: '1.0',
  id: 'e-1',
  source: '/gateway',
  type: 'ai.tokens.used',
  subject: 'acme',
  time: '2026-10-10T12:00:00Z',
  data: { model: 'gpt-5', provider: 'openai', tokens: { input: 7 } }
}
const BINARY = {
  'content-type': Buffer.from('application/json'),
  ce_specversion: Buffer.from('1.0'),
  ce_id: Buffer.from('e-1'),
  ce_source: Buffer.from('/gateway'),
  ce_type: Buffer.from('ai.tokens.used'),
  ce_subject: Buffer.from('acme'),
  ce_time: Buffer.from('2026-10-10T12:00:00Z'),
  ce_traceparent: Buffer.from('00-1-2-01')
}

function decode(value: Buffer | string | null, headers: UsageRecord['headers'] = {}): Decoded {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return decodeUsageEvent({ offset: 0, arrivedAt: ARRIVED_AT, key: null, value: bytes, headers }, DEFAULT_DECODE_LIMITS)
}

function rejectionOf(value: Buffer | string | null, headers: UsageRecord['headers'] = {}): string {
  const decoded = decode(value, headers)
  return 'rejection' in decoded ? `${decoded.rejection.code} ${decoded.rejection.field}` : 'accepted'
}

/** The envelope's JSON with a literal in place of the input count: JSON.stringify could not write most of these. */
function withInput(literal: string): string {
  return JSON.stringify(ENVELOPE).replace('"input":7', `"input":${literal}`)
}

t.test('structured and binary mode give the same event', async (t) => {
  const structured = decode(JSON.stringify(ENVELOPE), STRUCTURED)
  t.ok('event' in structured)
  t.same(decode(JSON.stringify(ENVELOPE)), structured, 'without a content type')
  t.same(decode(JSON.stringify(ENVELOPE), { 'content-type': 'application/json' }), structured, 'as plain JSON')
  t.same(decode(JSON.stringify(ENVELOPE.data), BINARY), structured)
  const { 'content-type': _, ...withoutType } = BINARY
  t.same(decode(JSON.stringify(ENVELOPE.data), withoutType), structured)
})

t.test('a binary event with a missing, doubled or broken attribute is rejected', async (t) => {
  const data = JSON.stringify(ENVELOPE.data)
  const id = [Buffer.from('e-1'), Buffer.from('e-2')]
  t.equal(rejectionOf(data, { ...BINARY, ce_time: undefined }), 'invalid-envelope time')
  t.equal(rejectionOf(data, { ...BINARY, ce_id: id }), 'invalid-envelope id')
  t.equal(rejectionOf(data, { ...BINARY, ce_subject: Buffer.from([0x61, 0xff]) }), 'invalid-envelope subject')
  t.equal(rejectionOf('7', BINARY), 'invalid-data data')
  t.equal(rejectionOf('{"__proto__":{}}', BINARY), 'forbidden-key __proto__')
})

t.test('another content type is rejected', async (t) => {
  for (const type of [
    'text/plain',
    'application/cloudevents-batch+json',
    'application/cloudevents+avro',
    'application/jsonx'
  ]) {
    t.equal(rejectionOf(JSON.stringify(ENVELOPE), { 'content-type': type }), 'invalid-envelope content-type', type)
  }
})

t.test('poison is rejected with its reason', async (t) => {
  const bomb = `{"specversion":"1.0","x":${'['.repeat(30_000)}`
  const cases: readonly [string, Buffer | string | null, string][] = [
    ['a tombstone', null, 'invalid-envelope null'],
    ['nothing', '', 'invalid-envelope null'],
    ['half a JSON', '{"specversion":"1.0"', 'not-json null'],
    ['binary rubbish', Buffer.from([0, 159, 146, 150]), 'not-json null'],
    ['broken UTF-8', Buffer.concat([Buffer.from('{"id":"'), Buffer.from([0xff]), Buffer.from('"}')]), 'not-json null'],
    ['a byte order mark', Buffer.from('\ufeff{}'), 'not-json null'],
    ['open brackets', bomb, 'not-json null'],
    ['nesting', `${bomb}${']'.repeat(30_000)}}`, 'invalid-envelope null'],
    ['null', 'null', 'invalid-envelope null'],
    ['a list', `[${JSON.stringify(ENVELOPE)}]`, 'invalid-envelope null'],
    ['NaN', withInput('NaN'), 'not-json null'],
    ['infinity', withInput('1e400'), 'invalid-data data.tokens.input'],
    ['a fraction', withInput('1.5'), 'invalid-data data.tokens.input'],
    ['a negative count', withInput('-1'), 'invalid-data data.tokens.input'],
    ['2^53', withInput('9007199254740992'), 'invalid-data data.tokens.input'],
    ['2^53 as a decimal', withInput('9007199254740992.0'), 'invalid-data data.tokens.input'],
    ['2^53 + 1', withInput('9007199254740993'), 'invalid-data data.tokens.input'],
    ['a count as text', withInput('"7"'), 'invalid-data data.tokens.input'],
    ['a prototype', withInput('7,"__proto__":{"input":9}'), 'forbidden-key __proto__'],
    ['an escaped prototype', withInput('7,"\\u005f_proto__":9'), 'forbidden-key __proto__'],
    ['half a surrogate pair', JSON.stringify({ ...ENVELOPE, id: 'e\ud800' }), 'invalid-envelope id']
  ]
  for (const [name, value, rejection] of cases) t.equal(rejectionOf(value, STRUCTURED), rejection, name)
  t.equal(rejectionOf(withInput('9007199254740991')), 'accepted')
  t.equal(rejectionOf(withInput('70e-1')), 'accepted', 'an integer may be written so')
})

t.test('a value larger than the cap is rejected before it is parsed', async (t) => {
  const padding = ' '.repeat(DEFAULT_DECODE_LIMITS.valueBytesMax - JSON.stringify(ENVELOPE).length)
  t.equal(rejectionOf(JSON.stringify(ENVELOPE) + padding), 'accepted')
  t.equal(rejectionOf(`${JSON.stringify(ENVELOPE)}${padding} `), 'too-large null')
  t.equal(rejectionOf(Buffer.alloc(10_000_000, '{')), 'too-large null')
})

const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
  .filter((text) => text.length <= 64 && /^[^\p{Cc}\p{Cs}\u2028\u2029]+$/u.test(text))
const optionalName = fc.oneof(fc.constant(''), name)
const key = name.filter((text) => !['__proto__', 'constructor', 'prototype'].includes(text))
const count = fc.oneof(
  fc.nat(100_000),
  fc.constant(0),
  fc.nat(2 ** 31 - 1).map((high) => high * 2 ** 18)
)
const used: fc.Arbitrary<UsageEvent> = fc.record({
  kind: fc.constant('used' as const),
  id: name,
  source: name,
  customerId: name,
  occurredAt: fc.integer({ min: ARRIVED_AT - DEFAULT_DECODE_LIMITS.acceptanceWindowMs, max: ARRIVED_AT + 300_000 }),
  userId: optionalName,
  model: name,
  provider: name,
  operation: optionalName,
  requestId: optionalName,
  holdId: optionalName,
  tokens: fc.record({ input: count, cacheRead: count, cacheWrite: count, output: count, reasoning: count }),
  metadata: fc
    .dictionary(key, optionalName, { maxKeys: METADATA_KEYS_MAX, noNullPrototype: true })
    .map((metadata) => ({ ...metadata }))
})

function negated({ input, cacheRead, cacheWrite, output, reasoning }: TokenPools): TokenPools {
  return {
    input: 0 - input,
    cacheRead: 0 - cacheRead,
    cacheWrite: 0 - cacheWrite,
    output: 0 - output,
    reasoning: 0 - reasoning
  }
}

const voided = fc
  .record({ event: used, occurredAt: fc.integer({ min: 0, max: ARRIVED_AT }) })
  .map(({ event, occurredAt }): UsageEvent => {
    return { ...event, kind: 'voided', occurredAt, holdId: '', tokens: negated(event.tokens) }
  })

t.test('what is encoded decodes to the same event', async (t) => {
  fc.assert(
    fc.property(fc.oneof(used, voided), (event) => {
      const { value, headers } = encodeUsageEvent(event)
      t.same(decode(value, headers), { event })
    }),
    { seed, numRuns: 300 }
  )
})

t.test('whatever the bytes, a record is decoded or rejected: it never throws, and says the same again', async (t) => {
  const valid = used.map((event) => encodeUsageEvent(event).value)
  const damaged = fc
    .tuple(valid, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat())
    .map(([value, changes, cut]) => {
      const bytes = Buffer.from(value)
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      return cut % 3 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes
    })
  const json = fc.json({ maxDepth: 6 }).map((text) => Buffer.from(text))
  const wrongValue = fc.tuple(
    used,
    fc.constantFrom(...Object.keys(ENVELOPE.data), 'metadata', 'userId'),
    fc.jsonValue()
  )
  const wrongField = wrongValue.map(([event, field, value]) => {
    const envelope = JSON.parse(encodeUsageEvent(event).value.toString())
    return Buffer.from(JSON.stringify({ ...envelope, data: { ...envelope.data, [field]: value } }))
  })
  const bytes = fc.oneof(
    damaged,
    json,
    wrongField,
    fc.uint8Array().map((array) => Buffer.from(array))
  )
  const headers = fc.constantFrom<UsageRecord['headers']>({}, STRUCTURED, BINARY, { ce_id: [] })
  let accepted = 0
  let rejected = 0
  fc.assert(
    fc.property(bytes, headers, (value, headers) => {
      const decoded = decode(value, headers)
      if (JSON.stringify(decode(Buffer.from(value), headers)) !== JSON.stringify(decoded))
        throw new Error('another answer')
      if ('rejection' in decoded) rejected += 1
      else {
        accepted += 1
        const counts = Object.values(decoded.event.tokens)
        if (!counts.every((tokens) => Number.isSafeInteger(tokens) && tokens >= 0)) throw new Error('a count is none')
      }
    }),
    { seed, numRuns: 3_000 }
  )
  t.ok(accepted > 20 && rejected > 200, `${accepted} accepted, ${rejected} rejected`)
  t.equal(Object.getOwnPropertyDescriptor(Object.prototype, 'admin'), undefined, 'no prototype was touched')
})
