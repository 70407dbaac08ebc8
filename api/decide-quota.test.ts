import t from 'tap'
import type { Standing } from '../domain/api-ports.ts'
import { NO_TOKENS, type TokenPools, totalTokens } from '../domain/tokens/token-pools.ts'
import { decideQuota, type QuotaDecision } from './decide-quota.ts'
import { knownStanding, standingOf } from './ports-in-memory.ts'

const input = (tokens: number): TokenPools => ({ ...NO_TOKENS, input: tokens })

/** As the meter tells it when every limit counts all tokens. */
function asking(standing: Standing, tokens: TokenPools | null): Standing {
  if (standing.limits === null || tokens === null) return standing
  return { ...standing, limits: standing.limits.map((limit) => ({ ...limit, asked: totalTokens(tokens) })) }
}

function answered(standing: Standing, tokens: TokenPools | null) {
  const decision = decideQuota(asking(standing, tokens), tokens)
  if (decision.kind !== 'answer') throw new Error(`answered ${decision.kind}`)
  const { allowed, binding, source } = decision
  return { allowed, binding, source }
}

t.test('a call that fills a hard limit exactly is allowed, and one token more is not', async (t) => {
  const standing = knownStanding(standingOf({ max: 1000, used: 600, held: 100 }))
  t.same(answered(standing, input(300)), { allowed: true, binding: 'month-total', source: 'meter' })
  t.same(answered(standing, input(301)), { allowed: false, binding: 'month-total', source: 'meter' })
})

t.test('without an estimate a call is allowed while one token is left', async (t) => {
  t.equal(answered(knownStanding(standingOf({ max: 10, used: 9 })), null).allowed, true)
  t.equal(answered(knownStanding(standingOf({ max: 10, used: 10 })), null).allowed, false)
  t.equal(answered(knownStanding(standingOf({ max: 0 })), null).allowed, false)
})

t.test('a call that asks for nothing is not refused, as with a hold', async (t) => {
  t.equal(answered(knownStanding(standingOf({ max: 10, used: 12 })), NO_TOKENS).allowed, true)
})

t.test('a limit on one pool or a cost is asked for what the call comes to in its own measure', async (t) => {
  const output = standingOf({ id: 'output', max: 100, used: 90, asked: 10 })
  const cost = standingOf({ id: 'cost', max: 1_000, used: 0, asked: 1_001 })
  t.match(decideQuota(knownStanding(output), input(5_000)), { allowed: true })
  t.match(decideQuota(knownStanding(output, cost), input(1)), { allowed: false, binding: 'cost' })
})

t.test('a soft limit never refuses and never binds', async (t) => {
  const standing = knownStanding(standingOf({ max: 10, used: 10, mode: 'soft' }))
  t.same(answered(standing, input(5)), { allowed: true, binding: null, source: 'meter' })
})

t.test(
  'the first hard limit that refuses binds; of those that allow, the one with the smallest share left',
  async (t) => {
    const wide = standingOf({ id: 'wide', max: 10_000, used: 9_000 })
    const narrow = standingOf({ id: 'narrow', max: 100, used: 50 })
    t.equal(answered(knownStanding(narrow, wide), input(10)).binding, 'wide')
    t.equal(answered(knownStanding(narrow, wide), input(60)).binding, 'narrow')
    t.equal(answered(knownStanding(wide, narrow), input(2_000)).binding, 'wide')
  }
)

t.test('a limit that is known to be full refuses, whatever else is unknown', async (t) => {
  const full = standingOf({ id: 'full', max: 1, used: 1 })
  const seeding = standingOf({ id: 'seeding', unknown: 'seeding' })
  t.same(answered(knownStanding(seeding, full), input(1)), { allowed: false, binding: 'full', source: 'meter' })
})

t.test('a hard limit that can not be known leaves the question open, unless it says allow', async (t) => {
  const deny = standingOf({ unknown: 'seeding' })
  const allow = standingOf({ unknown: 'windows-ran-out', whenUnknown: 'allow' })
  t.same(decideQuota(knownStanding(deny, allow), null), { kind: 'unknown', why: 'seeding' })
  t.same(answered(knownStanding(allow), input(1)), { allowed: true, binding: null, source: 'unknown-allowed' })
  t.same(answered(knownStanding(standingOf({ ...deny, mode: 'soft' })), null), {
    allowed: true,
    binding: null,
    source: 'meter'
  })
})

t.test('a meter that is behind or away is never "exceeded", however full its numbers are', async (t) => {
  const full = standingOf({ max: 1, used: 1 })
  const unknown = (why: 'stale' | 'unavailable', ...limits: ReturnType<typeof standingOf>[]): QuotaDecision =>
    decideQuota({ known: false, why, limits }, null)
  t.same(unknown('stale', full), { kind: 'unknown', why: 'stale' })
  t.same(unknown('unavailable'), { kind: 'unknown', why: 'unavailable' })
  t.match(unknown('stale', { ...full, whenUnknown: 'allow' }), {
    kind: 'answer',
    allowed: true,
    countedUpTo: null,
    source: 'unknown-allowed'
  })
})

t.test('a customer without limits in the meter is not known', async (t) => {
  t.same(decideQuota({ known: true, limits: null }, null), { kind: 'unknown-customer' })
})
