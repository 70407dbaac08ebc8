/** Stories for the tests of rating: cells of a month, each under one of two price lists or under none, with usage. */
import fc from 'fast-check'
import type { RatingAsk } from '../../domain/billing/rate-usage.ts'
import type { RatedRow, RatingSegment } from '../../domain/billing/usage-by-price.ts'
import { CHARGE_MODELS, type Price, type PriceTier } from '../../domain/subscriptions/plan.ts'
import { QUARTER_HOUR_MS } from '../../domain/tokens/quarter-hour.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'

export const DAY_QUARTERS = 96
export const START = Date.UTC(2026, 5, 1) / QUARTER_HOUR_MS
export const DAYS = 30
export const END = START + DAYS * DAY_QUARTERS
export const CURRENCY_DIGITS = { XOF: 0, EUR: 2, TND: 3 } as const
export const POOLS = ['input', 'output'] as const

export interface Cell {
  readonly from: number
  readonly to: number
  readonly prices: readonly Price[] | null
  /** Whether a segment ends with it although the next cell has the same prices. */
  readonly isCut: boolean
  readonly rows: readonly RatedRow[]
}

export interface Story {
  readonly currency: keyof typeof CURRENCY_DIGITS
  readonly cells: readonly Cell[]
}

/** `size` is the largest quantity; bounds of tiers and quantities often coincide. */
export function anyStory(size: number): fc.Arbitrary<Story> {
  const step = Math.max(1, Math.floor(size / 8))
  const tokens = fc.oneof(
    fc.integer({ min: 1, max: 8 }).map((n) => n * step),
    fc.nat(size),
    fc.constantFrom(1, 999, 1_000, 1_001)
  )
  const price = anyPrice(tokens)
  const list = fc
    .uniqueArray(price, { minLength: 1, maxLength: 3, selector: (p) => `${p.pool} ${p.model} ${p.effectiveFrom}` })
    .chain((prices) => fc.tuple(fc.constant(prices), fc.array(price, { minLength: 1, maxLength: 2 })))
    .map(([prices, rest]) => [
      ...prices,
      // What prices the rest, so that most stories can be rated.
      ...rest.map((p, i): Price => ({ ...p, pool: POOLS[i] ?? 'input', model: '*', effectiveFrom: -1 }))
    ])
    .map((prices) => fillIn(prices))
  const row = fc.record({
    cell: fc.nat(CELLS - 1),
    isLast: fc.boolean(),
    model: fc.constantFrom('ab', 'ac', 'b'),
    pool: fc.constantFrom(...POOLS),
    tokens
  })
  return fc
    .record({
      currency: fc.constantFrom('XOF', 'EUR', 'TND'),
      lists: fc.tuple(list, list),
      owners: fc.array(fc.constantFrom(0, 0, 0, 1, 1, null), { minLength: CELLS, maxLength: CELLS }),
      cuts: fc.array(fc.boolean(), { minLength: CELLS, maxLength: CELLS }),
      rows: fc.array(row, { maxLength: 6 })
    })
    .map(({ currency, lists, owners, cuts, rows }) => ({
      currency,
      cells: EDGES.slice(1).map((to, i) => {
        const owner = owners[i] ?? null
        const [from, prices] = [EDGES[i] ?? START, owner === null ? null : (lists[owner] ?? null)]
        const own = rows.filter(({ cell }) => cell === i && prices !== null)
        const asRow = ({ isLast, model, pool, tokens: n }: (typeof own)[number]): RatedRow => ({
          model,
          quarter: isLast ? to - 1 : from,
          tokens: { ...NO_TOKENS, [pool]: n }
        })
        return { from, to, prices, isCut: cuts[i] ?? false, rows: own.map(asRow) }
      })
    }))
}

/** Midnights, a quarter off midnight on both sides, hours within a day. */
const EDGES = [0, 300, 959, 960, 961, 2_783, END - START].map((quarter) => START + quarter)
const CELLS = EDGES.length - 1

export function anyPrice(tokens: fc.Arbitrary<number>): fc.Arbitrary<Price> {
  const amount = fc.oneof(
    fc
      .tuple(fc.nat(9), fc.integer({ min: 1, max: 12 }), fc.bigInt({ min: 0n, max: 10n ** 12n - 1n }))
      .map(([whole, digits, part]) => `${whole}.${String(part).padStart(12, '0').slice(0, digits)}`),
    fc.constantFrom('0', '0.5', '0.000000000001', '1', '999999999999.999999999999')
  )
  return fc
    .record({
      pool: fc.constantFrom(...POOLS),
      model: fc.constantFrom('*', 'a*', 'ab'),
      chargeModel: fc.constantFrom(...CHARGE_MODELS),
      perTokens: fc.constantFrom(1_000 as const, 1_000_000 as const),
      bounds: fc.uniqueArray(
        tokens.map((n) => Math.max(1, n)),
        { maxLength: 3 }
      ),
      amounts: fc.array(amount, { minLength: 4, maxLength: 4 }),
      includedTokens: fc.oneof(fc.constant(0), tokens),
      minimumMinor: fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 5_000n })),
      edge: fc.option(fc.nat(CELLS - 1))
    })
    .map(({ bounds, amounts, edge, ...price }) => {
      const isFlat = price.chargeModel === 'per_unit' || price.chargeModel === 'package'
      const ends = isFlat ? [] : bounds.toSorted((a, b) => a - b)
      const tiers = [...ends, null].map((upTo, i): PriceTier => ({ upTo, amount: amounts[i] ?? '0' }))
      const effectiveFrom = edge === null ? null : (EDGES[edge] ?? START) * QUARTER_HOUR_MS
      return { ...price, tiers, effectiveFrom }
    })
}

/** Prices marked with -1 hold from the start of the plan, unless the list has such a one. */
function fillIn(prices: readonly Price[]): readonly Price[] {
  return prices
    .filter(
      (price) =>
        price.effectiveFrom !== -1 ||
        !prices.some((p) => p.pool === price.pool && p.model === '*' && p.effectiveFrom === null)
    )
    .map((price) => (price.effectiveFrom === -1 ? { ...price, effectiveFrom: null } : price))
}

export function askOf({ currency, cells }: Story): RatingAsk {
  const segments: RatingSegment[] = []
  let previous: Cell | undefined
  for (const cell of cells) {
    const { from, to, prices, rows } = cell
    const last = segments.at(-1)
    if (last !== undefined && prices !== null && previous?.prices === prices && !previous.isCut)
      segments[segments.length - 1] = { ...last, to, usage: [...rows, ...last.usage] }
    else if (prices !== null) segments.push({ prices, from, to, usage: rows })
    previous = cell
  }
  const period = { start: START * QUARTER_HOUR_MS, end: END * QUARTER_HOUR_MS }
  return { period, timeZone: 'UTC', currency, segments }
}
