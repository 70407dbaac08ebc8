/**
 * Rating against a second opinion, and what must hold whatever the prices. RATING_RUNS=1000000 is the size by hand; without it some
 * seconds' worth. The slower properties have a tenth and a fiftieth of it.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { anyPrice, anyStory, askOf, END, POOLS, START, type Story } from '../../test/rating/any-story.ts'
import { byDifference, type CostOf, keyOf, secondOpinion, tokenByToken } from '../../test/rating/second-opinion.ts'
import type { Price } from '../subscriptions/plan.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import { NO_TOKENS } from '../tokens/token-pools.ts'
import { sumOf } from './exact-amounts.ts'
import { type Rating, type RatingAsk, rateUsage } from './rate-usage.ts'
import type { RatedRow, RatingSegment } from './usage-by-price.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const RUNS = Number(process.env.RATING_RUNS ?? 1_000)
const TENTH = Math.max(400, Math.ceil(RUNS / 10))
const FIFTIETH = Math.max(100, Math.ceil(RUNS / 50))
t.comment(`SEED=${seed} RATING_RUNS=${RUNS}`)

const PERIOD = { start: START * QUARTER_HOUR_MS, end: END * QUARTER_HOUR_MS }

function tell(rating: Rating): ReturnType<typeof secondOpinion> {
  if ('unrated' in rating)
    return { unpriced: rating.unrated.map(({ model, pool, tokens }) => `${model} ${pool} ${tokens}`).toSorted() }
  const lines = rating.lines.map(
    (line) => `${keyOf(line.price)}: ${line.quantity} with ${line.includedTokens} free: ${line.amountMinor}`
  )
  const minimums = rating.minimums.map((min) => `${keyOf(min.price)}: ${min.amountMinor} to ${min.minimumMinor}`)
  return { told: [...lines, ...minimums].toSorted() }
}

/** Answers how many of the stories could be rated. */
function compare(story: fc.Arbitrary<Story>, costOf: CostOf, numRuns: number): number {
  let rated = 0
  fc.assert(
    fc.property(story, (told) => {
      const rating = rateUsage(askOf(told))
      assert.equal(JSON.stringify(tell(rating)), JSON.stringify(secondOpinion(told, costOf)))
      if (!('lines' in rating)) return
      rated += 1
      for (const line of rating.lines) {
        assert.equal(sumOf(line.tiers.map((tier) => tier.amountMinor)), line.amountMinor)
        assert.equal(sumOf(line.tiers.map((tier) => tier.tokens)), line.chargedTokens)
        assert.equal(sumOf(line.models.map(({ tokens }) => tokens)), line.includedTokens + line.chargedTokens)
      }
    }),
    { seed, numRuns }
  )
  return rated
}

t.test('plans, prices and quantities of any size are rated as a second opinion in fractions has it', async (t) => {
  const rated = compare(anyStory(Number.MAX_SAFE_INTEGER), byDifference, RUNS)
  t.ok(rated > RUNS / 3, `${rated} of ${RUNS} rated, the others parked alike`)
})

t.test('a few thousand tokens are rated as one token after the other would be', async (t) => {
  const rated = compare(anyStory(2_400), tokenByToken, FIFTIETH)
  t.ok(rated > FIFTIETH / 3, `${rated} of ${FIFTIETH} rated`)
})

const tokens = fc.oneof(fc.nat(5_000_000), fc.nat(Number.MAX_SAFE_INTEGER))
const plan = fc.uniqueArray(anyPrice(tokens), {
  minLength: 1,
  maxLength: 6,
  selector: ({ pool, model, effectiveFrom }) => `${pool} ${model} ${effectiveFrom}`
})
const row = fc
  .record({
    quarter: fc.integer({ min: START, max: END - 1 }),
    model: fc.constantFrom('ab', 'ac', 'b'),
    pool: fc.constantFrom(...POOLS),
    tokens
  })
  .map(({ pool, tokens: n, ...place }): RatedRow => ({ ...place, tokens: { ...NO_TOKENS, [pool]: n } }))

function askFor(prices: readonly Price[], usage: readonly RatedRow[], cuts: readonly number[] = []): RatingAsk {
  const edges = [...new Set([START, ...cuts, END])].toSorted((a, b) => a - b)
  const segments = edges.slice(1).map((to, i): RatingSegment => {
    const from = edges[i] ?? START
    return { prices, from, to, usage: usage.filter(({ quarter }) => quarter >= from && quarter < to) }
  })
  return { period: PERIOD, timeZone: 'UTC', currency: 'EUR', segments }
}

/** The same usage by two users, and everything the other way round. */
function spread(rows: readonly RatedRow[], part: number): RatedRow[] {
  return rows
    .flatMap(({ tokens: { input, output }, ...place }) => {
      const first = { ...NO_TOKENS, input: Math.floor(input * part), output: Math.floor(output * part) }
      const second = { ...NO_TOKENS, input: input - first.input, output: output - first.output }
      return [
        { ...place, tokens: first },
        { ...place, tokens: second }
      ]
    })
    .toReversed()
}

t.test(
  'the same prices give the same lines, however the period is cut and the usage is spread over rows',
  async (t) => {
    const cuts = fc.array(fc.integer({ min: START, max: END }), { maxLength: 5 })
    const part = fc.double({ min: 0, max: 1, noNaN: true })
    let rated = 0
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(plan, fc.array(row, { maxLength: 6 }), fc.tuple(cuts, part), (prices, rows, [edges, by]) => {
          const whole = rateUsage(askFor(prices, rows))
          assert.deepEqual(rateUsage(askFor(prices, spread(rows, by), edges)), whole)
          if ('lines' in whole && whole.lines.length > 0) rated += 1
        }),
        { seed, numRuns: TENTH }
      )
    )
    t.ok(rated > TENTH / 20, `${rated} with lines`)
  }
)

function due(price: Price, quantity: number): bigint {
  const usage = [{ model: 'ab', quarter: START, tokens: { ...NO_TOKENS, [price.pool]: quantity } }]
  const rating = rateUsage(askFor([price], usage))
  assert('lines' in rating)
  return sumOf([...rating.lines, ...rating.minimums].map(({ amountMinor }) => amountMinor))
}

t.test('more tokens never cost less; by volume they may, where the next tier begins', async (t) => {
  const price = anyPrice(tokens).map((any): Price => ({ ...any, model: '*', effectiveFrom: null }))
  let drops = 0
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(price, tokens, tokens, (any, a, b) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)]
        if (due(any, less) <= due(any, more)) return
        drops += 1
        const charged = [less, more].map((quantity) => Math.max(0, quantity - any.includedTokens))
        const tiers = charged.map((place) => any.tiers.find(({ upTo }) => upTo === null || place <= upTo))
        assert.equal(any.chargeModel, 'volume')
        assert.notEqual(tiers[0], tiers[1])
      }),
      { seed, numRuns: TENTH }
    )
  )
  t.ok(drops > 0, `${drops} drops`)
})
