import fc from 'fast-check'
import t from 'tap'
import { compileLimits, NEXT_WINDOWS, RENEWAL_INTERVAL_MAX_MS } from './compile-limits.ts'
import type { CostWeights, Counter, CustomerLimits, Limit, LimitMeasure, LimitScope, LimitWindow } from './limit.ts'
import { quarterOf } from './quarter-hour.ts'
import { TOKEN_POOLS } from './token-pools.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const NOW = Date.parse('2026-10-10T12:34:00Z')
const DAY_MS = 86_400_000
const WEIGHTS: CostWeights = { input: 1, cacheRead: 2, cacheWrite: 3, output: 4, reasoning: 5 }

function limit(change: Partial<Limit> = {}): Limit {
  return {
    id: 'l-1',
    scope: { kind: 'customer' },
    measure: { kind: 'total' },
    window: { kind: 'day' },
    max: 100,
    mode: 'hard',
    whenUnknown: 'deny',
    ...change
  }
}

function customer(...limits: readonly Limit[]): CustomerLimits {
  return { customerId: 'acme', timeZone: 'Europe/Paris', version: 3, limits }
}

function counterOf(change: Partial<Limit>): Counter {
  const [counter] = compileLimits(customer(limit(change)), NOW).compiled.counters
  if (counter === undefined) throw new Error('there is no counter')
  return counter
}

function idOf(change: Partial<Limit>): string {
  return counterOf(change).id
}

t.test('limits that sum the same over the same windows share a counter, whatever their max', async (t) => {
  const limits = [
    limit(),
    limit({ id: 'l-2', max: 50, mode: 'soft', whenUnknown: 'allow' }),
    limit({ id: 'l-3', window: { kind: 'month' } })
  ]
  const { compiled } = compileLimits(customer(...limits), NOW)
  t.equal(compiled.customerId, 'acme')
  t.equal(compiled.version, 3)
  t.equal(compiled.counters.length, 2)
  const [day, month] = compiled.counters
  t.same(compiled.limits, [
    { id: 'l-1', counterId: day?.id, max: 100, mode: 'hard', whenUnknown: 'deny', rollingHours: 0 },
    { id: 'l-2', counterId: day?.id, max: 50, mode: 'soft', whenUnknown: 'allow', rollingHours: 0 },
    { id: 'l-3', counterId: month?.id, max: 100, mode: 'hard', whenUnknown: 'deny', rollingHours: 0 }
  ])
})

t.test('two counters never have one id, whatever the names in their scopes', async (t) => {
  const name = fc.string({ unit: fc.constantFrom('|', ':', '=', '1', '2', 'a', '*'), minLength: 1, maxLength: 6 })
  const scope = fc.oneof<fc.Arbitrary<LimitScope>[]>(
    fc.constantFrom<LimitScope>({ kind: 'customer' }, { kind: 'each-user' }, { kind: 'each-model' }),
    fc.record({ kind: fc.constant('user' as const), userId: name }),
    fc.record({ kind: fc.constant('model' as const), model: name }),
    fc.record({ kind: fc.constant('user-model' as const), userId: name, model: name })
  )
  const weight = fc.nat(2)
  const weights = fc.record({ input: weight, cacheRead: weight, cacheWrite: weight, output: weight, reasoning: weight })
  const measure = fc.oneof<fc.Arbitrary<LimitMeasure>[]>(
    fc.constant({ kind: 'total' }),
    fc.constantFrom(...TOKEN_POOLS).map((pool) => ({ kind: 'pool', pool })),
    fc
      .tuple(weights, name, weights)
      .map(([all, model, own]) => ({ kind: 'cost', unit: 'EUR', weights: { '*': all, [model]: own } }))
  )
  const window = fc.oneof<fc.Arbitrary<LimitWindow>[]>(
    fc.constantFrom<LimitWindow>({ kind: 'month' }, { kind: 'day' }),
    fc.integer({ min: 1, max: 24 }).map((hours) => ({ kind: 'rolling', hours }))
  )
  const sum = fc.record({ scope, measure, window })
  const canonical = (of: { scope: LimitScope; measure: LimitMeasure; window: LimitWindow }) => {
    const { measure } = of
    const models =
      measure.kind === 'cost' ? Object.entries(measure.weights).sort(([a], [b]) => (a < b ? -1 : 1)) : measure
    return JSON.stringify([of.scope, models, of.window])
  }
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(sum, sum, (one, other) => {
        if ((idOf(one) === idOf(other)) !== (canonical(one) === canonical(other)))
          throw new Error(`${idOf(one)} ${idOf(other)}`)
      }),
      { seed, numRuns: 500 }
    )
  )
  const split = (userId: string, model: string) => idOf({ scope: { kind: 'user-model', userId, model } })
  t.not(split('a1:', 'b'), split('a', '1:b'))
})

