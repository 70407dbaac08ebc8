import fc from 'fast-check'
import t from 'tap'
import type { CounterAmount, LedgerRow } from '../ports.ts'
import { AMOUNT_MAX, amountsOf, matches, subjectOf, weightsFor } from './counter-amounts.ts'
import type { Counter, LimitScope } from './limit.ts'
import { NO_TOKENS, type TokenPools } from './token-pools.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const EVERYTHING = { '*': [1, 1, 1, 1, 1] }

function counter(change: Partial<Counter> = {}): Counter {
  return {
    id: 'c',
    scope: { kind: 'customer' },
    weights: EVERYTHING,
    rollingHours: 0,
    windows: [
      [0, 4],
      [4, 8]
    ],
    ...change
  }
}

function row(change: Partial<Omit<LedgerRow, 'tokens'>> = {}, tokens: Partial<TokenPools> = { input: 1 }): LedgerRow {
  return {
    customerId: 'acme',
    userId: 'ann',
    model: 'small',
    quarter: 0,
    events: 1,
    ...change,
    tokens: { ...NO_TOKENS, ...tokens }
  }
}

t.test('a scope takes what belongs to it, and a user scope never takes usage without a user', async (t) => {
  const scopes: readonly [LimitScope, string][] = [
    [{ kind: 'customer' }, 'ann small, ann large, bob small,  small'],
    [{ kind: 'each-model' }, 'ann small, ann large, bob small,  small'],
    [{ kind: 'each-user' }, 'ann small, ann large, bob small'],
    [{ kind: 'user', userId: 'ann' }, 'ann small, ann large'],
    [{ kind: 'user', userId: '' }, ''],
    [{ kind: 'model', model: 'small' }, 'ann small, bob small,  small'],
    [{ kind: 'user-model', userId: 'ann', model: 'small' }, 'ann small'],
    [{ kind: 'user-model', userId: '', model: 'small' }, '']
  ]
  const usage = ['ann small', 'ann large', 'bob small', ' small']
  for (const [scope, taken] of scopes) {
    const matching = usage.filter((pair) => {
      const [userId = '', model = ''] = pair.split(' ')
      return matches(scope, userId, model)
    })
    t.equal(matching.join(', '), taken, JSON.stringify(scope))
  }
})

t.test('a model has its own weights or those of every model not named, whatever it is called', async (t) => {
  const weights = { '*': [1, 1, 1, 1, 1], small: [0, 0, 0, 2, 0] }
  t.same(weightsFor(counter({ weights }), 'small'), [0, 0, 0, 2, 0])
  for (const model of ['large', 'constructor', 'toString', '__proto__'])
    t.same(weightsFor(counter({ weights }), model), weights['*'])
  t.throws(() => weightsFor(counter({ weights: {} }), 'small'), TypeError)
})

t.test('rows add to the window that holds their quarter, and to none outside of all', async (t) => {
  const rows = [-1, 0, 3, 4, 7, 8].map((quarter) => row({ quarter }, { input: 10 ** (quarter + 1) }))
  t.same(amountsOf([counter()], rows, 0), [
    { counterId: 'c', startQuarter: 0, subject: '', amount: 10_010 },
    { counterId: 'c', startQuarter: 4, subject: '', amount: 100_100_000 }
  ])
})

t.test('rows of a rolling counter add to their own quarter, from the first one asked for', async (t) => {
  const rolling = counter({ rollingHours: 1, windows: [] })
  const rows = [1, 2, 2, 3].map((quarter) => row({ quarter }))
  t.same(amountsOf([rolling], rows, 2), [
    { counterId: 'c', startQuarter: 2, subject: '', amount: 2 },
    { counterId: 'c', startQuarter: 3, subject: '', amount: 1 }
  ])
  t.same(amountsOf([{ ...rolling, windows: [[3, 2 ** 31 - 1]] }], rows, 0), [
    { counterId: 'c', startQuarter: 3, subject: '', amount: 1 }
  ])
})

