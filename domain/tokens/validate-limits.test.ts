import fc from 'fast-check'
import t from 'tap'
import { compileLimits } from './compile-limits.ts'
import type { CustomerLimits, Limit } from './limit.ts'
import { LIMITS_MAX, validateLimits } from './validate-limits.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const WEIGHTS = { input: 1, cacheRead: 0, cacheWrite: 2, output: 2 ** 31 - 1, reasoning: 4 }
const LIMIT: Limit = {
  id: 'daily.tokens_1-A',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'day' },
  max: 0,
  mode: 'hard',
  whenUnknown: 'deny'
}
const CUSTOMER: CustomerLimits = { customerId: 'acme', timeZone: 'Europe/Paris', version: 1, limits: [LIMIT] }

function faultsOf(input: unknown): string[] {
  return validateLimits(input).map(({ field }) => field)
}

function faultsOfLimit(change: object): string[] {
  return faultsOf({ ...CUSTOMER, limits: [{ ...LIMIT, ...change }] })
}

t.test('limits of every scope, measure and window pass', async (t) => {
  const scopes = [
    { kind: 'user', userId: 'u' },
    { kind: 'each-user' },
    { kind: 'model', model: 'm' },
    { kind: 'each-model' },
    { kind: 'user-model', userId: 'u', model: 'm' }
  ]
  for (const scope of scopes) t.same(faultsOfLimit({ scope }), [])
  t.same(faultsOfLimit({ measure: { kind: 'pool', pool: 'cacheRead' } }), [])
  t.same(
    faultsOfLimit({ measure: { kind: 'cost', unit: 'EUR/1000000', weights: { '*': WEIGHTS, 'gpt-5': WEIGHTS } } }),
    []
  )
  for (const kind of ['month', 'week', 'hour']) t.same(faultsOfLimit({ window: { kind } }), [])
  t.same(faultsOfLimit({ window: { kind: 'rolling', hours: 24 }, max: Number.MAX_SAFE_INTEGER }), [])
  t.same(faultsOfLimit({ window: { kind: 'period', boundaries: [0, 900_000] } }), [])
  const { version: _, ...withoutVersion } = CUSTOMER
  t.same(faultsOf(withoutVersion), [])
  t.same(faultsOf({ ...CUSTOMER, limits: [] }), [])
})

t.test('every fault names its field', async (t) => {
  const cases: readonly [object, string][] = [
    [{ id: '' }, 'id'],
    [{ id: 'a b' }, 'id'],
    [{ id: 'x'.repeat(65) }, 'id'],
    [{ id: 7 }, 'id'],
    [{ max: -1 }, 'max'],
    [{ max: 1.5 }, 'max'],
    [{ max: 2 ** 53 }, 'max'],
    [{ max: '7' }, 'max'],
    [{ mode: 'firm' }, 'mode'],
    [{ whenUnknown: undefined }, 'whenUnknown'],
    [{ note: '' }, 'note'],
    [{ scope: 'customer' }, 'scope'],
    [{ scope: { kind: 'planet' } }, 'scope.kind'],
    [{ scope: { kind: 'user' } }, 'scope.userId'],
    [{ scope: { kind: 'user', userId: '' } }, 'scope.userId'],
    [{ scope: { kind: 'model', model: 'a\n' } }, 'scope.model'],
    [{ scope: { kind: 'customer', userId: 'u' } }, 'scope.userId'],
    [{ measure: { kind: 'sum' } }, 'measure.kind'],
    [{ measure: { kind: 'pool', pool: 'total' } }, 'measure.pool'],
    [{ measure: { kind: 'cost', unit: '', weights: { '*': WEIGHTS } } }, 'measure.unit'],
    [{ measure: { kind: 'cost', unit: 'EUR', weights: { m: WEIGHTS } } }, 'measure.weights.*'],
    [
      { measure: { kind: 'cost', unit: 'EUR', weights: { '*': { ...WEIGHTS, input: -1 } } } },
      'measure.weights.*.input'
    ],
    [
      { measure: { kind: 'cost', unit: 'EUR', weights: { '*': { ...WEIGHTS, input: 2 ** 31 } } } },
      'measure.weights.*.input'
    ],
    [
      { measure: { kind: 'cost', unit: 'EUR', weights: { '*': { ...WEIGHTS, inputs: 1 } } } },
      'measure.weights.*.inputs'
    ],
    [{ measure: { kind: 'cost', unit: 'EUR', weights: { '*': 3 } } }, 'measure.weights.*'],
    [{ window: { kind: 'year' } }, 'window.kind'],
    [{ window: { kind: 'rolling', hours: 0 } }, 'window.hours'],
    [{ window: { kind: 'rolling', hours: 25 } }, 'window.hours'],
    [{ window: { kind: 'rolling', hours: 1.5 } }, 'window.hours'],
    [{ window: { kind: 'period', boundaries: [0] } }, 'window.boundaries'],
    [{ window: { kind: 'period', boundaries: [0, 900_001] } }, 'window.boundaries[1]'],
    [{ window: { kind: 'period', boundaries: [900_000, 900_000] } }, 'window.boundaries[1]']
  ]
  for (const [change, field] of cases) t.same(faultsOfLimit(change), [`limits[0].${field}`], JSON.stringify(change))
  t.same(faultsOf({ ...CUSTOMER, customerId: '' }), ['customerId'])
  t.same(faultsOf({ ...CUSTOMER, timeZone: 'Mars/Olympus' }), ['timeZone'])
  t.same(faultsOf({ ...CUSTOMER, timeZone: '+01:00' }), ['timeZone'])
  t.same(faultsOf({ ...CUSTOMER, version: -1 }), ['version'])
  t.same(faultsOf({ ...CUSTOMER, owner: 'me' }), ['owner'])
  t.same(faultsOf({ ...CUSTOMER, limits: [7] }), ['limits[0]'])
  for (const body of [null, 7, []]) t.same(faultsOf(body), [''])
})

