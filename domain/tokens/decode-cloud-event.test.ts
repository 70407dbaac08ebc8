import t from 'tap'
import {
  DEFAULT_DECODE_LIMITS,
  decodeCloudEvent,
  METADATA_KEYS_MAX,
  TEXT_LENGTH_MAX,
  voidEnvelopeId
} from './decode-cloud-event.ts'
import { identityOf, USAGE_EVENT_TYPE, type UsageEvent, VOID_EVENT_TYPE } from './usage-event.ts'

const ARRIVED_AT = Date.UTC(2026, 9, 10, 12)
const DATA = { model: 'gpt-5', provider: 'openai', tokens: { input: 7 } }
const USED = {
  specversion: '1.0',
  id: 'e-1',
  source: '/gateway',
  type: USAGE_EVENT_TYPE,
  subject: 'acme',
  time: '2026-10-10T12:00:00Z',
  data: DATA
}
const VOIDED = {
  ...USED,
  id: voidEnvelopeId('e-1'),
  type: VOID_EVENT_TYPE,
  data: { ...DATA, voids: { id: 'e-1', source: '/gateway' }, tokens: { input: -7 } }
}

function decode(envelope: unknown) {
  return decodeCloudEvent(envelope, ARRIVED_AT, DEFAULT_DECODE_LIMITS)
}

function eventOf(envelope: unknown): UsageEvent {
  const decoded = decode(envelope)
  if ('rejection' in decoded) throw new Error(JSON.stringify(decoded.rejection))
  return decoded.event
}

function rejectionOf(envelope: unknown): string {
  const decoded = decode(envelope)
  return 'rejection' in decoded ? `${decoded.rejection.code} ${decoded.rejection.field}` : 'accepted'
}

function withData(change: Readonly<Record<string, unknown>>) {
  return { ...USED, data: { ...DATA, ...change } }
}

t.test('an event that says no more than it must is read, what it leaves out is empty', async (t) => {
  t.same(eventOf(USED), {
    kind: 'used',
    id: 'e-1',
    source: '/gateway',
    customerId: 'acme',
    occurredAt: ARRIVED_AT,
    userId: '',
    model: 'gpt-5',
    provider: 'openai',
    operation: '',
    requestId: '',
    holdId: '',
    tokens: { input: 7, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 },
    metadata: {}
  })
  t.same(eventOf(withData({ userId: null, operation: '', metadata: null, usage: null })), eventOf(USED))
})

t.test('extensions of the envelope are passed over', async (t) => {
  t.same(
    eventOf({ ...USED, traceparent: '00-1-2-01', partitionkey: 7, datacontenttype: 'application/json' }),
    eventOf(USED)
  )
})

t.test("a provider's own usage object becomes the same event as its pools", async (t) => {
  const usage = {
    prompt_tokens: 10,
    completion_tokens: 5,
    total_tokens: 15,
    prompt_tokens_details: { cached_tokens: 4 }
  }
  const { tokens: _, ...data } = DATA
  const pools = { input: 6, cacheRead: 4, output: 5 }
  t.same(eventOf({ ...USED, data: { ...data, usage } }), eventOf(withData({ tokens: pools })))
  const wrong = { ...USED, data: { ...data, usage: { ...usage, total_tokens: 14 } } }
  t.equal(rejectionOf(wrong), 'usage-does-not-add-up data.usage.total_tokens')
  t.equal(rejectionOf(withData({ usage })), 'invalid-data data.usage', 'both')
  t.equal(rejectionOf({ ...USED, data }), 'invalid-data data.tokens', 'neither')
})

t.test('every required attribute is required, and its fault names it', async (t) => {
  for (const name of ['specversion', 'id', 'source', 'type', 'subject', 'time'] as const) {
    const code = (value: unknown) => rejectionOf({ ...USED, [name]: value })
    t.equal(code(undefined), `invalid-envelope ${name}`)
    t.equal(code(null), `invalid-envelope ${name}`)
    t.equal(code(7), `invalid-envelope ${name}`)
  }
  t.equal(rejectionOf({ ...USED, specversion: '0.3' }), 'invalid-envelope specversion')
  t.equal(rejectionOf({ ...USED, type: 'ai.tokens.imagined' }), 'unknown-type type')
  t.equal(rejectionOf({ ...USED, time: '2026-10-10T12:00:00' }), 'invalid-envelope time')
  t.equal(rejectionOf({ ...USED, data: undefined }), 'invalid-data data')
  t.equal(rejectionOf({ ...USED, data: [DATA] }), 'invalid-data data')
  t.equal(rejectionOf({ ...USED, data: undefined, data_base64: 'e30=' }), 'invalid-envelope data_base64')
  t.equal(rejectionOf({ ...USED, datacontenttype: 'text/xml' }), 'invalid-envelope datacontenttype')
  for (const body of [null, 7, 'x', [], [USED]]) t.equal(rejectionOf(body), 'invalid-envelope null')
})

