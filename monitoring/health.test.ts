import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { type HealthCheck, startHealthServer } from './health.ts'
import {
  countUncounted,
  createApiMetrics,
  createIngestMetrics,
  createRegistry,
  forgetPartition,
  observeAnswer
} from './metrics.ts'

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

async function serve(t: Teardown, checks: Record<string, HealthCheck>): Promise<string> {
  const metrics = createRegistry('test')
  const server = await startHealthServer({ host: '127.0.0.1', port: 0, checks, metrics, checkTimeoutMs: 50 })
  t.teardown(() => server.close())
  return `http://127.0.0.1:${server.port}`
}

t.test('a process is alive whatever its checks say', async (t) => {
  const url = await serve(t, { redis: () => Promise.reject(new Error('away')) })
  t.equal((await fetch(`${url}/livez`)).status, 200)
  t.equal((await fetch(`${url}/elsewhere`)).status, 404)
})

t.test('it is ready when every check passes', async (t) => {
  const url = await serve(t, { redis: async () => 'PONG', postgres: async () => undefined })
  const answer = await fetch(`${url}/readyz`)
  t.equal(answer.status, 200)
  t.same(await answer.json(), {
    ready: true,
    checks: [
      { name: 'redis', ready: true },
      { name: 'postgres', ready: true }
    ]
  })
})

t.test('a check that fails, hangs or throws makes it not ready, by name and without an address', async (t) => {
  const url = await serve(t, {
    redis: () => Promise.reject(new RetryableError('redis-away', 'redis://:secret@10.0.0.1')),
    postgres: () => new Promise(() => undefined),
    kafka: () => {
      throw new TypeError('10.0.0.1')
    },
    clickhouse: async () => true
  })
  const answer = await fetch(`${url}/readyz`)
  t.equal(answer.status, 503)
  t.same(await answer.json(), {
    ready: false,
    checks: [
      { name: 'redis', ready: false, reason: 'redis-away' },
      { name: 'postgres', ready: false, reason: 'timeout' },
      { name: 'kafka', ready: false, reason: 'TypeError' },
      { name: 'clickhouse', ready: true }
    ]
  })
})

t.test('metrics are served as Prometheus reads them, with those of the process', async (t) => {
  const url = await serve(t, {})
  const answer = await fetch(`${url}/metrics`)
  t.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  t.match(await answer.text(), /^tokenmeter_process_cpu_seconds_total\{process="test"\}/m)
})

t.test('a port that is taken is an error, not a silent nothing', async (t) => {
  const url = new URL(await serve(t, {}))
  const metrics = createRegistry('test')
  const again = startHealthServer({ host: '127.0.0.1', port: Number(url.port), checks: {}, metrics })
  await t.rejects(again, { code: 'EADDRINUSE' })
})

t.test('every outcome of an event has its own count', async (t) => {
  const registry = createRegistry('ingest')
  const metrics = createIngestMetrics(registry)
  metrics.counted.inc(5)
  countUncounted(metrics, ['duplicate', 'duplicate', 'conflict', 'not-json', 'too-late', 'too-late'])
  metrics.lagRecords.set({ partition: '3' }, 7)
  const text = await registry.metrics()
  t.match(text, /tokenmeter_events_counted_total\{process="ingest"\} 5/)
  t.match(text, /tokenmeter_events_duplicate_total\{process="ingest"\} 2/)
  t.match(text, /tokenmeter_events_conflict_total\{process="ingest"\} 1/)
  t.match(text, /tokenmeter_events_rejected_total\{reason="too-late",process="ingest"\} 2/)
  t.match(text, /tokenmeter_lag_records\{partition="3",process="ingest"\} 7/)
  forgetPartition(metrics, 3)
  t.notMatch(await registry.metrics(), /partition="3"/)
})

t.test('an odd method or status adds no label of its own', async (t) => {
  const registry = createRegistry('api')
  const metrics = createApiMetrics(registry)
  observeAnswer(metrics, { method: 'POST', route: '/v1/quota/check', status: 201, elapsedMs: 3 })
  observeAnswer(metrics, { method: 'BREW', route: 'unknown', status: 418, elapsedMs: 3 })
  const text = await registry.metrics()
  t.match(text, /tokenmeter_request_seconds_count\{[^}]*route="\/v1\/quota\/check",method="POST",status="2xx"/)
  t.match(text, /method="other",status="4xx"/)
  t.notMatch(text, /BREW/)
})
