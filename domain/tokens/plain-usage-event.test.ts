import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_DECODE_LIMITS, decodeCloudEvent } from './decode-cloud-event.ts'
import { readPlainUsageEvent } from './plain-usage-event.ts'
import type { UsageEvent } from './usage-event.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const ARRIVED_AT = Date.UTC(2026, 9, 10, 12)
const PLAIN = {
  specversion: '1.0',
  id: 'e-1',
  source: '/gateway',
  type: 'ai.tokens.used',
  subject: 'acme',
  time: '2026-10-10T12:00:00.250Z',
  datacontenttype: 'application/json',
  data: {
    userId: 'ann',
    model: 'gpt-5.1',
    provider: 'openai',
    operation: 'chat',
    requestId: 'r-1',
    holdId: 'h-1',
    tokens: { input: 7, cacheRead: 10, cacheWrite: 0, output: 999_999_999_999_999, reasoning: 1 }
  }
}
const TEXT = JSON.stringify(PLAIN)

function plain(text: string): UsageEvent | null {
  return readPlainUsageEvent(text, ARRIVED_AT, DEFAULT_DECODE_LIMITS)
}

/** What the careful way makes of the same bytes; null when it rejects them or they are no JSON. */
function careful(text: string): UsageEvent | null {
  try {
    const decoded = decodeCloudEvent(JSON.parse(text), ARRIVED_AT, DEFAULT_DECODE_LIMITS)
    return 'event' in decoded ? decoded.event : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

t.test('an event as this product writes it is plain, with and without what may be left out', async (t) => {
  t.same(plain(TEXT), careful(TEXT))
  t.equal(plain(TEXT)?.tokens.output, 999_999_999_999_999)
  const { userId, operation, requestId, holdId, ...needed } = PLAIN.data
  const { datacontenttype, ...envelope } = PLAIN
  const least = JSON.stringify({ ...envelope, data: { ...needed, tokens: { output: 3 } } })
  t.ok(plain(least))
  t.same(plain(least), careful(least))
  const spaced = TEXT.replaceAll('":', '": ').replaceAll(',"', ', "')
  t.same(plain(spaced), plain(TEXT), 'with a space behind colons and commas')
})

t.test('what is not plain is left to the careful way, which may well accept it', async (t) => {
  const accepted = [
    TEXT.replace('"id":"e-1","source":"/gateway"', '"source":"/gateway","id":"e-1"'),
    TEXT.replace('"acme"', '"ac\\u006de"'),
    TEXT.replace('"acme"', '"caf\u00e9"'),
    TEXT.replace('"input":7', '"input":7e0'),
    TEXT.replace('"id":"e-1"', '"id":"e-0","id":"e-1"'),
    TEXT.replace('"time"', '"traceparent":"00-1","time"'),
    TEXT.replace('}}}', '},"metadata":{"team":"red"}}}')
  ]
  for (const text of accepted) {
    t.equal(plain(text), null, text)
    t.ok(careful(text), text)
  }
})

t.test('what the careful way rejects is never plain', async (t) => {
  const rejected = [
    TEXT.replace('"e-1"', '""'),
    TEXT.replace('"e-1"', `"${'x'.repeat(129)}"`),
    TEXT.replace('"openai"', `"${'x'.repeat(65)}"`),
    TEXT.replace('2026-10-10T12', '2026-10-09T11'),
    TEXT.replace('12:00:00.250Z', '12:05:00.001Z'),
    TEXT.replace('2026-10-10', '2026-02-30'),
    TEXT.replace('"input":7', '"input":07'),
    TEXT.replace('"input":7', '"input":-7'),
    TEXT.replace('"input":7', '"input":9007199254740993'),
    TEXT.replace(/"tokens":{[^}]*}/, '"tokens":{}'),
    TEXT.replace('"reasoning":1}', '"reasoning":1,}'),
    TEXT.replace('"1.0"', '"1x0"'),
    TEXT.replace('ai.tokens.used', 'ai-tokens-used'),
    `${TEXT}x`
  ]
  for (const text of rejected) {
    t.equal(plain(text), null, text)
    t.equal(careful(text), null, text)
  }
})

t.test('whatever is done to its text, an event that is read plainly is read the same carefully', async (t) => {
  const place = fc.nat(TEXT.length)
  const piece = fc.oneof(
    fc.constantFrom(
      '"',
      ',',
      ':',
      '{',
      '}',
      '\\',
      ' ',
      '\t',
      '\n',
      '0',
      '1',
      '-',
      '.',
      'e',
      '\u0000',
      '\u00e9',
      '__proto__',
      '""',
      '{}'
    ),
    fc.tuple(place, fc.nat(40)).map(([from, length]) => TEXT.slice(from, from + length))
  )
  const edit = fc.record({
    at: place,
    removed: fc.oneof(fc.constant(0), fc.nat(30)),
    put: fc.oneof(fc.constant(''), piece)
  })
  let read = 0
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 3 }), (edits) => {
      const text = edits.reduce((all, { at, removed, put }) => all.slice(0, at) + put + all.slice(at + removed), TEXT)
      const event = plain(text)
      if (event === null) return
      read++
      t.same(event, careful(text), text)
    }),
    { seed, numRuns: 10_000 }
  )
  t.ok(read > 250, `${read} edited texts were still plain`)
})
