// The meter in four shards on a Redis Cluster of three nodes: nothing is different to whoever sends usage or asks for quota.

import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { startRedisCluster } from '../redis-cluster.ts'
import { type CheckTold, told } from './api-caller.ts'
import { npmRun } from './run-program.ts'
import { startSystem } from './start-system.ts'
import { limit, usageEnvelope } from './usage-envelope.ts'

const CUSTOMERS = Array.from({ length: 24 }, (_, i) => `clinic-${i}`)
const EVENTS_EACH = 40
const TOKENS_EACH = 25
const USED = EVENTS_EACH * TOKENS_EACH
const MAX = USED + 100

const cluster = await startRedisCluster(t)
const system = await startSystem(t, { services: { REDIS_URL: cluster.url }, environment: { METER_SHARDS: '4' } })
const { api } = system

async function check(customerId: string, tokens: number): Promise<CheckTold> {
  const answer = await api.check({ customerId, model: 'gpt-5.1', tokens: { output: tokens } })
  if (answer.status !== 200) throw new Error(`the check of ${customerId} answered ${answer.status}: ${answer.text}`)
  return told<CheckTold>(answer)
}

t.test('every customer is counted and checked, whatever shard and node it lives on', async (t) => {
  for (const customerId of CUSTOMERS) await api.putLimits(customerId, [limit('all', MAX)])
  const messages = Array.from({ length: EVENTS_EACH }, (_, i) =>
    CUSTOMERS.map((customerId) => {
      const event = usageEnvelope({ id: `event-${i}`, customerId, data: { tokens: { input: TOKENS_EACH } } })
      return { key: customerId, value: JSON.stringify(event) }
    })
  ).flat()
  await system.producer.send({ topic: system.usageTopic, messages, acks: -1 })
  // A repeat of everything, which changes nothing.
  await system.producer.send({ topic: system.usageTopic, messages, acks: -1 })
  await system.drained()
  for (const customerId of CUSTOMERS) {
    await waitUntil(() => api.standing(customerId, 'all'), { what: `the limit of ${customerId}`, timeoutMs: 10_000 })
    t.match(await check(customerId, 100), { allowed: true, source: 'meter', limits: [{ used: USED }] })
    t.match(await check(customerId, 101), { allowed: false })
  }
  t.equal(await system.ledger.uncounted('duplicate'), messages.length)
})

t.test('holds of customers on every shard are kept and released', async (t) => {
  for (const customerId of CUSTOMERS) {
    const ask = { holdId: `hold-${customerId}`, customerId, model: 'gpt-5.1', tokens: { output: 100 }, ttlSeconds: 60 }
    t.equal((await api.hold(ask)).status, 201)
    t.match(await check(customerId, 1), { allowed: false, limits: [{ held: 100 }] })
    t.equal((await api.send('POST', `/v1/quota/holds/${ask.holdId}/release`, { customerId })).status, 200)
    t.match(await check(customerId, 100), { allowed: true, limits: [{ held: 0 }] })
  }
})

t.test('the shards lie on more than one node, and no store differs from another', async (t) => {
  const keys = await Promise.all(cluster.nodes.map(async (_, i) => Number(await cluster.onNode(i, 'DBSIZE'))))
  t.comment(`keys on the nodes: ${keys.join(', ')}`)
  t.ok(keys.filter((count) => count > 0).length > 1)
  const reconciliation = JSON.parse(await npmRun(system.environment, 'reconcile', '--json'))
  t.equal(reconciliation.drift, 0)
  t.same(reconciliation.seeding, [])
  t.same(
    reconciliation.customers,
    CUSTOMERS.toSorted().map((customerId) => {
      const sum = String(USED)
      return { customerId, log: sum, ledger: sum, clickhouse: sum, redis: sum }
    })
  )
})
