import t from 'tap'
import type { UsageRow } from '../../domain/api-ports.ts'
import { startTestApp } from '../ports-in-memory.ts'

const MARCH = 'from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00%2B01:00'
const ROW: UsageRow = {
  start: Date.parse('2026-03-01T00:00:00Z'),
  customerId: 'c',
  userId: '',
  model: 'a "b", c',
  pool: null,
  tokens: '18014398509481984',
  events: '3'
}

t.test('a query is handed on with its defaults, and rows come back with sums of any size', async (t) => {
  const { app, call, told } = await startTestApp({ usage: () => [ROW] })
  t.teardown(() => app.close())
  const { status, body } = await call(`GET /v1/usage?${MARCH}&customerId=c&groupBy=model,customer`)
  t.equal(status, 200)
  t.same(body, { data: [{ ...ROW, start: '2026-03-01T00:00:00.000Z' }], truncated: false })
  t.same(told.asks, [
    {
      from: Date.parse('2026-03-01T00:00:00Z'),
      to: Date.parse('2026-03-31T23:00:00Z'),
      grain: 'day',
      timeZone: 'UTC',
      groupBy: ['customer', 'model'],
      customerId: 'c',
      userId: null,
      model: null,
      limit: 1001
    }
  ])
})

t.test('rows beyond the limit are cut and said to be', async (t) => {
  const { app, call } = await startTestApp({ usage: () => [ROW, ROW, ROW] })
  t.teardown(() => app.close())
  t.match(await call(`GET /v1/usage?${MARCH}&limit=2`), { body: { data: { length: 2 }, truncated: true } })
  t.match(await call(`GET /v1/usage?${MARCH}&limit=3`), { body: { data: { length: 3 }, truncated: false } })
  t.match(await call(`GET /v1/usage?${MARCH}&limit=2&format=csv`), { headers: { 'x-truncated': 'true' } })
})

t.test('CSV is answered when asked for by format or by Accept, quoted where needed', async (t) => {
  const { app, call } = await startTestApp({ usage: () => [ROW, { ...ROW, start: null, userId: null }] })
  t.teardown(() => app.close())
  const csv =
    'start,customerId,userId,model,pool,tokens,events\r\n' +
    '2026-03-01T00:00:00.000Z,c,,"a ""b"", c",,18014398509481984,3\r\n' +
    ',c,,"a ""b"", c",,18014398509481984,3\r\n'
  const asked = await call(`GET /v1/usage?${MARCH}&format=csv`)
  t.equal(asked.text, csv)
  t.match(asked.headers['content-type'], /^text\/csv; charset=utf-8/)
  t.equal((await call(`GET /v1/usage?${MARCH}`, undefined, { accept: 'text/csv' })).text, csv)
  t.match(await call(`GET /v1/usage?${MARCH}&format=json`, undefined, { accept: 'text/csv' }), {
    body: { truncated: false }
  })
  t.match(await call(`GET /v1/usage?${MARCH}`, undefined, { accept: '*/*' }), { body: { truncated: false } })
})

t.test('a range that is empty or too long for its grain, and a zone that is none, are refused', async (t) => {
  const { app, call, told } = await startTestApp()
  t.teardown(() => app.close())
  const refused: readonly (readonly [query: string, field: string])[] = [
    ['from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z', 'query.to'],
    ['from=2026-03-01T00:00:00Z&to=2026-04-02T00:00:00Z&grain=quarter-hour', 'query.to'],
    ['from=2016-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&grain=all', 'query.to'],
    [`${MARCH}&timeZone=%2B01:00`, 'query.timeZone'],
    [`${MARCH}&groupBy=colour`, 'query.groupBy'],
    [`${MARCH}&grain=year`, 'query.grain'],
    [`${MARCH}&limit=5001`, 'query.limit'],
    ['from=2026-03-01&to=2026-04-01T00:00:00Z', 'query.from']
  ]
  for (const [query, field] of refused) {
    t.match(
      await call(`GET /v1/usage?${query}`),
      { status: 400, body: { code: 'validation-failed', errors: [{ field }] } },
      query
    )
  }
  t.same(told.asks, [])
})
