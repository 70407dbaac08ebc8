/**
 * What rating should say, by code that shares nothing with it: it goes through the period cell by cell and row by row, looks prices
 * up by elimination, and reckons in fractions of its own.
 */
import assert from 'node:assert/strict'
import type { Price } from '../../domain/subscriptions/plan.ts'
import { QUARTER_HOUR_MS } from '../../domain/tokens/quarter-hour.ts'
import { type Cell, CURRENCY_DIGITS, DAY_QUARTERS, DAYS, POOLS, START, type Story } from './any-story.ts'

/** In lowest terms, the denominator above zero. */
export class Fraction {
  readonly n: bigint
  readonly d: bigint

  constructor(n: bigint, d = 1n) {
    let [a, b] = [n, d]
    while (b !== 0n) [a, b] = [b, a % b]
    this.n = a === 0n ? 0n : n / a
    this.d = a === 0n ? 1n : d / a
  }

  static parse(text: string): Fraction {
    const places = text.includes('.') ? text.length - text.indexOf('.') - 1 : 0
    return new Fraction(BigInt(text.replace('.', '')), 10n ** BigInt(places))
  }

  plus({ n, d }: Fraction): Fraction {
    return new Fraction(this.n * d + n * this.d, this.d * d)
  }

  times(n: bigint, d = 1n): Fraction {
    return new Fraction(this.n * n, this.d * d)
  }

  rounded(): bigint {
    const half = this.plus(new Fraction(1n, 2n))
    return half.n / half.d
  }
}

/** Cost of the tokens after `start` up to `end`, in the major unit. */
export type CostOf = (
  price: Price,
  run: { readonly start: bigint; readonly end: bigint; readonly total: bigint }
) => Fraction

const tierOf = ({ tiers }: Price, place: bigint) =>
  tiers.find(({ upTo }) => upTo === null || place <= upTo)?.amount ?? ''

export const tokenByToken: CostOf = (price, { start, end, total }) => {
  const per = BigInt(price.perTokens)
  const times = new Map<string, bigint>()
  for (let place = start + 1n; place <= end; place += 1n) {
    const amount = tierOf(price, price.chargeModel === 'volume' ? total : place)
    const parts = price.chargeModel !== 'package' ? 1n : (place - 1n) % per === 0n ? per : 0n
    times.set(amount, parts + (times.get(amount) ?? 0n))
  }
  return [...times].reduce((sum, [text, n]) => sum.plus(Fraction.parse(text).times(n, per)), new Fraction(0n))
}

/** By what all tokens up to a place cost together. */
export const byDifference: CostOf = (price, { start, end, total }) => {
  const per = BigInt(price.perTokens)
  const upTo = (place: bigint): Fraction => {
    if (price.chargeModel === 'volume') return Fraction.parse(tierOf(price, total)).times(place, per)
    if (price.chargeModel === 'package')
      return Fraction.parse(tierOf(price, place)).times(place / per + (place % per > 0n ? 1n : 0n))
    let sum = new Fraction(0n)
    let at = 0n
    while (at < place) {
      const bound = price.tiers.find((tier) => tier.upTo === null || at < tier.upTo)?.upTo ?? null
      const next = bound === null || BigInt(bound) > place ? place : BigInt(bound)
      sum = sum.plus(Fraction.parse(tierOf(price, next)).times(next - at, per))
      at = next
    }
    return sum
  }
  const before = upTo(start)
  return upTo(end).plus(new Fraction(-before.n, before.d))
}

/** Lines and minimums, or what has no price, as text in ascending order. */
export type Opinion = { readonly told: readonly string[] } | { readonly unpriced: readonly string[] }

interface ExpectedLine {
  readonly price: Price
  quantity: bigint
  included: bigint
  exact: Fraction
}

interface Track {
  readonly lines: ExpectedLine[]
  allowance: bigint
  minimum: bigint
  total: bigint
  place: bigint
  lastCell: number
  lastTerms: string
}

const startsAt = ({ effectiveFrom }: Price) => (effectiveFrom === null ? 0 : effectiveFrom / QUARTER_HOUR_MS)
export const keyOf = ({ pool, model, chargeModel, perTokens }: Price) =>
  `${pool} ${model} ${chargeModel} ${chargeModel === 'package' ? perTokens : ''}`
