/** The figures of docs/billing.md: each table is read from the page and reckoned again from what the text around it says. */
import assert from 'node:assert/strict'
import t from 'tap'
import { count, money, tableOf } from '../../test/billing/billing-page.ts'
import { CHARGE_MODELS, type Price } from '../subscriptions/plan.ts'
import type { Grant } from '../tokens/grants/grant.ts'
import { quarterOf } from '../tokens/quarter-hour.ts'
import { NO_TOKENS } from '../tokens/token-pools.ts'
import { baseFeeLines } from './boundary-fees.ts'
import { sumOf } from './exact-amounts.ts'
import { invoiceTotals } from './invoice-totals.ts'
import { type MinimumLine, rateUsage, type UsageLine } from './rate-usage.ts'
import type { RatedRow, RatingSegment } from './usage-by-price.ts'

const JUNE = { start: Date.parse('2026-06-01T00:00Z'), end: Date.parse('2026-07-01T00:00Z') }
const JULY = { start: JUNE.end, end: Date.parse('2026-08-01T00:00Z') }
const timeZone = 'Africa/Dakar'

function priceOf(change: Partial<Price>): Price {
  return {
    pool: 'input',
    model: '*',
    chargeModel: 'graduated',
    perTokens: 1_000_000,
    tiers: [{ upTo: null, amount: '3' }],
    includedTokens: 0,
    minimumMinor: 0n,
    effectiveFrom: null,
    ...change
  }
}

function used(pool: 'input' | 'output', at: string, tokens: number): RatedRow {
  return { model: 'model-a', quarter: quarterOf(Date.parse(at)), tokens: { ...NO_TOKENS, [pool]: tokens } }
}

function segment(
  prices: readonly Price[],
  usage: readonly RatedRow[],
  edges: Partial<typeof JUNE> = {}
): RatingSegment {
  return { prices, usage, from: quarterOf(edges.start ?? JUNE.start), to: quarterOf(edges.end ?? JUNE.end) }
}

function rate(
  currency: string,
  segments: readonly RatingSegment[]
): { readonly lines: readonly UsageLine[]; readonly minimums: readonly MinimumLine[] } {
  const rating = rateUsage({ period: JUNE, timeZone, currency, segments })
  assert('lines' in rating)
  return rating
}

t.test('the charge models cost what the page says', async (t) => {
  const tiered = [
    { upTo: 10_000_000, amount: '3' },
    { upTo: null, amount: '2.50' }
  ]
  const rows = CHARGE_MODELS.map((chargeModel) => {
    const isFlat = chargeModel === 'per_unit' || chargeModel === 'package'
    const price = priceOf({ chargeModel, ...(isFlat ? {} : { tiers: tiered }) })
    const { lines } = rate('EUR', [segment([price], [used('input', '2026-06-10T00:00Z', 12_400_000)])])
    return [chargeModel, money(sumOf(lines.map((line) => line.amountMinor)), 'EUR')]
  })
  t.same(tableOf('Charge models'), rows)
})

t.test('graduated tiers cost what the page says', async (t) => {
  const tiers = [
    { upTo: 10_000_000, amount: '3' },
    { upTo: 50_000_000, amount: '2.50' },
    { upTo: null, amount: '2' }
  ]
  const price = priceOf({ tiers, includedTokens: 1_000_000 })
  const { lines } = rate('EUR', [segment([price], [used('input', '2026-06-10T00:00Z', 61_000_000)])])
  const rows = lines.flatMap((line) => [
    ['included', count(line.includedTokens), '', '0.00'],
    ...line.tiers.map((tier) => [
      tier.upTo === null ? 'without end' : count(tier.upTo),
      count(tier.tokens),
      tier.amount,
      money(tier.amountMinor, 'EUR')
    ]),
    ['line', count(line.quantity), '', money(line.amountMinor, 'EUR')]
  ])
  t.same(tableOf('Example: graduated tiers'), rows)
})

t.test('a plan that changes in mid-period costs what the page says', async (t) => {
  const at = Date.parse('2026-06-16T08:15Z')
  const tiersOf = (first: string, second: string) => [
    { upTo: 10_000_000, amount: first },
    { upTo: null, amount: second }
  ]
  const planS = [priceOf({ includedTokens: 2_000_000, tiers: tiersOf('3', '2') })]
  const planL = [priceOf({ includedTokens: 6_000_000, tiers: tiersOf('2.50', '1.50') })]
  const { lines } = rate('EUR', [
    segment(planS, [used('input', '2026-06-16T08:00Z', 9_000_000)], { end: at }),
    segment(planL, [used('input', '2026-06-16T08:15Z', 15_000_000)], { start: at })
  ])
  const fees = baseFeeLines({
    begins: { period: JULY, feeMinor: 9_000n },
    ends: { period: JUNE, timeZone, changes: [{ at, oldFeeMinor: 3_000n, newFeeMinor: 9_000n }] }
  })
  const names = ['base fee of S, credit', 'base fee of L, charge', 'base fee of L, July in advance']
  const rows = [
    ...lines.map((line, i) => [
      `usage under ${'SL'[i]}`,
      count(line.quantity),
      count(line.includedTokens),
      count(line.chargedTokens),
      money(line.amountMinor, 'EUR')
    ]),
    ...fees.map((fee, i) => [names[i], '', '', '', money(fee.amountMinor, 'EUR')]),
    ['subtotal', '', '', '', money(sumOf([...lines, ...fees].map((line) => line.amountMinor)), 'EUR')]
  ]
  t.same(tableOf('Example: the plan changes in mid-period'), rows)
})

