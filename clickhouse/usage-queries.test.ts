import fc from 'fast-check'
import t from 'tap'
import { Temporal } from 'temporal-polyfill'
import type { UsageGrain, UsageGroup, UsageQuery, UsageRow } from '../domain/api-ports.ts'
import type { MeteredEvent } from '../domain/ports.ts'
import { TOKEN_POOLS, totalTokens } from '../domain/tokens/token-pools.ts'
import { freshClickHouse } from '../test/clickhouse-database.ts'
import { arbitraryUsage, countedEvent } from '../test/counted-events.ts'
import { ClickHouseUsageLog } from './usage-log.ts'
import { ClickHouseUsageQueries, USAGE_ROWS_MAX } from './usage-queries.ts'

const GRAINS: readonly UsageGrain[] = ['quarter-hour', 'hour', 'day', 'week', 'month', 'all']
const GROUPS: readonly UsageGroup[] = ['customer', 'user', 'model', 'pool']
/** Whole hours, half and quarter hours; midnights that don't exist (Cairo, Santiago); a clock that moves by half an hour. */
const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Asia/Kathmandu',
  'Asia/Kolkata',
  'Africa/Cairo',
  'America/Santiago',
  'Pacific/Chatham',
  'Australia/Lord_Howe'
]
const YEAR_START = Date.UTC(2025, 0, 1)
const YEAR_END = Date.UTC(2026, 0, 1)

const { client } = await freshClickHouse(t)
const queries = new ClickHouseUsageQueries(client)
const events = await insertUsage()

/** A fixed year of usage, denser where clocks change, so that windows are seen to begin and end there. */
async function insertUsage(): Promise<readonly MeteredEvent[]> {
  const spread = fc.sample(arbitraryUsage(YEAR_START, YEAR_END), { numRuns: 1_500, seed: 1 })
  const transitions = ZONES.flatMap((zone) => transitionsOf(zone))
  const dense = transitions.flatMap((at, n) =>
    fc.sample(arbitraryUsage(at - 5 * 3_600_000, at + 5 * 3_600_000), { numRuns: 60, seed: n })
  )
  const counted = [...spread, ...dense].map((change, offset) => countedEvent(offset, change))
  await new ClickHouseUsageLog({ client, topic: 'usage' }).append(0, { from: 0, to: counted.length }, counted)
  return counted
}

function transitionsOf(zone: string): number[] {
  const found: number[] = []
  let at = Temporal.Instant.fromEpochMilliseconds(YEAR_START).toZonedDateTimeISO(zone)
  for (;;) {
    const next = at.getTimeZoneTransition('next')
    if (next === null || next.epochMilliseconds >= YEAR_END - 86_400_000) return found
    found.push(next.epochMilliseconds)
    at = next
  }
}

/** The same answer by plain computation over the events. */
function answerPlainly(query: UsageQuery): UsageRow[] {
  const groups = new Map<string, { start: number | null; ids: (string | null)[]; sums: bigint[]; events: number }>()
  for (const { event } of events) {
    if (event.occurredAt < query.from || event.occurredAt >= query.to) continue
    if (query.customerId !== null && event.customerId !== query.customerId) continue
    if (query.userId !== null && event.userId !== query.userId) continue
    if (query.model !== null && event.model !== query.model) continue
    const start = windowStart(event.occurredAt, query.grain, query.timeZone)
    const ids = [
      query.groupBy.includes('customer') ? event.customerId : null,
      query.groupBy.includes('user') ? event.userId : null,
      query.groupBy.includes('model') ? event.model : null
    ]
    const key = JSON.stringify([start, ids])
    const group = groups.get(key) ?? { start, ids, sums: [0n, 0n, 0n, 0n, 0n], events: 0 }
    group.sums = group.sums.map((sum, pool) => sum + BigInt(event.tokens[TOKEN_POOLS[pool] ?? 'input']))
    group.events++
    groups.set(key, group)
  }
  const sorted = [...groups.values()].sort(
    (a, b) => (a.start ?? 0) - (b.start ?? 0) || Buffer.compare(sortKey(a.ids), sortKey(b.ids))
  )
  return sorted.flatMap(({ start, ids, sums, events }) => {
    const [customerId = null, userId = null, model = null] = ids
    const row = { start, customerId, userId, model, events: String(events) }
    if (query.groupBy.includes('pool')) {
      return sums.map((sum, pool) => ({ ...row, pool: TOKEN_POOLS[pool] ?? null, tokens: String(sum) }))
    }
    return [{ ...row, pool: null, tokens: String(sums.reduce((total, sum) => total + sum)) }]
  })
}

function sortKey(ids: readonly (string | null)[]): Buffer {
  return Buffer.from(ids.map((id) => id ?? '').join('\0'))
}

