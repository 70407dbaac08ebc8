import assert from 'node:assert/strict'
import t from 'tap'
import type { Price, PriceTier } from '../subscriptions/plan.ts'
import { quarterStartMs } from '../tokens/quarter-hour.ts'
import { NO_TOKENS, type TokenPools } from '../tokens/token-pools.ts'
import { type Rating, type RatingAsk, rateUsage } from './rate-usage.ts'
import type { RatedRow, RatingSegment } from './usage-by-price.ts'

const START = Date.parse('2026-06-01T00:00Z') / 900_000
const END = START + 30 * 96
const MIDDLE = START + 15 * 96

function priceOf(change: Partial<Price> = {}): Price {
  return {
    pool: 'input',
    model: '*',
    chargeModel: 'per_unit',
    perTokens: 1_000,
    tiers: [{ upTo: null, amount: '1' }],
    includedTokens: 0,
    minimumMinor: 0n,
    effectiveFrom: null,
    ...change
  }
}

function used(tokens: Partial<TokenPools>, quarter = START, model = 'gpt-5'): RatedRow {
  return { model, quarter, tokens: { ...NO_TOKENS, ...tokens } }
}

function segmentOf(prices: readonly Price[], usage: readonly RatedRow[], edges: Partial<RatingSegment> = {}) {
  return { prices, usage, from: START, to: END, ...edges }
}

function askOf(...segments: readonly RatingSegment[]): RatingAsk {
  return {
    period: { start: quarterStartMs(START), end: quarterStartMs(END) },
    timeZone: 'UTC',
    currency: 'EUR',
    segments
  }
}

function linesOf(rating: Rating) {
  assert('lines' in rating)
  return rating.lines
}

t.test('usage without a price parks the period, and nothing of it is rated', async (t) => {
  const rows = [
    used({ input: 10, output: 5 }),
    used({ output: 7 }, END - 1),
    used({ reasoning: 1 }, START, 'a'),
    used({ input: 5 }, START, 'free')
  ]
  t.same(rateUsage(askOf(segmentOf([priceOf({ model: 'gpt-*' })], rows))), {
    unrated: [
      { model: 'a', pool: 'reasoning', tokens: 1n, reason: 'unpriced' },
      { model: 'free', pool: 'input', tokens: 5n, reason: 'unpriced' },
      { model: 'gpt-5', pool: 'output', tokens: 12n, reason: 'unpriced' }
    ]
  })
  const later = priceOf({ effectiveFrom: quarterStartMs(MIDDLE) })
  t.match(rateUsage(askOf(segmentOf([later], [used({ input: 1 }, MIDDLE - 1)]))), { unrated: [{ tokens: 1n }] })
  t.match(rateUsage(askOf(segmentOf([later], [used({ input: 1 }, MIDDLE)]))), { lines: [{ from: MIDDLE }] })
})

t.test('tokens that were taken back are not charged, and more than there are park the period', async (t) => {
  const prices = [priceOf()]
  const [line] = linesOf(rateUsage(askOf(segmentOf(prices, [used({ input: 3_000 }), used({ input: -2_000 })]))))
  t.match(line, { quantity: 1_000n, amountMinor: 100n })
  t.same(rateUsage(askOf(segmentOf([], [used({ input: 3_000 }), used({ input: -3_000 })]))), {
    lines: [],
    minimums: []
  })
  t.same(rateUsage(askOf(segmentOf(prices, [used({ input: -1 })]))), {
    unrated: [{ model: 'gpt-5', pool: 'input', tokens: -1n, reason: 'negative' }]
  })
})

t.test('a tier ends with the token that it is up to', async (t) => {
  const tiers: readonly PriceTier[] = [
    { upTo: 1_000, amount: '5' },
    { upTo: 2_000, amount: '3' },
    { upTo: null, amount: '1' }
  ]
  const amount = (chargeModel: Price['chargeModel'], tokens: number) =>
    linesOf(rateUsage(askOf(segmentOf([priceOf({ chargeModel, tiers })], [used({ input: tokens })]))))[0]?.amountMinor
  const quantities = [1, 1_000, 1_010, 2_000, 2_010, 3_000]
  t.same(
    quantities.map((tokens) => amount('graduated', tokens)),
    [1n, 500n, 503n, 800n, 801n, 900n]
  )
  t.same(
    quantities.map((tokens) => amount('volume', tokens)),
    [1n, 500n, 303n, 600n, 201n, 300n]
  )
})