t.test('a price that changes by event time costs what the page says', async (t) => {
  const perThousand = { pool: 'output', chargeModel: 'per_unit', perTokens: 1_000 } as const
  const prices = [
    priceOf({ ...perThousand, tiers: [{ upTo: null, amount: '1.5' }] }),
    priceOf({
      ...perThousand,
      tiers: [{ upTo: null, amount: '2' }],
      effectiveFrom: Date.parse('2026-06-20T12:00Z')
    })
  ]
  const usage = [
    used('output', '2026-06-20T12:00Z', 100_250),
    used('output', '2026-06-20T11:45Z', 123),
    used('output', '2026-06-01T00:00Z', 400_000)
  ]
  const { lines } = rate('XOF', [segment(prices, usage)])
  const exact = ['600.1845', '200.5']
  const rows = lines.map((line, i) => [
    ['1 June', '20 June 12:00'][i],
    count(line.quantity),
    exact[i],
    money(line.amountMinor, 'XOF')
  ])
  t.same(tableOf('Example: a price changes by event time'), rows)
})

t.test('a minimum costs what the page says', async (t) => {
  const price = priceOf({ chargeModel: 'per_unit', tiers: [{ upTo: null, amount: '5' }], minimumMinor: 20_000n })
  const usage = [used('input', '2026-06-20T00:00Z', 2_469_000)]
  const rows = [
    ['whole', '2026-06-01T00:00Z', 20_000n] as const,
    ['from 16 June', '2026-06-16T10:00Z', 10_000n] as const
  ].map(([name, start, minimumMinor]) => {
    const { lines, minimums } = rate('TND', [segment([price], usage, { start: Date.parse(start) })])
    const usageMinor = sumOf(lines.map((line) => line.amountMinor))
    const missingMinor = sumOf(minimums.map((line) => line.amountMinor))
    for (const minimum of minimums) t.equal(minimum.minimumMinor, minimumMinor)
    return [name, ...[usageMinor, minimumMinor, missingMinor, usageMinor + missingMinor].map((n) => money(n, 'TND'))]
  })
  t.same(tableOf('Example: a minimum'), rows)
})

function grantOf(id: string, amountMinor: bigint, change: Partial<Grant>): Grant {
  return {
    id,
    customerId: 'clinic',
    amount: { kind: 'money', amountMinor, currency: 'EUR' },
    priority: 5,
    source: 'purchase',
    effectiveAt: JUNE.start,
    expiresAt: null,
    limitId: null,
    revokedAt: null,
    burnt: 0n,
    settledUntil: null,
    version: 1,
    createdAt: JUNE.start,
    updatedAt: JUNE.start,
    ...change
  }
}

t.test('grants of money take off what the page says', async (t) => {
  const rate = { percent: '20', isInclusive: false }
  const lines = [
    { lineClass: 'base-fee', amountMinor: 6_000n },
    { lineClass: 'usage', amountMinor: 4_550n }
  ] as const
  const totals = invoiceTotals({
    lines,
    currency: 'EUR',
    taxRates: { 'base-fee': rate, usage: rate, minimum: rate },
    grants: [
      grantOf('purchase: 50.00 left, priority 5, never expires', 20_000n, { burnt: 15_000n }),
      grantOf('adjustment: 30.00, priority 5, expires on 1 October', 3_000n, { expiresAt: Date.parse('2026-10-01') }),
      grantOf('promotion: 20.00, priority 1', 2_000n, { priority: 1 })
    ],
    at: JUNE.end
  })
  const rows = [
    ...lines.map((line) => [line.lineClass.replace('-', ' '), money(line.amountMinor, 'EUR')]),
    ...totals.burns.map((burn) => [burn.grantId, money(-burn.amountMinor, 'EUR')]),
    [`tax, 20 % of ${money(totals.taxes[0]?.netMinor ?? 0n, 'EUR')}`, money(totals.taxMinor, 'EUR')],
    ['total', money(totals.totalMinor, 'EUR')]
  ]
  t.same(tableOf('Example: grants of money'), rows)
})

t.test('inclusive tax is what the page says', async (t) => {
  const rate = { percent: '18', isInclusive: true }
  const lines = [
    { lineClass: 'base-fee', amountMinor: 25_000n },
    { lineClass: 'usage', amountMinor: 10_401n }
  ] as const
  const taxRates = { 'base-fee': rate, usage: rate, minimum: rate }
  const totals = invoiceTotals({ lines, currency: 'XOF', taxRates, grants: [], at: JUNE.end })
  t.same(tableOf('Example: inclusive tax'), [
    ...lines.map((line) => [line.lineClass.replace('-', ' '), money(line.amountMinor, 'XOF')]),
    ['total', money(totals.totalMinor, 'XOF')],
    ['of which tax, 18 %', money(totals.includedTaxMinor, 'XOF')],
    ['of which net', money(totals.taxes[0]?.netMinor ?? 0n, 'XOF')]
  ])
})
