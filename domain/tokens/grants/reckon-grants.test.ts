import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { QUARTER_HOUR_MS } from '../quarter-hour.ts'
import type { Grant } from './grant.ts'
import {
  type GrantOutcome,
  type GrantReckoning,
  type GrantWindow,
  reckonGrants,
  SETTLE_AFTER_MS
} from './reckon-grants.ts'

const at = (quarter: number) => quarter * QUARTER_HOUR_MS

/** Everything in quarters; `usage[i]` is used in quarter i. */
interface Story {
  readonly allowance: number
  readonly grants: readonly Grant[]
  /** Of each window. */
  readonly lengths: readonly number[]
  readonly usage: readonly number[]
}

function grantOf(change: Partial<Grant> & { readonly tokens?: number } = {}): Grant {
  const { tokens = 100, ...others } = change
  return {
    id: 'grant',
    customerId: 'clinic',
    amount: { kind: 'tokens', tokens },
    priority: 100,
    source: 'purchase',
    effectiveAt: 0,
    expiresAt: null,
    limitId: null,
    revokedAt: null,
    burnt: 0n,
    settledUntil: null,
    version: 1,
    createdAt: 0,
    updatedAt: 0,
    ...others
  }
}

const QUARTERS = 24
const story: fc.Arbitrary<Story> = fc.record({
  allowance: fc.nat(12),
  grants: fc
    .array(
      fc
        .record({
          tokens: fc.integer({ min: 1, max: 20 }),
          begins: fc.nat(QUARTERS),
          lasts: fc.option(fc.integer({ min: 1, max: QUARTERS })),
          revoked: fc.option(fc.nat(QUARTERS), { freq: 3 }),
          priority: fc.nat(1),
          createdAt: fc.nat(1)
        })
        .map(({ begins, lasts, revoked, ...others }) => ({
          ...others,
          effectiveAt: at(begins),
          expiresAt: lasts === null ? null : at(begins + lasts),
          revokedAt: revoked === null ? null : at(revoked)
        })),
      { maxLength: 4 }
    )
    .map((grants) => grants.map((grant, i) => grantOf({ ...grant, id: `grant-${i}` }))),
  lengths: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: QUARTERS, maxLength: QUARTERS }),
  usage: fc.array(fc.nat(9), { minLength: QUARTERS + 1, maxLength: QUARTERS + 1 })
})
/** Any instant, those around the edges of quarters often. */
const moment = fc
  .tuple(
    fc.nat(QUARTERS),
    fc.oneof(fc.constantFrom(0, 1, SETTLE_AFTER_MS - 1, SETTLE_AFTER_MS), fc.nat(QUARTER_HOUR_MS - 1))
  )
  .map(([quarter, ms]) => at(quarter) + ms)

function windowsOf({ lengths }: Story, since: number, now: number): readonly GrantWindow[] {
  const windows: GrantWindow[] = []
  let start = 0
  for (const length of lengths) {
    const window = { start: at(start), end: at(start + length) }
    if (window.end > since && window.start <= now) windows.push(window)
    start += length
  }
  return windows
}

function reckoningOf(told: Story, now: number, grants = told.grants): GrantReckoning {
  const since = Math.min(...grants.map(({ settledUntil }) => settledUntil ?? 0))
  const usedBetween = (from: number, to: number) =>
    told.usage.reduce((sum, tokens, quarter) => (at(quarter) >= from && at(quarter) < to ? sum + tokens : sum), 0)
  return { allowance: told.allowance, grants, windows: windowsOf(told, since, now), usedBetween, now }
}

function ends({ expiresAt, revokedAt }: Grant): number {
  return Math.min(expiresAt ?? Number.POSITIVE_INFINITY, revokedAt ?? Number.POSITIVE_INFINITY)
}