t.test('a package that was begun before a change is not paid for again', async (t) => {
  const halves = (before: number, after: number, change: Partial<Price> = {}) => {
    const package1 = priceOf({ chargeModel: 'package' })
    const package2 = priceOf({ chargeModel: 'package', tiers: [{ upTo: null, amount: '2' }], ...change })
    const segments = [
      segmentOf([package1], [used({ input: before })], { to: MIDDLE }),
      segmentOf([package2], [used({ input: after }, MIDDLE)], { from: MIDDLE })
    ]
    return linesOf(rateUsage(askOf(...segments))).map(({ amountMinor }) => amountMinor)
  }
  t.same(halves(1_500, 500), [200n, 0n])
  t.same(halves(1_500, 501), [200n, 200n])
  t.same(halves(1_500, 500, { perTokens: 1_000_000 }), [200n, 200n], 'packages of another size begin anew')
})

t.test('a line goes on over a change that leaves its tiers as they were, and tells its models', async (t) => {
  const before = priceOf({ includedTokens: 500 })
  const after = priceOf({ includedTokens: 1_500, effectiveFrom: 0 })
  const rows = [used({ input: 900 }), used({ input: 4 }, START, 'b'), used({ input: 1_000 }, MIDDLE)]
  const split = askOf(
    segmentOf([before], rows.slice(0, 2), { to: MIDDLE }),
    segmentOf([after], rows.slice(2), { from: MIDDLE })
  )
  t.match(linesOf(rateUsage(split)), [
    {
      price: before,
      from: START,
      to: END,
      models: [
        { model: 'b', tokens: 4n },
        { model: 'gpt-5', tokens: 1_900n }
      ],
      quantity: 1_904n,
      includedTokens: 1_000n,
      chargedTokens: 904n,
      amountMinor: 90n
    }
  ])
})

t.test('a pause has neither allowance nor minimum, and a minimum is due without usage', async (t) => {
  const prices = [priceOf({ includedTokens: 3_000, minimumMinor: 900n })]
  const paused = askOf(
    segmentOf(prices, [], { to: START + 10 * 96 }),
    segmentOf(prices, [used({ input: 5_000 }, END - 1)], { from: MIDDLE + 5 * 96 })
  )
  t.match(rateUsage(paused), {
    lines: [{ includedTokens: 2_000n, chargedTokens: 3_000n, amountMinor: 300n }],
    minimums: [{ minimumMinor: 600n, chargedMinor: 300n, amountMinor: 300n }]
  })
  t.match(rateUsage(askOf(segmentOf(prices, []))), { lines: [], minimums: [{ amountMinor: 900n }] })
})

t.test('sums beyond 2^53 and amounts of 24 digits stay exact', async (t) => {
  const price = priceOf({ tiers: [{ upTo: null, amount: '999999999999.999999999999' }] })
  const rows = Array.from({ length: 3 }, () => used({ input: Number.MAX_SAFE_INTEGER }))
  const [line] = linesOf(rateUsage(askOf(segmentOf([price], rows))))
  const tokens = 3n * (2n ** 53n - 1n)
  t.equal(line?.quantity, tokens)
  // Half a unit of the divisor, 10^12 × 1000 tokens, is added before it divides.
  t.equal(line?.amountMinor, (tokens * (10n ** 24n - 1n) * 100n + 5n * 10n ** 14n) / 10n ** 15n)
})

t.test(
  'segments that overlap or leave the period, and rows outside of theirs, are a mistake of the caller',
  async (t) => {
    const prices = [priceOf()]
    const whole = segmentOf(prices, [])
    for (const segments of [
      [segmentOf(prices, [], { from: START - 1 })],
      [segmentOf(prices, [], { to: END + 1 })],
      [segmentOf(prices, [], { from: END })],
      [segmentOf(prices, [], { to: MIDDLE + 1 }), segmentOf(prices, [], { from: MIDDLE })],
      [segmentOf(prices, [], { from: MIDDLE }), segmentOf(prices, [], { to: MIDDLE })],
      [{ ...whole, to: MIDDLE, usage: [used({ input: 1 }, MIDDLE)] }],
      [{ ...whole, from: MIDDLE, usage: [used({ input: 1 }, MIDDLE - 1)] }]
    ])
      t.throws(() => rateUsage(askOf(...segments)), RangeError)
    t.throws(() => rateUsage({ ...askOf(whole), currency: 'CLF' }), RangeError)
  }
)