t.test('all faults are told at once', async (t) => {
  const limits = [
    { ...LIMIT, max: -1, mode: '' },
    { ...LIMIT, id: '' }
  ]
  t.same(faultsOf({ customerId: '', limits }), [
    'customerId',
    'timeZone',
    'limits[0].max',
    'limits[0].mode',
    'limits[1].id'
  ])
})

t.test(
  'limits of one customer have different ids, one list of billing periods, and are at most a hundred',
  async (t) => {
    t.same(faultsOf({ ...CUSTOMER, limits: [LIMIT, LIMIT] }), ['limits[1].id'])
    const many = Array.from({ length: LIMITS_MAX + 1 }, (_, i) => ({ ...LIMIT, id: `l-${i}` }))
    t.same(faultsOf({ ...CUSTOMER, limits: many }), ['limits'])
    t.same(faultsOf({ ...CUSTOMER, limits: many.slice(1) }), [])
    const period = (id: string, end: number) => ({ ...LIMIT, id, window: { kind: 'period', boundaries: [0, end] } })
    t.same(faultsOf({ ...CUSTOMER, limits: [period('a', 900_000), period('b', 900_000)] }), [])
    t.same(faultsOf({ ...CUSTOMER, limits: [period('a', 900_000), period('b', 1_800_000)] }), [
      'limits[1].window.boundaries'
    ])
  }
)

t.test('whatever comes in, faults come out, and what has none can be compiled', async (t) => {
  const field = fc.constantFrom('id', 'scope', 'measure', 'window', 'max', 'mode', 'whenUnknown', 'extra')
  const piece = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      { kind: 'each-user' },
      { kind: 'week' },
      { kind: 'pool', pool: 'input' },
      { kind: 'rolling', hours: 3 },
      'soft',
      5
    )
  )
  let passed = 0
  fc.assert(
    fc.property(fc.array(fc.tuple(field, piece), { maxLength: 3 }), (changes) => {
      const input = { ...CUSTOMER, limits: [{ ...LIMIT, ...Object.fromEntries(changes) }] }
      if (validateLimits(input).length > 0) return
      passed += 1
      compileLimits(input, Date.UTC(2026, 0, 1))
    }),
    { seed, numRuns: 2_000 }
  )
  t.ok(passed > 20, `${passed} passed`)
})