/** The oracle: one token after the other, without sums and without windows that are settled. */
function simulate({ allowance, grants, lengths, usage }: Story, now: number) {
  const order = grants.toSorted(
    (a, b) =>
      a.priority - b.priority ||
      (a.expiresAt ?? 1e15) - (b.expiresAt ?? 1e15) ||
      a.createdAt - b.createdAt ||
      a.id.localeCompare(b.id)
  )
  const left = new Map(grants.map(({ id, amount }) => [id, amount.kind === 'tokens' ? amount.tokens : 0]))
  const leftOf = ({ id }: Grant) => left.get(id) ?? 0
  const isOn = (grant: Grant, quarter: number) => grant.effectiveAt <= at(quarter) && at(quarter) < ends(grant)
  const starts = new Set<number>()
  for (let i = 0, start = 0; i < lengths.length; start += lengths[i] ?? 0, i += 1) starts.add(start)
  let used = 0
  let windowBurnt = 0
  let max = allowance
  for (let quarter = 0; at(quarter) <= now; quarter += 1) {
    const turns = grants.some((grant) => grant.effectiveAt === at(quarter) || ends(grant) === at(quarter))
    if (starts.has(quarter)) {
      used = 0
      windowBurnt = 0
    }
    if (starts.has(quarter) || turns) {
      const on = order.filter((grant) => isOn(grant, quarter))
      const free = Math.max(0, allowance - used)
      // What may be used from here on is what is left of the allowance and of the grants; with no grant on, nothing is owed.
      max = on.length === 0 ? allowance + windowBurnt : used + free + on.reduce((sum, grant) => sum + leftOf(grant), 0)
    }
    if (at(quarter) >= now) break
    for (let token = 0; token < (usage[quarter] ?? 0); token += 1) {
      used += 1
      if (used <= allowance) continue
      const burns = order.find((grant) => isOn(grant, quarter) && leftOf(grant) > 0)
      if (burns === undefined) continue
      left.set(burns.id, leftOf(burns) - 1)
      windowBurnt += 1
    }
  }
  return { max, left }
}

function burntOf({ standings }: GrantOutcome): Record<string, number> {
  return Object.fromEntries(standings.map(({ grantId, burnt }) => [grantId, burnt]))
}

function stored(grants: readonly Grant[], { settled }: GrantOutcome): readonly Grant[] {
  return grants.map((grant) => {
    const own = settled.find(({ grantId }) => grantId === grant.id)
    return own === undefined ? grant : { ...grant, burnt: BigInt(own.burnt), settledUntil: own.settledUntil }
  })
}

t.test('max, burnt and remaining are what burning one token after the other comes to', async () => {
  fc.assert(
    fc.property(story, moment, (told, now) => {
      const outcome = reckonGrants(reckoningOf(told, now))
      const { max, left } = simulate(told, now)
      assert.equal(outcome.max, max)
      for (const { grantId, burnt, remaining } of outcome.standings) {
        const grant = told.grants.find(({ id }) => id === grantId) ?? grantOf()
        const tokens = grant.amount.kind === 'tokens' ? grant.amount.tokens : 0
        assert.equal(burnt, tokens - (left.get(grantId) ?? 0))
        assert.equal(remaining, ends(grant) <= now ? 0 : left.get(grantId))
      }
    }),
    { numRuns: 500 }
  )
})

t.test('settling now and then and going on comes to the same as reckoning all at once', async () => {
  fc.assert(
    fc.property(story, fc.array(moment, { minLength: 1, maxLength: 6 }), (told, moments) => {
      const inOrder = moments.toSorted((a, b) => a - b)
      let grants = told.grants
      for (const now of inOrder) {
        const outcome = reckonGrants(reckoningOf(told, now, grants))
        const whole = reckonGrants(reckoningOf(told, now))
        assert.equal(outcome.max, whole.max)
        assert.deepEqual(burntOf(outcome), burntOf(whole))
        assert.equal(outcome.nextAt, whole.nextAt === null || outcome.nextAt === null ? outcome.nextAt : whole.nextAt)
        grants = stored(grants, outcome)
      }
    }),
    { numRuns: 300 }
  )
})

t.test('until it says that it changes the max stays as it is, whatever is used meanwhile', async () => {
  fc.assert(
    fc.property(story, moment, fc.nat(9), (told, now, more) => {
      const { max, nextAt } = reckonGrants(reckoningOf(told, now))
      const current = Math.floor(now / QUARTER_HOUR_MS)
      const usage = told.usage.map((tokens, quarter) => (quarter >= current ? tokens + more : tokens))
      for (let quarter = current; quarter < QUARTERS; quarter += 1) {
        for (const later of [at(quarter) + 1, at(quarter + 1) - 1].filter((ms) => ms > now)) {
          if (nextAt !== null && later >= nextAt) return
          assert.equal(reckonGrants(reckoningOf({ ...told, usage }, later)).max, max)
        }
      }
    }),
    { numRuns: 300 }
  )
})

