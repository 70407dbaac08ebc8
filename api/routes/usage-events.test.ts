import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { startTestApp } from '../ports-in-memory.ts'

const POST = 'POST /v1/usage-events'

function envelope(id: string, changes: object = {}): object {
  return {
    specversion: '1.0',
    id,
    source: '/ia',
    type: 'ai.tokens.used',
    subject: 'clinic-42',
    time: '2026-03-12T09:29:58Z',
    data: { provider: 'anthropic', model: 'm', tokens: { input: 10, output: 5 } },
    ...changes
  }
}
const used = (tokens: object) => ({ data: { provider: 'anthropic', model: 'm', tokens } })

t.test('one event is accepted under each content type for one, a list under each for lists', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const type = (name: string) => ({ 'content-type': name })
  for (const name of [
    'application/json',
    'application/cloudevents+json',
    'application/cloudevents+json; charset=utf-8'
  ]) {
    t.match(await call(POST, envelope('a'), type(name)), {
      status: 202,
      body: { accepted: 1, duplicates: 0, rejected: 0, results: [{ index: 0, id: 'a', status: 'accepted' }] }
    })
  }
  for (const name of ['application/json', 'application/cloudevents-batch+json']) {
    t.equal((await call(POST, [envelope('b'), envelope('c')], type(name))).status, 202, name)
  }
  t.same(
    told.appended.map(({ id }) => id),
    ['a', 'a', 'a', 'b', 'c', 'b', 'c']
  )
  t.equal((await call(POST, [envelope('a')], type('application/cloudevents+json'))).status, 400)
  t.equal((await call(POST, envelope('a'), type('application/cloudevents-batch+json'))).status, 400)
  t.equal((await call(POST, 'a', type('text/plain'))).status, 415)
})

t.test('each record of a batch has its own outcome, and only accepted ones reach the log', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const { status, body } = await call(POST, [
    envelope('a'),
    envelope('a'),
    envelope('a', used({ input: 11 })),
    envelope('b', used({ input: -1 })),
    envelope('c', { time: '2020-01-01T00:00:00Z' }),
    envelope('d', { type: 'ai.tokens.voided', data: {} }),
    7
  ])
  t.equal(status, 202)
  t.match(body, { accepted: 1, duplicates: 1, rejected: 5 })
  t.same(
    body.results.map(({ id, status: became, code, field }: Record<string, unknown>) => [id, became, code, field]),
    [
      ['a', 'accepted', undefined, undefined],
      ['a', 'duplicate-in-batch', undefined, undefined],
      ['a', 'rejected', 'conflict', 'id'],
      ['b', 'rejected', 'invalid-data', 'data.tokens.input'],
      ['c', 'rejected', 'too-late', 'time'],
      ['d', 'rejected', 'invalid-data', body.results[5].field],
      [null, 'rejected', 'invalid-envelope', undefined]
    ]
  )
  t.same(
    told.appended.map(({ id, tokens }) => [id, tokens.input]),
    [['a', 10]]
  )
})

t.test('a correction can not be handed in: only the void route makes one', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const data = { voids: { id: 'a', source: '/ia' }, provider: 'p', model: 'm', tokens: { input: -10 } }
  const correction = envelope('void:a', { type: 'ai.tokens.voided', data })
  t.match(await call(POST, correction), {
    status: 422,
    body: { code: 'usage-event-rejected', rejection: 'unknown-type', errors: [{ field: 'type' }] }
  })
  t.same(told.appended, [])
})

t.test('what JavaScript could trip over is one rejected record, not a spoilt batch', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const good = JSON.stringify(envelope('good'))
  const text = (tokens: string): string => good.replace('"input":10', tokens)
  const deep = good.replace('"specversion"', `"x":${'['.repeat(20_000)}${']'.repeat(20_000)},"specversion"`)
  const records = [
    good,
    text('"__proto__":{"input":1}'),
    text('"constructor":1'),
    text('"input":1e400'),
    text('"input":9007199254740993'),
    deep
  ]
  const { status, body } = await call(POST, `[${records.join(',')}]`)
  t.equal(status, 202)
  t.same(
    body.results.map(({ code }: { code?: string }) => code),
    [undefined, 'forbidden-key', 'forbidden-key', 'invalid-data', 'invalid-data', 'invalid-envelope']
  )
})

