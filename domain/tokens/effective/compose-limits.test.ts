import t from 'tap'
import type { Grant } from '../grants/grant.ts'
import { SETTLE_AFTER_MS } from '../grants/reckon-grants.ts'
import type { Limit } from '../limit.ts'
import { composeLimits, type LimitSources, usageSince } from './compose-limits.ts'
import { raisedBy } from './raise-limits.ts'

const ms = (text: string) => Date.parse(`${text}Z`)
const NOW = ms('2026-03-12T09:30')
const BOUNDARIES = ['2026-02-10T00:00', '2026-03-10T00:00', '2026-04-10T00:00', '2026-05-10T00:00'].map(ms)

const limitOf = (id: string, change: Partial<Limit> = {}): Limit => ({
  id,
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 1_000,
  mode: 'hard',
  whenUnknown: 'deny',
  ...change
})
const periodLimit = limitOf('period-total', { window: { kind: 'period', boundaries: BOUNDARIES } })

const SUBSCRIPTION: NonNullable<LimitSources['subscription']> = {
  status: 'active',
  planLimits: [
    { ...periodLimit, window: { kind: 'plan-period' } },
    { ...limitOf('day'), window: { kind: 'day' } }
  ],
  boundaries: BOUNDARIES,
  earlier: []
}

function sourcesOf(change: Partial<LimitSources> = {}): LimitSources {
  return {
    customerId: 'clinic',
    status: 'active',
    timeZone: 'UTC',
    subscription: SUBSCRIPTION,
    ownLimits: [],
    grants: [],
    before: null,
    usedBetween: () => 0,
    ...change
  }
}

function grantOf(change: Partial<Grant> = {}): Grant {
  return {
    id: 'grant',
    customerId: 'clinic',
    amount: { kind: 'tokens', tokens: 500 },
    priority: 100,
    source: 'purchase',
    effectiveAt: BOUNDARIES[1] ?? 0,
    expiresAt: null,
    limitId: null,
    revokedAt: null,
    burnt: 0n,
    settledUntil: null,
    version: 1,
    createdAt: 0,
    updatedAt: 0,
    ...change
  }
}

/** So many tokens at each instant. */
function usageOf(used: Readonly<Record<string, number>>): LimitSources['usedBetween'] {
  return (from, to) =>
    Object.entries(used).reduce((sum, [at, tokens]) => (ms(at) >= from && ms(at) < to ? sum + tokens : sum), 0)
}

const maxima = (sources: LimitSources, now = NOW) =>
  Object.fromEntries(composeLimits(sources, now).limits.map(({ id, max }) => [id, max]))

t.test("a plan's period is that of the subscription, its other windows stay", async (t) => {
  const { limits, unraised, nextAt } = composeLimits(sourcesOf(), NOW)
  t.strictSame(limits, [periodLimit, limitOf('day', { window: { kind: 'day' } })])
  t.strictSame(unraised, limits)
  t.equal(nextAt, null, 'nothing changes by itself')
})

t.test(
  "a limit of the customer's own replaces that of the plan with its id, and stands beside the others",
  async (t) => {
    t.same(maxima(sourcesOf({ ownLimits: [limitOf('day', { max: 7 }), limitOf('more', { max: 8 })] })), {
      'period-total': 1_000,
      day: 7,
      more: 8
    })
  }
)

t.test('whoever may use nothing gets a limit of 0 beside the others', async (t) => {
  const paused = { ...SUBSCRIPTION, status: 'paused' as const }
  const cases: readonly [string, Partial<LimitSources>, string | null][] = [
    ['active', {}, null],
    ['trialing', { subscription: { ...SUBSCRIPTION, status: 'trialing' } }, null],
    ['past due', { subscription: { ...SUBSCRIPTION, status: 'past_due' } }, null],
    ['suspended', { status: 'suspended' }, 'customer-suspended'],
    ['closed', { status: 'closed' }, 'customer-closed'],
    ['closed and paused', { status: 'closed', subscription: paused }, 'customer-closed'],
    ['paused', { subscription: paused }, 'subscription-paused'],
    ['without a subscription', { subscription: null }, 'no-subscription'],
    ['limits of its own alone', { subscription: null, ownLimits: [limitOf('own')] }, null],
    ['suspended with limits of its own', { status: 'suspended', ownLimits: [limitOf('own')] }, 'customer-suspended'],
    ['not known but by limits that were put', { status: null, subscription: null }, null]
  ]
  for (const [what, change, denial] of cases) {
    const sources = sourcesOf(change)
    const { limits, unraised } = composeLimits(sources, NOW)
    const denied = limits.filter(({ max }) => max === 0)
    t.same(
      denied.map(({ id }) => id),
      denial === null ? [] : [denial],
      what
    )
    t.match(denied, denial === null ? [] : [{ scope: { kind: 'customer' }, mode: 'hard', whenUnknown: 'deny' }], what)
    t.strictSame(limits.slice(0, unraised.length), unraised, 'the others stay')
  }
})