t.test('names have at most their length, and only printable characters that survive UTF-8', async (t) => {
  t.equal(rejectionOf({ ...USED, id: 'é'.repeat(TEXT_LENGTH_MAX.id) }), 'accepted')
  t.equal(rejectionOf({ ...USED, id: 'a'.repeat(TEXT_LENGTH_MAX.id + 1) }), 'invalid-envelope id')
  for (const bad of ['', 'a\nb', 'a\u0000', '\u009f', '\ud800', 'a\udc00b', '\u2028']) {
    const units = Array.from({ length: bad.length }, (_, i) => bad.charCodeAt(i).toString(16)).join(' ')
    t.equal(rejectionOf({ ...USED, subject: bad }), 'invalid-envelope subject', `units ${units}`)
    t.equal(rejectionOf(withData({ model: bad })), 'invalid-data data.model', `units ${units}`)
  }
  t.equal(eventOf({ ...USED, subject: 'Ünïcode 🐘 & sœurs' }).customerId, 'Ünïcode 🐘 & sœurs')
  t.equal(rejectionOf(withData({ userId: 7 })), 'invalid-data data.userId')
  t.equal(rejectionOf(withData({ holdId: 'h'.repeat(129) })), 'invalid-data data.holdId')
})

t.test('tokens are integers in [0, 2^53), and so is their sum', async (t) => {
  for (const bad of [1.5, -1, 2 ** 53, 2 ** 53 + 2, Number.POSITIVE_INFINITY, Number.NaN, '7', null, true, [7], {}]) {
    t.equal(rejectionOf(withData({ tokens: { output: bad } })), 'invalid-data data.tokens.output', String(bad))
  }
  const most = Number.MAX_SAFE_INTEGER
  t.equal(eventOf(withData({ tokens: { output: most } })).tokens.output, most)
  t.equal(rejectionOf(withData({ tokens: { input: most, output: 1 } })), 'invalid-data data.tokens')
  t.equal(rejectionOf(withData({ tokens: {} })), 'invalid-data data.tokens')
  t.equal(rejectionOf(withData({ tokens: { inputs: 1 } })), 'invalid-data data.tokens.inputs')
  t.equal(rejectionOf(withData({ tokens: 7 })), 'invalid-data data.tokens')
  t.ok(Object.is(eventOf(withData({ tokens: { input: -0 } })).tokens.input, 0), 'there is no negative zero')
})

t.test('an unknown field of the data is refused', async (t) => {
  t.equal(rejectionOf(withData({ Model: 'gpt-5' })), 'invalid-data data.Model')
  t.equal(rejectionOf(withData({ voids: { id: 'e-1', source: '/gateway' } })), 'invalid-data data.voids')
})

t.test('metadata is flat and small; numbers and booleans become text', async (t) => {
  const metadata = { feature: 'chat', retries: 2, cached: false, note: '' }
  t.same(eventOf(withData({ metadata })).metadata, { feature: 'chat', retries: '2', cached: 'false', note: '' })
  for (const bad of [{ nested: {} }, { list: [] }, { nothing: null }, { long: 'x'.repeat(257) }, { control: '\n' }]) {
    t.equal(rejectionOf(withData({ metadata: bad })), `invalid-data data.metadata.${Object.keys(bad)[0]}`)
  }
  const many = Object.fromEntries(Array.from({ length: METADATA_KEYS_MAX + 1 }, (_, i) => [`k${i}`, 'v']))
  t.equal(rejectionOf(withData({ metadata: many })), 'invalid-data data.metadata')
  t.equal(
    rejectionOf(withData({ metadata: { ['k'.repeat(65)]: 'v' } })),
    `invalid-data data.metadata.${'k'.repeat(64)}…`
  )
  t.equal(rejectionOf(withData({ metadata: 'flat' })), 'invalid-data data.metadata')
})