t.test('each user and each model has a sum of its own; usage without a user is in no user sum', async (t) => {
  const counters = [
    counter({ id: 'u', scope: { kind: 'each-user' } }),
    counter({ id: 'm', scope: { kind: 'each-model' } })
  ]
  const rows = [row(), row({ model: 'large' }), row({ userId: 'bob' }), row({ userId: '' })]
  const sums = amountsOf(counters, rows, 0).map(({ counterId, subject, amount }) => `${counterId} ${subject} ${amount}`)
  t.same(sums.sort(), ['m large 1', 'm small 3', 'u ann 2', 'u bob 1'])
  t.equal(subjectOf({ kind: 'user', userId: 'ann' }, 'ann', 'small'), '')
})

t.test('a sum that comes to nothing is left out', async (t) => {
  t.same(amountsOf([counter()], [row({}, { input: 5 }), row({}, { input: -5 })], 0), [])
  t.same(amountsOf([counter({ weights: { '*': [0, 0, 0, 1, 0] } })], [row({}, { input: 5 })], 0), [])
})

t.test('a sum that would pass 2^53 - 1 stays there', async (t) => {
  const dear = counter({ weights: { '*': [2 ** 31 - 1, 1, 0, 2 ** 31 - 1, 0] } })
  const amount = (...rows: readonly LedgerRow[]) => amountsOf([dear], rows, 0)[0]?.amount
  t.equal(amount(row({}, { input: AMOUNT_MAX })), AMOUNT_MAX)
  t.equal(amount(row({}, { input: -AMOUNT_MAX })), -AMOUNT_MAX)
  t.equal(amount(row({}, { cacheRead: AMOUNT_MAX }), row({}, { cacheRead: 1 })), AMOUNT_MAX)
  t.equal(amount(row({}, { input: 2 ** 40, cacheRead: 7, output: -(2 ** 40) })), 7, 'parts that cancel are exact')
})

t.test('counters hold what adding each row by itself gives, in any order', async (t) => {
  const count = fc.integer({ min: -1_000, max: 1_000_000 })
  const anyRow = fc
    .record({
      userId: fc.constantFrom('', 'ann', 'bob'),
      model: fc.constantFrom('small', 'large', 'constructor'),
      quarter: fc.integer({ min: -1, max: 9 }),
      tokens: fc.record({ input: count, cacheRead: count, cacheWrite: count, output: count, reasoning: count })
    })
    .map(({ tokens, ...key }) => row(key, tokens))
  const scopes: readonly LimitScope[] = [
    { kind: 'customer' },
    { kind: 'user', userId: 'ann' },
    { kind: 'each-user' },
    { kind: 'each-model' },
    { kind: 'user-model', userId: 'bob', model: 'large' }
  ]
  const weights = { '*': [1, 2, 3, 4, 5], large: [7, 0, 1, 1, 0] }
  const counters = scopes.flatMap((scope, i) => [
    counter({ id: `w${i}`, scope, weights }),
    counter({ id: `r${i}`, scope, weights, rollingHours: 1, windows: [] })
  ])
  const table = (amounts: readonly CounterAmount[]) => {
    const sums = new Map<string, bigint>()
    for (const { counterId, startQuarter, subject, amount } of amounts) {
      const key = `${counterId} ${startQuarter} ${subject}`
      sums.set(key, (sums.get(key) ?? 0n) + BigInt(amount))
    }
    return [...sums]
      .filter(([, sum]) => sum !== 0n)
      .sort()
      .join('\n')
  }
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(anyRow, { maxLength: 12 }), (rows) => {
        const together = table(amountsOf(counters, rows, 3))
        const apart = table(rows.toReversed().flatMap((one) => amountsOf(counters, [one], 3)))
        if (together !== apart) throw new Error(`${together}\nis not\n${apart}`)
      }),
      { seed, numRuns: 500 }
    )
  )
})