t.test('a grant raises the limit it names, else the one on everything over the longest window', async (t) => {
  const user = limitOf('user', { scope: { kind: 'user', userId: 'ada' }, window: periodLimit.window })
  const output = limitOf('output', { measure: { kind: 'pool', pool: 'output' }, window: periodLimit.window })
  const rolling = limitOf('rolling', { window: { kind: 'rolling', hours: 24 } })
  const [hour, day, week, month] = (['hour', 'day', 'week', 'month'] as const).map((kind) =>
    limitOf(kind, { window: { kind } })
  )
  if (hour === undefined || day === undefined || week === undefined || month === undefined) throw new Error('no limits')
  const cases: readonly [string | null, readonly Limit[], string | null][] = [
    [null, [hour, week, periodLimit, month, day], 'period-total'],
    [null, [hour, week, month, day], 'month'],
    [null, [day, hour, week], 'week'],
    [null, [hour, day], 'day'],
    [null, [user, output, rolling, hour], 'hour'],
    [null, [user, output, rolling], null],
    [null, [], null],
    ['day', [periodLimit, day], 'day'],
    ['gone', [periodLimit, day], null],
    ['rolling', [rolling], null],
    ['output', [output], null]
  ]
  for (const [limitId, limits, raised] of cases) t.equal(raisedBy({ limitId }, limits)?.id ?? null, raised)

  const grants = [grantOf(), grantOf({ id: 'of-day', limitId: 'day' }), grantOf({ id: 'waits', limitId: 'gone' })]
  t.same(maxima(sourcesOf({ grants })), { 'period-total': 1_500, day: 1_500 })
  t.match(composeLimits(sourcesOf({ grants }), NOW).standings, [
    { limitId: 'period-total', remaining: 500 },
    { limitId: 'day', remaining: 500 },
    { limitId: null, burnt: 0, remaining: 500 }
  ])
  t.same(maxima(sourcesOf({ grants, ownLimits: [limitOf('period-total', { max: 5 })] })), {
    'period-total': 505,
    day: 1_500
  })
})

t.test('it is due again when a grant begins or ends, and at the end of the window', async (t) => {
  const nextOf = (change: Partial<Grant>, now = NOW) =>
    composeLimits(sourcesOf({ grants: [grantOf(change)] }), now).nextAt
  t.equal(nextOf({}), BOUNDARIES[2])
  t.equal(nextOf({ expiresAt: ms('2026-03-20T00:00') }), ms('2026-03-20T00:00'))
  t.equal(nextOf({ effectiveAt: ms('2026-03-13T00:00') }), ms('2026-03-13T00:00'))
  t.equal(nextOf({ limitId: 'day' }), ms('2026-03-13T00:00'))
  t.equal(nextOf({ limitId: 'gone' }), null)
})

t.test('windows that were slept through are settled one after the other', async (t) => {
  const earlier = ['2025-12-10T00:00', '2026-01-10T00:00'].map(ms)
  const usedBetween = usageOf({
    '2025-12-20T00:00': 1_100,
    '2026-01-20T00:00': 1_020,
    '2026-02-20T00:00': 900,
    '2026-03-11T00:00': 1_050
  })
  const sources = sourcesOf({
    subscription: { ...SUBSCRIPTION, earlier },
    grants: [grantOf({ effectiveAt: ms('2025-12-15T00:00') })],
    usedBetween
  })
  const { settled, standings } = composeLimits(sources, NOW)
  t.strictSame(settled, [{ grantId: 'grant', burnt: 120, settledUntil: BOUNDARIES[1] }])
  t.match(standings, [{ burnt: 170, remaining: 330 }])
  t.equal(maxima(sources)['period-total'], 1_380)
  t.equal(usageSince(sources, NOW), earlier[0])
  t.equal(usageSince(sourcesOf(), NOW), null)
})