t.test(
  'keys that reach into prototypes are refused wherever they stand, and so is what is nested too deep',
  async (t) => {
    for (const key of ['__proto__', 'constructor', 'prototype']) {
      const member = `"${key}":{"admin":true}`
      for (const text of [`{${member}}`, `{"x":[1,{${member}}]}`, `{"data":{"usage":{${member}}}}`]) {
        t.equal(rejectionOf({ ...USED, ...JSON.parse(text), extension: JSON.parse(text) }), `forbidden-key ${key}`)
      }
    }
    t.equal(rejectionOf(JSON.parse('{"\\u005f\\u005fproto\\u005f\\u005f":1}')), 'forbidden-key __proto__')
    t.equal(
      eventOf(withData({ model: '__proto__', metadata: { is: 'constructor' } })).model,
      '__proto__',
      'as a value it is text'
    )
    t.equal(
      rejectionOf({ ...USED, deep: JSON.parse(`${'['.repeat(30_000)}${']'.repeat(30_000)}`) }),
      'invalid-envelope null'
    )
  }
)

t.test('usage is accepted from the acceptance window before its arrival to five minutes after', async (t) => {
  const at = (sinceArrivalMs: number) =>
    rejectionOf({ ...USED, time: new Date(ARRIVED_AT + sinceArrivalMs).toISOString() })
  t.equal(at(-86_400_000), 'accepted')
  t.equal(at(-86_400_001), 'too-late time')
  t.equal(at(300_000), 'accepted')
  t.equal(at(300_001), 'too-early time')
  const late = { ...USED, time: '2020-01-01T00:00:00Z' }
  t.equal(
    rejectionOf({ ...late, data: { ...DATA, model: '' } }),
    'invalid-data data.model',
    'other faults are told first'
  )
})

t.test('a correction is the voided event with negated pools, whatever its age', async (t) => {
  const old = { ...VOIDED, time: '2026-01-01T00:00:00Z' }
  const event = eventOf(old)
  t.match(event, { kind: 'voided', id: 'e-1', source: '/gateway', occurredAt: Date.UTC(2026, 0, 1), holdId: '' })
  t.same(event.tokens, { input: -7, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 })
  t.not(identityOf(event), identityOf(eventOf(USED)), 'it is not the event that it voids')
  const longest = 'x'.repeat(TEXT_LENGTH_MAX.id)
  const longestVoid = {
    ...VOIDED,
    id: voidEnvelopeId(longest),
    data: { ...VOIDED.data, voids: { id: longest, source: '/gateway' } }
  }
  t.equal(eventOf(longestVoid).id, longest)
})

t.test('a correction must name what it voids, and only a correction may be negative', async (t) => {
  const voidWith = (change: object) => rejectionOf({ ...VOIDED, data: { ...VOIDED.data, ...change } })
  t.equal(voidWith({ voids: undefined }), 'invalid-data data.voids')
  t.equal(voidWith({ voids: { id: 'e-2', source: '/gateway' } }), 'invalid-data data.voids.id')
  t.equal(voidWith({ voids: { id: 'e-1', source: '/other' } }), 'invalid-data data.voids.source')
  t.equal(voidWith({ voids: { id: 'e-1', source: '/gateway', why: '' } }), 'invalid-data data.voids.why')
  t.equal(voidWith({ tokens: { input: 7 } }), 'invalid-data data.tokens.input')
  t.equal(voidWith({ tokens: { input: -(2 ** 53) } }), 'invalid-data data.tokens.input')
  t.equal(voidWith({ tokens: { input: -Number.MAX_SAFE_INTEGER, output: -1 } }), 'invalid-data data.tokens')
  t.equal(voidWith({ holdId: 'h-1' }), 'invalid-data data.holdId')
  t.equal(voidWith({ usage: { prompt_tokens: 1, total_tokens: 1 } }), 'invalid-data data.usage')
  t.equal(rejectionOf({ ...VOIDED, id: 'e-1' }), 'invalid-data data.voids.id')
  t.equal(rejectionOf({ ...VOIDED, time: '1969-01-01T00:00:00Z' }), 'invalid-envelope time')
})
