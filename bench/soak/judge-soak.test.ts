import t from 'tap'
import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import { findSoakFaults } from './judge-soak.ts'

const RIGHT = {
  account: { events: 100, repeats: 2, byCustomer: new Map([['a', 5]]) },
  counted: 100,
  uncounted: new Map<UncountedReason, number>([['duplicate', 2]]),
  drift: 0n,
  reconciliation: { customers: [], differences: [], seeding: [], withoutLimits: [], analyticsCaughtUp: true }
}

t.test('stores that say what was sent have no fault', async (t) => {
  t.same(findSoakFaults(RIGHT), [])
  const more = new Map<UncountedReason, number>([['duplicate', 40]])
  t.same(findSoakFaults({ ...RIGHT, uncounted: more }), [], 'a request that went again makes more duplicates')
})

t.test('each thing that is not as it was sent is a fault', async (t) => {
  const difference = { customerId: 'a', day: null, what: 'redis total', ledger: '5', other: '6' } as const
  const wrongs = [
    { counted: 99 },
    { uncounted: new Map<UncountedReason, number>([['duplicate', 1]]) },
    { uncounted: new Map<UncountedReason, number>([...RIGHT.uncounted, ['conflict', 1]]) },
    { drift: 1n },
    { reconciliation: { ...RIGHT.reconciliation, differences: [difference] } },
    { reconciliation: { ...RIGHT.reconciliation, seeding: ['a'] } },
    { reconciliation: { ...RIGHT.reconciliation, analyticsCaughtUp: false } }
  ]
  for (const wrong of wrongs)
    t.equal(findSoakFaults({ ...RIGHT, ...wrong }).length, 1, JSON.stringify(Object.keys(wrong)))
})