t.test('boundaries of the subscription are none of a limit with periods of its own', async (t) => {
  const own = { kind: 'period', boundaries: BOUNDARIES.slice(1) } as const
  const sources = sourcesOf({
    subscription: { ...SUBSCRIPTION, earlier: [ms('2026-01-10T00:00')] },
    ownLimits: [limitOf('period-total', { window: own })],
    grants: [grantOf({ effectiveAt: ms('2026-01-15T00:00') })],
    usedBetween: usageOf({ '2026-02-20T00:00': 1_100, '2026-03-11T00:00': 1_001 })
  })
  t.match(composeLimits(sources, NOW).standings, [{ burnt: 1 }])
})

t.test('a limit with other windows begins with what the old ones left of a grant', async (t) => {
  const quarter = ms('2026-03-12T09:30')
  const now = quarter + 60_000
  const usedBetween = usageOf({ '2026-03-11T00:00': 1_200, '2026-03-12T03:00': 100, '2026-03-12T09:30': 40 })
  const before = { timeZone: 'UTC', limits: composeLimits(sourcesOf(), NOW).unraised }
  const anew = {
    ...SUBSCRIPTION,
    planLimits: SUBSCRIPTION.planLimits.slice(0, 1),
    boundaries: ['2026-03-12T00:00', '2026-04-12T00:00'].map(ms)
  }
  const changed = sourcesOf({ subscription: anew, before, usedBetween, grants: [grantOf()] })
  const { settled, standings } = composeLimits(changed, now)
  t.strictSame(settled, [{ grantId: 'grant', burnt: 300, settledUntil: quarter }], 'burnt under the old windows')
  t.match(standings, [{ burnt: 300, remaining: 200 }], 'what the new allowance covers burns nothing')
  t.equal(maxima(changed, now)['period-total'], 1_200)

  const same = composeLimits(sourcesOf({ before, usedBetween, grants: [grantOf()] }), now)
  t.strictSame(same.settled, [], 'windows that stay settle nothing')
  const gone = composeLimits(sourcesOf({ subscription: null, before, usedBetween, grants: [grantOf()] }), now)
  t.strictSame(gone.settled, settled, 'nor does what was burnt come back when the limit goes')
  t.match(gone.standings, [{ limitId: null, burnt: 300, remaining: 200 }])
})

t.test('a grant that waited for a limit burns from the quarter-hour on in which it finds one', async (t) => {
  const usedBetween = usageOf({ '2026-03-11T00:00': 1_200, '2026-03-12T09:30': 40 })
  const sources = sourcesOf({ before: { timeZone: 'UTC', limits: [] }, grants: [grantOf()], usedBetween })
  const { settled, standings } = composeLimits(sources, NOW + SETTLE_AFTER_MS)
  t.strictSame(settled, [{ grantId: 'grant', burnt: 0, settledUntil: NOW }])
  t.match(standings, [{ burnt: 40, remaining: 460 }])
  t.equal(maxima(sources, NOW + SETTLE_AFTER_MS)['period-total'], 1_700, 'and can be used whole')
})

t.test("another zone of the customer moves a grant into the new zone's windows", async (t) => {
  const ownLimits = [limitOf('month')]
  const before = { timeZone: 'UTC', limits: ownLimits }
  const usedBetween = usageOf({ '2026-02-28T23:30': 1_100, '2026-03-02T00:00': 1_010 })
  const grants = [grantOf({ effectiveAt: ms('2026-02-20T00:00'), burnt: 100n, settledUntil: ms('2026-03-01T00:00') })]
  const moved = sourcesOf({ timeZone: 'Europe/Paris', subscription: null, ownLimits, before, usedBetween, grants })
  const { standings, settled } = composeLimits(moved, NOW)
  t.strictSame(settled, [{ grantId: 'grant', burnt: 110, settledUntil: NOW }])
  t.match(standings, [{ burnt: 110 }], "the last hour of February in UTC burnt once, though it is March's in Paris")
})