const DAY = { start: 0, end: at(96) }
const NEXT_DAY = { start: at(96), end: at(192) }

/** Ten tokens a quarter. */
function evenly(from: number, to: number): number {
  return (10 * (Math.min(to, at(40)) - Math.min(from, at(40)))) / QUARTER_HOUR_MS
}

t.test('a window is settled when the ledger has had the time to hear of its end', async (t) => {
  const reckoning = { allowance: 300, grants: [grantOf()], usedBetween: evenly, windows: [DAY, NEXT_DAY] }
  const early = reckonGrants({ ...reckoning, now: DAY.end })
  t.match(early, { max: 300, settled: [], nextAt: DAY.end + SETTLE_AFTER_MS })
  const late = reckonGrants({ ...reckoning, now: DAY.end + SETTLE_AFTER_MS })
  t.match(late, { max: 300, settled: [{ grantId: 'grant', burnt: 100, settledUntil: DAY.end }], nextAt: NEXT_DAY.end })
})

t.test('what is reckoned as a grant ends is reckoned again when the ledger has heard of it', async (t) => {
  const grants = [grantOf({ expiresAt: at(20) })]
  const reckoning = { allowance: 100, grants, usedBetween: evenly, windows: [DAY] }
  t.equal(reckonGrants({ ...reckoning, now: at(19) }).nextAt, at(20))
  t.match(reckonGrants({ ...reckoning, now: at(20) }), { max: 200, nextAt: at(20) + SETTLE_AFTER_MS })
  t.equal(reckonGrants({ ...reckoning, now: at(20) + SETTLE_AFTER_MS }).nextAt, DAY.end)
})

t.test('a grant that comes when the allowance is overdrawn can be used whole', async (t) => {
  const grants = [grantOf({ effectiveAt: at(30) })]
  const { max, standings } = reckonGrants({ allowance: 100, grants, usedBetween: evenly, windows: [DAY], now: at(30) })
  t.equal(max, evenly(0, at(30)) + 100)
  t.match(standings, [{ burnt: 0, remaining: 100 }])
})

t.test('one that is taken back keeps what it burnt, and its place in the order', async (t) => {
  const grants = [
    grantOf({ id: 'endless', revokedAt: at(10) }),
    grantOf({ id: 'first', expiresAt: at(90), tokens: 60 })
  ]
  const { standings, max } = reckonGrants({ allowance: 20, grants, usedBetween: evenly, windows: [DAY], now: at(10) })
  t.match(standings, [
    { grantId: 'first', burnt: 60, remaining: 0 },
    { grantId: 'endless', burnt: 20, remaining: 0 }
  ])
  t.equal(max, 100)
})

t.test('what was settled within a window burns nothing again', async (t) => {
  const grants = [grantOf({ burnt: 30n, settledUntil: at(20) })]
  const reckoned = reckonGrants({ allowance: 50, grants, usedBetween: evenly, windows: [DAY], now: at(24) })
  t.match(reckoned.standings, [{ burnt: 70, remaining: 30 }])
  t.equal(reckoned.max - evenly(0, at(24)), 30, 'what is left of the limit is what is left of the grant')
})

t.test('a max stays a number that the meter can count to', async (t) => {
  const grants = [grantOf({ tokens: Number.MAX_SAFE_INTEGER })]
  t.equal(
    reckonGrants({ allowance: 1_000, grants, usedBetween: evenly, windows: [DAY], now: 1 }).max,
    Number.MAX_SAFE_INTEGER
  )
})

t.test('a grant of money raises nothing, and whoever asks is told', async (t) => {
  const grants = [grantOf({ amount: { kind: 'money', amountMinor: 100n, currency: 'EUR' } })]
  t.throws(() => reckonGrants({ allowance: 0, grants, usedBetween: evenly, windows: [DAY], now: 1 }), /money/)
})