t.test('a single event that is rejected is 422, naming the field', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  t.match(await call(POST, envelope('a', used({ input: 0.5 }))), {
    status: 422,
    body: { code: 'usage-event-rejected', rejection: 'invalid-data', errors: [{ field: 'data.tokens.input' }] }
  })
})

t.test('a batch of which nothing is taken is 422 with its results', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  t.match(await call(POST, [envelope('a', { subject: '' })]), {
    status: 422,
    body: { code: 'batch-rejected', rejected: 1, results: [{ id: 'a', code: 'invalid-envelope', field: 'subject' }] }
  })
})

t.test('a record over 64 KB is rejected in a batch and 413 alone; so is a batch over its bounds', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const large = envelope('large', { padding: 'x'.repeat(65_536) })
  t.match(await call(POST, [large, envelope('a')]), {
    status: 202,
    body: { accepted: 1, results: [{ status: 'rejected', code: 'too-large' }, { status: 'accepted' }] }
  })
  t.match(await call(POST, large), { status: 413, body: { code: 'usage-event-too-large' } })
  const many = Array.from({ length: 1_001 }, () => 1)
  t.match(await call(POST, many), { status: 413, body: { code: 'batch-too-large' } })
  t.match(await call(POST, `[${'1,'.repeat(600_000)}1]`), { status: 413, body: { code: 'body-too-large' } })
})

t.test('a body that is not JSON is refused whole', async (t) => {
  const { app, call } = await startTestApp()
  t.teardown(() => app.close())
  const good = JSON.stringify(envelope('a'))
  for (const text of ['', ' ', '{', `[${good}`, `[${good},]`, `[${good}]]`, `[${good},{"a":]`, '[]x', '\ufeff[]']) {
    t.match(await call(POST, text), { status: 400, body: { code: 'malformed-json' } }, text)
  }
  t.match(await call(POST, '[]'), { status: 400, body: { code: 'validation-failed' } })
})

t.test('nothing is acknowledged that the broker does not have', async (t) => {
  const { app, call } = await startTestApp({
    append: () => {
      throw new RetryableError('log-unavailable', 'the broker is away')
    }
  })
  t.teardown(() => app.close())
  t.match(await call(POST, [envelope('a')]), {
    status: 503,
    headers: { 'retry-after': '2' },
    body: { code: 'service-unavailable' }
  })
})

const COUNTED: UsageEvent = {
  kind: 'used',
  id: 'a/b',
  source: '/ia',
  customerId: 'clinic-42',
  occurredAt: Date.parse('2026-01-01T00:00:00Z'),
  userId: 'u',
  model: 'm',
  provider: 'p',
  operation: '',
  requestId: '',
  holdId: 'h1',
  tokens: { input: 10, cacheRead: 0, cacheWrite: 0, output: 5, reasoning: 0 },
  metadata: {}
}

t.test('a void appends the counted event with its tokens negated, as often as it is asked', async (t) => {
  const { app, call, told } = await startTestApp({ counted: [COUNTED] })
  t.teardown(() => app.close())
  const body = { customerId: 'clinic-42', source: '/ia' }
  for (const _ of [1, 2]) {
    t.match(await call('POST /v1/usage-events/a%2Fb/void', body), {
      status: 202,
      body: { id: 'a/b', status: 'accepted' }
    })
  }
  const correction = {
    ...COUNTED,
    kind: 'voided',
    holdId: '',
    tokens: { input: -10, cacheRead: 0, cacheWrite: 0, output: -5, reasoning: 0 }
  }
  t.strictSame(told.appended, [correction, correction])
  t.match(await call('POST /v1/usage-events/other/void', body), { status: 404, body: { code: 'unknown-usage-event' } })
})
