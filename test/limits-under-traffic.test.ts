// Limits of many customers at once, on real stores, while usage of the same customers goes on and on.

import t from 'tap'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { startPipeline } from './gate/counting-pipeline.ts'
import { twoDayLimits } from './meter-shard.ts'

/** Many times what one reply of the meter tells of limits that wait for their sums. */
const CUSTOMERS = 1_000
const AT_ONCE = 20
const TOKENS = 3
const customerIds = Array.from({ length: CUSTOMERS }, (_, i) => `customer-${i}`)

t.test('limits that are set for many customers at once are seeded exactly while usage goes on', async (t) => {
  const pipeline = await startPipeline(t, 4)
  const { quota } = pipeline.meter
  const sent: UsageEvent[] = []
  let isOver = false
  const useOn = async (): Promise<void> => {
    for (let from = 0; !isOver; from = (from + AT_ONCE) % CUSTOMERS) {
      const some = customerIds.slice(from, from + AT_ONCE)
      sent.push(...(await pipeline.send(some.map((customerId) => ({ customerId, tokens: { input: TOKENS } })))))
    }
  }
  const traffic = useOn()
  try {
    await waitUntil(async () => sent.length > CUSTOMERS, { what: 'usage of everyone', timeoutMs: 30_000 })
    await Promise.all(customerIds.map((customerId) => quota.setLimits(twoDayLimits({ customerId }))))
    const isSeeded = async (): Promise<boolean> => {
      const found = await pipeline.counters.customers(customerIds)
      return [...found.values()].every((customer) => customer?.seeding === false)
    }
    await waitUntil(isSeeded, { what: 'all limits to be seeded', timeoutMs: 30_000 })
  } finally {
    isOver = true
    await traffic
  }
  await pipeline.flushed()
  const used = new Map<string, number>()
  for (const { customerId } of sent) used.set(customerId, (used.get(customerId) ?? 0) + TOKENS)
  for (const [customerId, customer] of await pipeline.counters.customers(customerIds)) {
    const amounts = customer?.amounts.map(({ amount }) => amount)
    t.same(
      { total: customer?.total, amounts },
      { total: used.get(customerId), amounts: [used.get(customerId)] },
      customerId
    )
  }
})