function windowStart(instantMs: number, grain: UsageGrain, zone: string): number | null {
  if (grain === 'all') return null
  if (grain === 'quarter-hour') return instantMs - (instantMs % 900_000)
  const local = Temporal.Instant.fromEpochMilliseconds(instantMs).toZonedDateTimeISO(zone)
  if (grain === 'hour') return instantMs - (local.minute * 60_000 + local.second * 1_000 + local.millisecond)
  const daysIn = grain === 'day' ? 0 : grain === 'week' ? local.dayOfWeek - 1 : local.day - 1
  return local.toPlainDate().subtract({ days: daysIn }).toZonedDateTime({ timeZone: zone }).epochMilliseconds
}

/** One comparison a question: tap would take a second to tell ten thousand equal rows apart one by one. */
function firstDifference(actual: readonly UsageRow[], expected: readonly UsageRow[]): unknown {
  if (actual.length !== expected.length) return `${actual.length} rows, not ${expected.length}`
  for (const [at, row] of expected.entries()) {
    const other = actual[at]
    const isSame =
      other !== undefined &&
      (['start', 'customerId', 'userId', 'model', 'pool', 'tokens', 'events'] as const).every(
        (name) => other[name] === row[name]
      )
    if (!isSame) return { at, actual: other, expected: row }
  }
  return null
}

const wholeYear: UsageQuery = {
  from: YEAR_START,
  to: YEAR_END,
  grain: 'all',
  timeZone: 'UTC',
  groupBy: [],
  customerId: null,
  userId: null,
  model: null,
  limit: USAGE_ROWS_MAX
}

t.test('every grain in every zone equals a plain computation, across clock changes', async (t) => {
  for (const timeZone of ZONES) {
    for (const grain of GRAINS) {
      const query: UsageQuery = { ...wholeYear, timeZone, grain, groupBy: ['model'] }
      t.equal(firstDifference(await queries.usage(query), answerPlainly(query)), null, `${grain} in ${timeZone}`)
    }
  }
})

t.test('every question equals a plain computation, from the roll-up or from the events', async (t) => {
  const instants = fc.oneof(
    fc.integer({ min: YEAR_START, max: YEAR_END }),
    fc.integer({ min: YEAR_START / 900_000, max: YEAR_END / 900_000 }).map((quarter) => quarter * 900_000)
  )
  const questions = fc.record({
    ends: fc.tuple(instants, instants).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) })),
    grain: fc.constantFrom(...GRAINS),
    timeZone: fc.constantFrom(...ZONES),
    groupBy: fc.subarray([...GROUPS]).chain((groups) => fc.shuffledSubarray(groups, { minLength: groups.length })),
    customerId: fc.constantFrom(null, null, 'acme', 'ümlaut & söhne', 'nobody'),
    userId: fc.constantFrom(null, null, '', "b'); drop table usage_event --"),
    model: fc.constantFrom(null, null, 'large'),
    limit: fc.constantFrom(1, 7, USAGE_ROWS_MAX)
  })
  await fc.assert(
    fc.asyncProperty(questions, async ({ ends, ...rest }) => {
      const query: UsageQuery = { ...rest, ...ends }
      const difference = firstDifference(await queries.usage(query), answerPlainly(query).slice(0, query.limit))
      if (difference !== null) throw new Error(JSON.stringify(difference))
    }),
    { numRuns: 150 }
  )
  t.pass('150 random questions')
})

t.test('without any group or grain the answer is one row with the whole sum', async (t) => {
  const total = events.reduce((sum, { event }) => sum + BigInt(totalTokens(event.tokens)), 0n)
  t.same(await queries.usage({ ...wholeYear, limit: 1 }), [
    {
      start: null,
      customerId: null,
      userId: null,
      model: null,
      pool: null,
      tokens: String(total),
      events: String(events.length)
    }
  ])
})

t.test('ends beyond what a date can hold are no error', async (t) => {
  const [all] = await queries.usage({ ...wholeYear, from: 0, to: Number.MAX_SAFE_INTEGER - 991, limit: 1 })
  t.equal(all?.events, String(events.length))
  const [early] = await queries.usage({ ...wholeYear, from: -900_000, to: Date.UTC(3000, 0), limit: 1 })
  t.equal(early?.events, String(events.length))
})

t.test('a period without usage has no rows', async (t) => {
  t.same(await queries.usage({ ...wholeYear, from: 0, to: 900_000 }), [])
  t.same(await queries.usage({ ...wholeYear, from: 0, to: 900_001, groupBy: ['pool'] }), [])
})

t.test('a limit that no query may have is refused', async (t) => {
  for (const limit of [0, -1, 1.5, USAGE_ROWS_MAX + 1]) {
    await t.rejects(queries.usage({ ...wholeYear, limit }), { name: 'RangeError' })
  }
})
