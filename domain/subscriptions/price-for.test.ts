import fc from 'fast-check'
import t from 'tap'
import { TOKEN_POOLS } from '../tokens/token-pools.ts'
import type { Price } from './plan.ts'
import { type PricedUsage, priceFor } from './price-for.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

function priceOf(model: string, effectiveFrom: number | null = null, pool: Price['pool'] = 'input'): Price {
  return {
    pool,
    model,
    chargeModel: 'per_unit',
    perTokens: 1_000,
    tiers: [{ upTo: null, amount: '1' }],
    includedTokens: 0,
    minimumMinor: 0n,
    effectiveFrom
  }
}

function modelOf(prices: readonly Price[], model: string, at = 0): string | undefined {
  return priceFor(prices, { pool: 'input', model, at })?.model
}

t.test('the name of a model wins over every prefix of it, and a longer prefix over a shorter one', async (t) => {
  const prices = ['*', 'gpt-5', 'gpt-5*', 'gpt-*'].map((model) => priceOf(model))
  for (const shuffled of [prices, prices.toReversed()]) {
    t.equal(modelOf(shuffled, 'gpt-5'), 'gpt-5')
    t.equal(modelOf(shuffled, 'gpt-5-mini'), 'gpt-5*')
    t.equal(modelOf(shuffled, 'gpt-4'), 'gpt-*')
    t.equal(modelOf(shuffled, 'claude'), '*')
  }
  t.equal(modelOf([priceOf('gpt-5')], 'gpt-5-mini'), undefined, 'a name is no prefix')
  t.equal(priceFor(prices, { pool: 'output', model: 'gpt-5', at: 0 }), null, 'each pool has prices of its own')
})

t.test('a price holds from its time on, and a longer pattern leaves what was before it to a shorter one', async (t) => {
  const prices = [priceOf('*'), priceOf('gpt-5', 1_000), priceOf('gpt-5', 2_000)]
  const from = (at: number) => priceFor(prices, { pool: 'input', model: 'gpt-5', at })
  t.same([from(999)?.model, from(999)?.effectiveFrom], ['*', null])
  t.same(
    [1_000, 1_999, 2_000, 9_000].map((at) => from(at)?.effectiveFrom),
    [1_000, 1_000, 2_000, 2_000]
  )
  t.equal(modelOf([priceOf('*', 1_000)], 'gpt-5', 999), undefined)
})

/** By elimination, from the longest name down: the model itself, then each of its beginnings. */
function expectedPrice(prices: readonly Price[], { pool, model, at }: PricedUsage): Price | null {
  const prefixes = Array.from({ length: model.length + 1 }, (_, i) => `${model.slice(0, model.length - i)}*`)
  for (const pattern of [model, ...prefixes]) {
    const [latest] = prices
      .filter((price) => price.pool === pool && price.model === pattern && (price.effectiveFrom ?? 0) <= at)
      .sort((a, b) => (b.effectiveFrom ?? -1) - (a.effectiveFrom ?? -1))
    if (latest !== undefined) return latest
  }
  return null
}

t.test('whatever the prices and their order, the longest in force is found, and the latest of it', async (t) => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 4 })
  const pattern = fc.oneof(
    name.map((prefix) => `${prefix}*`),
    name.filter((model) => model !== '')
  )
  const time = fc.integer({ min: 0, max: 5 })
  const price = fc
    .tuple(pattern, fc.option(time), fc.constantFrom(...TOKEN_POOLS.slice(0, 2)))
    .map(([model, from, pool]) => priceOf(model, from, pool))
  const prices = fc.uniqueArray(price, {
    maxLength: 20,
    selector: ({ pool, model, effectiveFrom }) => `${pool} ${model} ${effectiveFrom}`
  })
  const usage = fc.record({
    pool: fc.constantFrom(...TOKEN_POOLS.slice(0, 2)),
    model: name.map((m) => `a${m}`),
    at: time
  })
  let found = 0
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(prices, usage, (those, asked) => {
        const expected = expectedPrice(those, asked)
        if (expected !== null) found++
        return priceFor(those, asked) === expected && priceFor(those.toReversed(), asked) === expected
      }),
      { seed, numRuns: 3_000 }
    )
  )
  t.ok(found > 300, `${found} of 3000 have a price`)
})
