// Clients that share no code with ours: kcat writes CloudEvents in both modes of the Kafka binding, curl reads what they add up to.

import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type LimitTold, type UsageTold, usageQuery } from './api-caller.ts'
import { type CurlAnswer, curl, ensureClients, kcatProduce } from './foreign-clients.ts'
import { npmRun } from './run-program.ts'
import { startSystem } from './start-system.ts'
import { limit, type UsageEnvelope, usageEnvelope } from './usage-envelope.ts'

await ensureClients()
const system = await startSystem(t)
const { api, ledger } = system
const brokers = system.environment.KAFKA_BROKERS ?? ''

function produce(key: string, headers: Readonly<Record<string, string>>, content: object): Promise<void> {
  return kcatProduce(brokers, system.usageTopic, { key, headers, value: JSON.stringify(content) })
}

function structured(event: UsageEnvelope): Promise<void> {
  return produce(event.subject, { 'content-type': 'application/cloudevents+json; charset=UTF-8' }, event)
}

function binary({ data, ...attributes }: UsageEnvelope): Promise<void> {
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, value]))
  return produce(attributes.subject, { ...headers, 'content-type': 'application/json' }, data)
}

function ask(path: string, ...more: readonly string[]): Promise<CurlAnswer> {
  return curl(`${api.url}${path}`, api.key, ...more)
}

t.test('what kcat produces in structured and in binary mode is counted, and curl reads the balance', async (t) => {
  const body = JSON.stringify({ timeZone: 'Africa/Dakar', limits: [limit('day', 1_000_000)] })
  const put = await ask('/v1/customers/kcat-customer/limits', '--request', 'PUT', '--json', body)
  t.equal(put.status, 201, put.body)
  const customerId = 'kcat-customer'
  await structured(
    usageEnvelope({ id: 's-1', customerId, data: { userId: 'ann', tokens: { input: 1_000, output: 200 } } })
  )
  const usage = { input_tokens: 40, cache_read_input_tokens: 300, cache_creation_input_tokens: 0, output_tokens: 60 }
  const claude = { model: 'claude-opus-4-5', provider: 'anthropic', userId: 'ben', usage }
  const second = usageEnvelope({ id: 'b-1', customerId, data: claude })
  await binary(second)
  // The same event once more in the other mode is a repeat: a mode is a way to write an event and no part of it.
  await structured(second)
  await system.drained()
  t.equal(await ledger.tokens({ customerId }), 1_600)
  t.equal(await ledger.uncounted('duplicate'), 1)
  const standing = await waitUntil(() => api.standing(customerId, 'day'), { what: 'the limit', timeoutMs: 10_000 })
  t.equal(standing.used, 1_600)
  const balance = await ask('/v1/customers/kcat-customer/balance')
  t.equal(balance.status, 200)
  const { limits }: { limits: readonly LimitTold[] } = JSON.parse(balance.body)
  t.match(limits, [{ id: 'day', limit: 1_000_000, used: 1_600, held: 0, remaining: 998_400, unknown: null }])
})

t.test('curl reads usage by user and model, the same as JSON and as CSV', async (t) => {
  const query = usageQuery({ customerId: 'kcat-customer', groupBy: 'user,model', grain: 'all' })
  const json = await ask(`/v1/usage?${query}`)
  t.equal(json.status, 200, json.body)
  const { data }: UsageTold = JSON.parse(json.body)
  const rows = data.map(({ userId, model, tokens, events }) => [userId, model, tokens, events]).sort()
  t.same(rows, [
    ['ann', 'gpt-5.1', '1200', '1'],
    ['ben', 'claude-opus-4-5', '400', '1']
  ])
  const csv = await ask(`/v1/usage?${query}`, '--header', 'Accept: text/csv')
  t.equal(csv.status, 200)
  t.match(csv.contentType, /^text\/csv/)
  const [heading, ...lines] = csv.body.trimEnd().split('\r\n')
  t.equal(heading, 'start,customerId,userId,model,pool,tokens,events')
  t.same(lines.sort(), [',,ann,gpt-5.1,,1200,1', ',,ben,claude-opus-4-5,,400,1'])
})

t.test('usage of a customer and a model that nobody knows is counted, and reconcile names the customer', async (t) => {
  const stranger = 'nobody-knows-me'
  const data = { model: 'model-of-tomorrow', provider: 'start-up', tokens: { input: 77, reasoning: 5 } }
  await binary(usageEnvelope({ id: 'u-1', customerId: stranger, data }))
  await system.drained()
  t.equal(await ledger.tokens({ customerId: stranger }), 82)
  const usage = await ask(`/v1/usage?${usageQuery({ customerId: stranger, groupBy: 'customer,model', grain: 'all' })}`)
  t.match(JSON.parse(usage.body).data, [
    { customerId: stranger, model: 'model-of-tomorrow', tokens: '82', events: '1' }
  ])
  t.equal((await ask(`/v1/customers/${stranger}/balance`)).status, 404)
  const reconciliation: { withoutLimits: readonly string[]; drift: number; customers: readonly object[] } = JSON.parse(
    await npmRun(system.environment, 'reconcile', '--json')
  )
  t.same(reconciliation.withoutLimits, [stranger])
  t.equal(reconciliation.drift, 0)
  t.match(reconciliation.customers, [
    { customerId: 'kcat-customer', log: '1600', ledger: '1600', clickhouse: '1600', redis: '1600' },
    { customerId: stranger, log: '82', ledger: '82', clickhouse: '82' }
  ])
})
