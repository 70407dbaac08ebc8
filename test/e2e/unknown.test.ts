// Not knowing is never "used up": it is 503 with a time to come back, or an answer that says what it rests on.

import t from 'tap'
import { findFreePort } from '../../stack/machine/ports.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { Supervisor } from '../../stack/supervisor.ts'
import { type Answer, ApiCaller, type CheckTold, type ProblemTold, told } from './api-caller.ts'
import { anotherApi, startSystem } from './start-system.ts'
import { limit, usageEnvelope } from './usage-envelope.ts'

const STALE_AFTER_MS = 2_000
const TOKENS = { tokens: { input: 10 } }

const system = await startSystem(t, { environment: { METER_STALE_AFTER_MS: String(STALE_AFTER_MS) } })
const { api, supervisor } = system

/** Every check of this file, so that none is 429. */
const statuses = new Set<number>()

async function check(customerId: string, caller = api): Promise<Answer> {
  const answer = await caller.check({ customerId, model: 'gpt-5.1', ...TOKENS })
  statuses.add(answer.status)
  return answer
}

function hold(customerId: string, holdId: string): Promise<Answer> {
  return api.hold({ holdId, customerId, model: 'gpt-5.1', ttlSeconds: 60, ...TOKENS })
}

function knows(customerId: string): Promise<CheckTold> {
  return waitUntil(
    async () => {
      const answer = await check(customerId)
      if (answer.status !== 200) return undefined
      const { source, ...rest } = told<CheckTold>(answer)
      return source === 'meter' ? { source, ...rest } : undefined
    },
    { what: `the meter to know ${customerId}`, timeoutMs: 20_000 }
  )
}

await api.putLimits('strict', [limit('all', 1_000)])
await api.putLimits('lenient', [limit('all', 1_000, { whenUnknown: 'allow' })])
await knows('strict')
await knows('lenient')

t.test('a customer nobody knows is 404, not refused', async (t) => {
  t.equal((await check('stranger')).status, 404)
  t.equal((await hold('stranger', 'hold-0')).status, 404)
  t.equal((await api.balance('stranger')).status, 404)
})

t.test('an API whose broker is away answers 503 for events, and checks as ever', async (t) => {
  const { definition, url } = await anotherApi(system.apiProcess, 2)
  const environment = { ...definition.environment, KAFKA_BROKERS: `127.0.0.1:${await findFreePort()}` }
  const lonely = { ...definition, environment, readyUrl: `${url}/livez` }
  const other = new Supervisor({ definitions: [lonely], onLine: () => undefined })
  t.teardown(() => other.stopAll())
  other.start(lonely.name)
  await other.waitReady(lonely.name)
  const caller = new ApiCaller(url, api.key)
  const event = usageEnvelope({ id: 'unsent', customerId: 'strict', data: TOKENS })
  const refused = await caller.send('POST', '/v1/usage-events', event)
  t.equal(refused.status, 503, refused.text)
  t.ok(Number(refused.headers.get('retry-after')) > 0)
  t.equal(told<ProblemTold>(refused).code, 'service-unavailable')
  const answer = await check('strict', caller)
  t.equal(answer.status, 200)
  t.match(told<CheckTold>(answer), { allowed: true, source: 'meter' })
  const ready = await fetch(`${url}/readyz`)
  t.equal(ready.status, 503, 'it says of itself that it is not ready')
  t.match(await ready.text(), /kafka/)
})

t.test('while the meter consumer is down a deny limit is 503 and an allow limit a flagged yes', async (t) => {
  await supervisor.stop('meter')
  const unknown = await waitUntil(
    async () => {
      const answer = await check('strict')
      return answer.status === 503 && answer
    },
    { what: 'the counts to be stale', timeoutMs: STALE_AFTER_MS + 8_000 }
  )
  t.match(told<ProblemTold>(unknown), { code: 'quota-unknown', why: 'stale' })
  t.ok(Number(unknown.headers.get('retry-after')) > 0)
  // Freshness is told by partition, so another customer may be known a moment longer.
  const flagged = await waitUntil(
    async () => {
      const answer = await check('lenient')
      t.equal(answer.status, 200)
      return told<CheckTold>(answer).source !== 'meter' && told<CheckTold>(answer)
    },
    { what: 'a flagged answer', timeoutMs: STALE_AFTER_MS + 8_000 }
  )
  t.match(flagged, { allowed: true, source: 'unknown-allowed' })
  const heldStrictly = await hold('strict', 'hold-1')
  t.equal(heldStrictly.status, 503)
  t.ok(Number(heldStrictly.headers.get('retry-after')) > 0)
  t.equal((await hold('lenient', 'hold-2')).status, 201)
  const balance = await api.balance('strict')
  t.equal(balance.status, 503)
  t.equal((await check('stranger')).status, 404)
})

t.test('what was sent meanwhile is counted as soon as the consumer is back, and the meter knows again', async (t) => {
  await api.postEvents([usageEnvelope({ id: 'meanwhile', customerId: 'strict', data: { tokens: { output: 1_000 } } })])
  supervisor.start('meter')
  await supervisor.waitReady('meter')
  const full = await waitUntil(
    async () => {
      const answer = await check('strict')
      return answer.status === 200 && told<CheckTold>(answer)
    },
    { what: 'the meter to know again', timeoutMs: 20_000 }
  )
  // Known means whole: the first answer already counts what came while nobody counted.
  t.match(full, { allowed: false, limits: [{ used: 1_000, remaining: 0 }] })
  await knows('lenient')
  t.notOk(statuses.has(429), 'no check was ever 429')
})
