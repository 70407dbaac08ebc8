// Holds make "never above the limit" a promise, from however many API processes they are asked; corrections give tokens back.

import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type ApiCaller, type LimitTold, type ProblemTold, told } from './api-caller.ts'
import { npmRun } from './run-program.ts'
import { startSystem } from './start-system.ts'
import { limit, SOURCE, usageEnvelope } from './usage-envelope.ts'

const HOLDS = 1_000
/** Longer than the storm may take on a busy machine; what is admitted is renewed for a second only, to see it expire. */
const HOLD_TTL_SECONDS = 600
const HELD_TOKENS = 137
const MAX = 100_000
const PATIENCE = { timeoutMs: 15_000 }

const system = await startSystem(t, { apis: 2 })
const { api, apis, ledger } = system

/** Where a limit stands once the meter knows it. */
function standing(customerId: string): Promise<LimitTold> {
  return waitUntil(() => api.standing(customerId, 'all'), { what: `the limit of ${customerId}`, ...PATIENCE })
}

async function limited(customerId: string, max: number): Promise<void> {
  await api.putLimits(customerId, [limit('all', max)])
  await standing(customerId)
}

interface HoldTold {
  readonly hold: { readonly state: string }
}

function holdState(customerId: string, holdId: string): Promise<string> {
  return api
    .send('GET', `/v1/quota/holds/${holdId}?customerId=${customerId}`)
    .then((answer) => told<HoldTold['hold']>(answer).state)
}

/** Ids of the storm's holds that were admitted. */
let admittedIds: string[] = []

await limited('crowd', MAX)

t.test('a thousand holds at once through two APIs fill a limit and never pass it', async (t) => {
  const startedAt = performance.now()
  const answers = await Promise.all(
    Array.from({ length: HOLDS }, (_, i) => {
      const either: ApiCaller = apis[i % apis.length] ?? api
      const hold = { holdId: `crowd-${i}`, customerId: 'crowd', model: 'gpt-5.1', ttlSeconds: HOLD_TTL_SECONDS }
      return either.hold({ ...hold, tokens: { input: 100, output: HELD_TOKENS - 100 } })
    })
  )
  t.comment(`${HOLDS} answers in ${Math.round(performance.now() - startedAt)} ms`)
  admittedIds = answers.flatMap(({ status }, i) => (status === 201 ? [`crowd-${i}`] : []))
  const admitted = admittedIds.length
  const refused = answers.filter(({ status }) => status === 429)
  t.equal(admitted + refused.length, HOLDS, 'each is admitted or refused')
  t.ok(admitted * HELD_TOKENS <= MAX, `${admitted} holds stay within the limit`)
  t.ok(admitted * HELD_TOKENS >= 0.99 * MAX, `${admitted} holds use at least 99 % of it`)
  for (const answer of refused) {
    const { code, binding } = told<ProblemTold>(answer)
    if (code === 'quota-exceeded' && binding === 'all' && Number(answer.headers.get('retry-after')) > 0) continue
    t.fail('a refusal names the limit that binds and when to come back', { text: answer.text })
  }
  const { held, used } = await standing('crowd')
  t.same({ held, used }, { held: admitted * HELD_TOKENS, used: 0 })
})

t.test('a usage event releases its hold and counts what was really used', async (t) => {
  const customerId = 'settler'
  await limited(customerId, 1_000)
  const ask = { holdId: 'settle-1', customerId, model: 'gpt-5.1', tokens: { output: 900 }, ttlSeconds: 600 }
  t.equal((await api.hold(ask)).status, 201)
  t.equal((await api.hold({ ...ask, holdId: 'settle-2' })).status, 429, 'there is no room beside it')
  await api.postEvents([
    usageEnvelope({ id: 'settled', customerId, data: { holdId: 'settle-1', tokens: { input: 20, output: 300 } } })
  ])
  await system.drained()
  const { used, held, remaining } = await standing(customerId)
  t.same({ used, held, remaining }, { used: 320, held: 0, remaining: 680 })
  t.equal(await holdState(customerId, 'settle-1'), 'counted')
  t.equal(
    (await api.hold({ ...ask, holdId: 'settle-3', tokens: { output: 680 } })).status,
    201,
    'the room is free again'
  )
})

t.test('a void takes tokens back in quota, ledger and ClickHouse, once', async (t) => {
  const customerId = 'regretter'
  await limited(customerId, 1_000)
  const data = { userId: 'ann', tokens: { input: 400, cacheRead: 50, output: 150 } }
  await api.postEvents([
    usageEnvelope({ id: 'kept', customerId, data: { tokens: { output: 7 } } }),
    usageEnvelope({ id: 'regretted', customerId, data })
  ])
  await system.drained()
  t.equal((await standing(customerId)).used, 607)
  const duplicates = await ledger.uncounted('duplicate')
  for (const repeats of [0, 1]) {
    const answer = await api.send('POST', '/v1/usage-events/regretted/void', { customerId, source: SOURCE })
    t.equal(answer.status, 202, answer.text)
    await system.drained()
    t.equal((await standing(customerId)).used, 7)
    t.equal(await ledger.tokens({ customerId }), 7)
    t.equal(await api.usedTokens(customerId), 7)
    t.equal(await ledger.uncounted('duplicate'), duplicates + repeats, 'only a second one is a repeat')
  }
  const unknown = await api.send('POST', '/v1/usage-events/never-sent/void', { customerId, source: SOURCE })
  t.equal(unknown.status, 404)
})

t.test('what nobody settles expires, and every token is free again', async (t) => {
  const renewal = { customerId: 'crowd', ttlSeconds: 1 }
  const renewed = await Promise.all(
    admittedIds.map((holdId) => api.send('POST', `/v1/quota/holds/${holdId}/extend`, renewal))
  )
  t.same(
    renewed.filter(({ status }) => status !== 200).map(({ text }) => text),
    []
  )
  const freed = await waitUntil(
    async () => {
      const limit = await api.standing('crowd', 'all')
      return limit !== undefined && limit.held === 0 && limit
    },
    { what: 'the holds to expire', timeoutMs: 30_000 }
  )
  t.match(freed, { used: 0, held: 0, remaining: MAX })
  t.equal(await holdState('crowd', admittedIds[0] ?? ''), 'expired')
  const whole = { holdId: 'all-of-it', customerId: 'crowd', model: 'gpt-5.1', tokens: { output: MAX }, ttlSeconds: 60 }
  t.equal((await api.hold(whole)).status, 201, 'one hold may have all of it')
  t.equal(JSON.parse(await npmRun(system.environment, 'reconcile', '--json')).drift, 0)
})
