/** The limits that the demo gives its first customers: generous, tight, per user, per model, and a cost. */
import type { DemoCustomer } from './customers.ts'
import { type DemoApi, send } from './demo-api.ts'

const COST_PER_TOKEN = { input: 3, cacheRead: 1, cacheWrite: 4, output: 15, reasoning: 15 }

const LIMITS: readonly (readonly object[])[] = [
  [
    limit('month', { window: { kind: 'month' }, max: 1_000_000_000 }),
    limit('hour-soft', { window: { kind: 'hour' }, max: 1_000_000, mode: 'soft' })
  ],
  [limit('day', { window: { kind: 'day' }, max: 100_000 })],
  [limit('each-user-day', { scope: { kind: 'each-user' }, window: { kind: 'day' }, max: 50_000 })],
  [limit('model-day', { scope: { kind: 'model', model: 'gpt-5.1' }, window: { kind: 'day' }, max: 10_000_000 })],
  [
    limit('cost-month', {
      measure: { kind: 'cost', unit: 'EUR/1000000', weights: { '*': COST_PER_TOKEN } },
      window: { kind: 'month' },
      max: 50_000_000
    }),
    limit('rolling-3h', { window: { kind: 'rolling', hours: 3 }, max: 5_000_000, mode: 'soft' })
  ]
]

export const LIMITED_CUSTOMERS = LIMITS.length

/** A hard limit on all of a customer's tokens, unless `change` says otherwise; it has to say the window and the max. */
export function limit(id: string, change: object): object {
  return { id, scope: { kind: 'customer' }, measure: { kind: 'total' }, mode: 'hard', whenUnknown: 'deny', ...change }
}

/** Beside those of their plans. */
export async function setLimits(api: DemoApi, customers: readonly DemoCustomer[]): Promise<void> {
  for (const [index, limits] of LIMITS.entries()) {
    await send(api, `PUT /v1/customers/${customers[index]?.id}/limits`, { timeZone: 'Europe/Paris', limits })
  }
}