const isLatest = (price: Price, prices: readonly Price[], quarter: number) =>
  startsAt(price) <= quarter &&
  !prices.some(
    (p) => p.pool === price.pool && p.model === price.model && startsAt(p) <= quarter && startsAt(p) > startsAt(price)
  )

function share(whole: bigint, { from, to }: Cell): bigint {
  if (whole === 0n) return 0n
  const upTo = (quarter: number) =>
    new Fraction(whole).times(BigInt(Math.floor((quarter - START) / DAY_QUARTERS)), BigInt(DAYS)).rounded()
  return upTo(to) - upTo(from)
}

export function secondOpinion({ currency, cells }: Story, costOf: CostOf): Opinion {
  const tracks = new Map<string, Track>()
  const runs: { readonly key: string; readonly price: Price; readonly cell: number; readonly tokens: bigint }[] = []
  const unpriced = new Map<string, bigint>()
  for (const [i, cell] of cells.entries()) {
    const inForce = (cell.prices ?? []).filter((price) => isLatest(price, cell.prices ?? [], cell.from))
    for (const price of inForce) {
      const track = tracks.get(keyOf(price)) ?? newTrack()
      track.allowance += share(BigInt(price.includedTokens), cell)
      track.minimum += share(price.minimumMinor, cell)
      tracks.set(keyOf(price), track)
      runs.push({ key: keyOf(price), price, cell: i, tokens: 0n })
    }
    for (const { model, tokens } of cell.rows)
      for (const pool of POOLS.filter((p) => tokens[p] > 0)) {
        const patterns = [model, 'ab*', 'a*', '*'].filter((p) => p === model || model.startsWith(p.slice(0, -1)))
        const price = patterns.flatMap((p) => inForce.find((f) => f.pool === pool && f.model === p) ?? [])[0]
        const key = `${model} ${pool}`
        const n = BigInt(tokens[pool])
        if (price === undefined) unpriced.set(key, n + (unpriced.get(key) ?? 0n))
        else runs.push({ key: keyOf(price), price, cell: i, tokens: n })
      }
  }
  if (unpriced.size > 0) return { unpriced: [...unpriced].map(([key, n]) => `${key} ${n}`).toSorted() }
  for (const { key, tokens } of runs) at(tracks, key).total += tokens
  const left = new Map([...tracks].map(([key, { allowance }]) => [key, allowance]))
  for (const { key, price, cell, tokens } of runs) {
    const track = at(tracks, key)
    const terms = `${price.perTokens} ${price.tiers.map(({ upTo, amount }) => `${upTo} ${amount}`)}`
    const goesOn = track.lastTerms === terms && cell - track.lastCell <= 1
    if (!goesOn) track.lines.push({ price, quantity: 0n, included: 0n, exact: new Fraction(0n) })
    Object.assign(track, { lastTerms: terms, lastCell: cell })
    if (tokens === 0n) continue
    const line = track.lines.at(-1)
    assert(line !== undefined)
    let free = at(left, key)
    if (free > tokens) free = tokens
    left.set(key, at(left, key) - free)
    const [start, end] = [track.place, track.place + tokens - free]
    const total = track.total > track.allowance ? track.total - track.allowance : 0n
    line.quantity += tokens
    line.included += free
    if (end > start) line.exact = line.exact.plus(costOf(price, { start, end, total }))
    track.place = end
  }
  return { told: [...tracks].flatMap(([key, track]) => tellTrack(key, track, CURRENCY_DIGITS[currency])).toSorted() }
}

function newTrack(): Track {
  return { lines: [], allowance: 0n, minimum: 0n, total: 0n, place: 0n, lastCell: -9, lastTerms: '' }
}

function at<V>(map: ReadonlyMap<string, V>, key: string): V {
  const value = map.get(key)
  assert(value !== undefined)
  return value
}

function tellTrack(key: string, { lines, minimum }: Track, digits: number): string[] {
  const used = lines.filter(({ quantity }) => quantity > 0n)
  const amounts = used.map(({ exact }) => exact.times(10n ** BigInt(digits)).rounded())
  const missing = amounts.reduce((rest, amount) => rest - amount, minimum)
  const told = used.map(({ quantity, included }, i) => `${key}: ${quantity} with ${included} free: ${amounts[i]}`)
  return missing > 0n ? [...told, `${key}: ${missing} to ${minimum}`] : told
}