t.test('a cost counter is another one when a weight changes, and the same when only order or unit do', async (t) => {
  const cost = (weights: Readonly<Record<string, CostWeights>>, unit = 'EUR/1000000') =>
    idOf({ measure: { kind: 'cost', unit, weights } })
  const small = { ...WEIGHTS, output: 9 }
  t.equal(cost({ '*': WEIGHTS, small }), cost({ small, '*': WEIGHTS }, 'USD/1000'))
  t.not(cost({ '*': WEIGHTS, small }), cost({ '*': WEIGHTS, small: WEIGHTS }))
  t.not(cost({ '*': WEIGHTS, small }), cost({ '*': WEIGHTS }))
})

t.test('weights stand in the order of the pools', async (t) => {
  t.same(counterOf({}).weights, { '*': [1, 1, 1, 1, 1] })
  t.same(counterOf({ measure: { kind: 'pool', pool: 'output' } }).weights, { '*': [0, 0, 0, 1, 0] })
  const hostile = JSON.parse('{"__proto__":{"input":9,"cacheRead":9,"cacheWrite":9,"output":9,"reasoning":9}}')
  const weights = { '*': WEIGHTS, ...hostile }
  const compiled = counterOf({ measure: { kind: 'cost', unit: 'EUR', weights } }).weights
  t.same(compiled['*'], [1, 2, 3, 4, 5])
  t.equal(Object.getPrototypeOf(compiled), Object.prototype, 'a model of that name is a name')
})

t.test('each kind of window is listed: previous, current, next', async (t) => {
  const now = quarterOf(NOW)
  for (const kind of ['month', 'week', 'day', 'hour'] as const) {
    const { windows, rollingHours } = counterOf({ window: { kind } })
    t.equal(windows.length, NEXT_WINDOWS[kind] + 2)
    t.ok((windows[1]?.[0] ?? 0) <= now && now < (windows[1]?.[1] ?? 0), `${kind}: the second one holds now`)
    t.equal(rollingHours, 0)
  }
  t.match(counterOf({ window: { kind: 'rolling', hours: 5 } }), { windows: [], rollingHours: 5 })
})

t.test('billing periods are listed as far as they are stored', async (t) => {
  const midnight = Date.parse('2026-10-10T00:00:00Z')
  const windowsAround = (daysBefore: number, daysAfter: number) => {
    const boundaries = Array.from(
      { length: daysBefore + daysAfter + 1 },
      (_, i) => midnight + (i - daysBefore) * DAY_MS
    )
    return counterOf({ window: { kind: 'period', boundaries } }).windows.map(
      ([start]) => (start * 900_000 - midnight) / DAY_MS
    )
  }
  t.same(windowsAround(5, 3), [-1, 0, 1, 2])
  t.same(windowsAround(0, 3), [0, 1, 2], 'no previous one is stored')
  t.same(windowsAround(5, 0), [-1], 'they have run out')
  t.equal(windowsAround(5, 40).length, NEXT_WINDOWS.period + 2)
})

t.test(
  'windows are to be listed anew when half of the next ones are left, and after thirty days at most',
  async (t) => {
    const renewAt = (...kinds: readonly LimitWindow[]) =>
      new Date(
        compileLimits(customer(...kinds.map((window, i) => limit({ id: `l-${i}`, window }))), NOW).renewAt
      ).toISOString()
    t.equal(renewAt({ kind: 'day' }), '2026-10-16T22:00:00.000Z', 'the 7th of 14 days begins')
    t.equal(renewAt({ kind: 'hour' }), '2026-10-11T12:00:00.000Z', 'the 24th of 48 hours begins')
    t.equal(renewAt({ kind: 'day' }, { kind: 'hour' }), renewAt({ kind: 'hour' }), 'the first to run out decides')
    const latest = new Date(NOW + RENEWAL_INTERVAL_MAX_MS).toISOString()
    t.equal(renewAt({ kind: 'rolling', hours: 2 }), latest)
    t.equal(renewAt(), latest)
    t.equal(renewAt({ kind: 'period', boundaries: [0, 900_000] }), latest, 'compiling again could not help')
  }
)

t.test('half of the next windows are left when they are to be listed anew', async (t) => {
  const times = fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2030, 0, 1) })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.constantFrom('week', 'day', 'hour'), times, (kind, nowMs) => {
        const { compiled, renewAt } = compileLimits(customer(limit({ window: { kind } })), nowMs)
        const left = compiled.counters[0]?.windows.filter(([start]) => start * 900_000 > renewAt).length
        if (renewAt <= nowMs || left !== NEXT_WINDOWS[kind] / 2) throw new Error(`${left} are left at ${renewAt}`)
      }),
      { seed, numRuns: 60 }
    )
  )
})
