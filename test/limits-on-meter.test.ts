// From a plan to what the real meter answers: limits of a subscription over the end of its period, with a grant that burns. The
// clock stands still unless it is set; Redis is told the same time.

import t from 'tap'
import { NOW } from '../api/ports-in-memory.ts'
import { limitRefresh, renewDue } from '../api/renew-limits.ts'
import { renewDueSubscriptions } from '../api/subscriptions/renew-subscriptions.ts'
import { SETTLE_AFTER_MS } from '../domain/tokens/grants/reckon-grants.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { PostgresEffectiveLimits } from '../sql/subscriptions/effective-limits.ts'
import { ledgerOf } from './counted-events.ts'
import { startCustomerService } from './customer-service.ts'
import { count, freshMeter, setSeeded, usageEvent } from './meter-shard.ts'
import { addCustomer, addPlan } from './plans-and-customers.ts'

/** Midnight of 12 April in Paris. */
const PERIOD_END = Date.parse('2026-04-11T22:00:00Z')

let at = NOW
const meter = await freshMeter(t, { partitions: 1, staleAfterMs: 3_600_000, now: () => at })
const service = await startCustomerService(
  t,
  {},
  { limitRefresh: { refresh: (customerId) => refresh.refresh(customerId) } }
)
const use = ledgerOf(t, service.databaseUrl)
const { stores, now } = service
/** No usage came before these limits: whatever the meter waits for is seeded with nothing. */
const refresh = limitRefresh({
  effectiveLimits: new PostgresEffectiveLimits(service.entities),
  limitMeter: { setLimits: (limits) => setSeeded(meter, limits, at) },
  limitStore: stores.limitStore,
  now
})
const renewals = { ...stores, limitRefresh: refresh, now }

function setClock(ms: number): void {
  at = ms
  service.setNow(ms)
}

async function renewAll(): Promise<void> {
  await renewDueSubscriptions(renewals, () => false)
  await renewDue(renewals, () => false)
}

/** Counted by the meter and flushed to the ledger, as the consumer does it. */
async function used(customerId: string, occurredAt: number, tokens: number): Promise<UsageEvent> {
  const event = usageEvent({ customerId, occurredAt, tokens: { input: tokens } })
  t.strictSame(await count(meter, [event], { countedUpTo: at }), ['counted'])
  await use({ customerId, at: occurredAt, tokens })
  return event
}

async function standing(customerId: string, ms = at) {
  const back = at
  at = ms
  const found = await meter.quota.check({ customerId, userId: 'ada', model: 'model-1', tokens: null })
  at = back
  if (!found.known || found.limits === null) throw new Error(`the meter can't know: ${JSON.stringify(found)}`)
  return found.limits.map((limit) => [limit.id, limit.used, limit.max, limit.remaining, limit.unknown])
}

const plan = await addPlan(service, {
  limits: [
    {
      id: 'period',
      scope: { kind: 'customer' },
      measure: { kind: 'total' },
      window: { kind: 'plan-period' },
      max: 100,
      mode: 'hard',
      whenUnknown: 'deny'
    }
  ]
})

t.test('no token is missed or doubled where one period follows another, before and after its renewal', async (t) => {
  const { id: customerId } = await addCustomer(service)
  setClock(NOW)
  await service.call('POST /v1/subscriptions', { customerId, planId: plan.id })
  await service.call(`POST /v1/customers/${customerId}/grants`, { tokens: 50, source: 'purchase' })
  await renewAll()
  t.strictSame(await standing(customerId), [['period', 0, 150, 150, null]])

  setClock(PERIOD_END - 120_000)
  await renewAll()
  await used(customerId, PERIOD_END - 180_000, 110)
  const early = await used(customerId, PERIOD_END + 60_000, 5)
  t.strictSame(await standing(customerId), [['period', 110, 150, 40, null]])

  setClock(PERIOD_END + 90_000)
  t.strictSame(await standing(customerId), [['period', 5, 150, 145, null]], 'the next window was listed ahead')
  await used(customerId, PERIOD_END - 1, 7)
  await renewAll()
  t.strictSame(await standing(customerId), [['period', 5, 133, 128, null]], 'the grant has what it did not burn')
  await used(customerId, PERIOD_END - 10_000, 3)
  await used(customerId, PERIOD_END, 20)
  t.strictSame(await count(meter, [early], { countedUpTo: at }), ['duplicate'])
  t.strictSame(await standing(customerId), [['period', 25, 133, 108, null]])
  t.strictSame((await standing(customerId, PERIOD_END - 1))[0]?.slice(0, 2), ['period', 120], 'each in its own window')
})

t.test('a plan limit refuses when it and its grants are used up, and a grant lets the next call in', async (t) => {
  const { id: customerId } = await addCustomer(service)
  setClock(NOW)
  await service.call('POST /v1/subscriptions', { customerId, planId: plan.id })
  await renewAll()
  await used(customerId, NOW, 120)
  t.strictSame(await standing(customerId), [['period', 120, 100, 0, null]])
  setClock(NOW + 900_000)
  const path = `/v1/customers/${customerId}/grants` as const
  const { body } = await service.call(`POST ${path}`, { tokens: 30, source: 'purchase' })
  await renewAll()
  t.strictSame(await standing(customerId), [['period', 120, 150, 30, null]], 'whole, though the limit was overdrawn')
  await used(customerId, at, 10)
  setClock(NOW + 1_800_000)
  await service.call(`POST ${path}/${body.id}/revoke`)
  setClock(at + SETTLE_AFTER_MS)
  await renewAll()
  const [[, , max, remaining] = []] = await standing(customerId)
  t.strictSame([max, remaining], [110, 0], 'what is taken back is gone')
})

t.test('a suspended customer is refused by the meter, and let in with its counts as they were', async (t) => {
  const { id: customerId } = await addCustomer(service)
  setClock(NOW)
  await service.call('POST /v1/subscriptions', { customerId, planId: plan.id })
  await renewAll()
  await used(customerId, NOW, 40)
  await service.call(`POST /v1/customers/${customerId}/suspend`)
  await renewAll()
  t.match(await standing(customerId), [
    ['period', 40, 100],
    ['customer-suspended', Number, 0, 0]
  ])
  await service.call(`POST /v1/customers/${customerId}/reactivate`)
  await renewAll()
  t.strictSame(await standing(customerId), [['period', 40, 100, 60, null]])
})
