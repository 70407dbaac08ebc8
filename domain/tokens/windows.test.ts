import fc from 'fast-check'
import t from 'tap'
import { Temporal } from 'temporal-polyfill'
import type { WindowBounds } from './limit.ts'
import { quarterOf, quarterStartMs } from './quarter-hour.ts'
import { calendarWindows, isTimeZone } from './windows.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const KINDS = ['month', 'week', 'day', 'hour'] as const

/** Half-hour turns, skipped days, midnights that don't exist, turns at a minute past midnight, odd offsets, and plain ones. */
const ZONES = [
  'UTC',
  'Europe/Paris',
  'America/New_York',
  'Australia/Lord_Howe',
  'Pacific/Apia',
  'Pacific/Kwajalein',
  'Pacific/Chatham',
  'Asia/Kathmandu',
  'Africa/Cairo',
  'Asia/Beirut',
  'Asia/Gaza',
  'America/Sao_Paulo',
  'America/St_Johns',
  'America/Havana',
  'Africa/Casablanca',
  'Antarctica/Troll',
  'Africa/Abidjan'
]

function utc(windows: readonly WindowBounds[]): string[] {
  return windows.map(([start]) => new Date(quarterStartMs(start)).toISOString().slice(0, 16))
}

function hours(windows: readonly WindowBounds[]): number[] {
  return windows.map(([start, end]) => (end - start) / 4)
}

t.test('windows are contiguous, never empty, and the second one holds now, in every zone at any time', async (t) => {
  const at = fc.record({
    timeZone: fc.constantFrom(...ZONES),
    nowMs: fc.integer({ min: Date.UTC(1990, 0, 1), max: Date.UTC(2037, 0, 1) }),
    next: fc.integer({ min: 0, max: 5 })
  })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), at, (kind, place) => {
        const windows = calendarWindows(kind, place)
        if (windows.length !== place.next + 2) throw new Error(`${windows.length} windows`)
        for (const [i, [start, end]] of windows.entries()) {
          if (end <= start) throw new Error(`window ${i} is empty`)
          if (i > 0 && windows[i - 1]?.[1] !== start)
            throw new Error(`window ${i} does not begin where the last one ends`)
        }
        const now = quarterOf(place.nowMs)
        const current = windows[1]
        if (current === undefined || now < current[0] || now >= current[1]) throw new Error('now is in another window')
      }),
      { seed, numRuns: 1_500 }
    )
  )
})

t.test('a window is the same whenever it is computed while it is current, next or previous', async (t) => {
  const at = fc.record({
    timeZone: fc.constantFrom(...ZONES),
    nowMs: fc.integer({ min: Date.UTC(2005, 0, 1), max: Date.UTC(2030, 0, 1) })
  })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), at, (kind, place) => {
        const [, current, next] = calendarWindows(kind, { ...place, next: 1 })
        if (current === undefined || next === undefined) throw new Error('windows are missing')
        for (const quarter of [next[0], next[1] - 1]) {
          const later = calendarWindows(kind, { ...place, nowMs: quarterStartMs(quarter), next: 0 })
          if (String(later) !== String([current, next]))
            throw new Error(`${later} at ${quarter}, not ${[current, next]}`)
        }
      }),
      { seed, numRuns: 400 }
    )
  )
})

t.test('months, weeks and days begin at the first instant of a local day', async (t) => {
  const at = fc.record({
    timeZone: fc.constantFrom(...ZONES),
    nowMs: fc.integer({ min: Date.UTC(2005, 0, 1), max: Date.UTC(2030, 0, 1) })
  })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.constantFrom('month', 'week', 'day'), at, (kind, place) => {
        const current = calendarWindows(kind, { ...place, next: 0 })[1]
        if (current === undefined) throw new Error('the current window is missing')
        const begin = Temporal.Instant.fromEpochMilliseconds(quarterStartMs(current[0])).toZonedDateTimeISO(
          place.timeZone
        )
        const before = begin.subtract({ minutes: 1 }).toPlainDate()
        if (Temporal.PlainDate.compare(before, begin.toPlainDate()) >= 0) throw new Error(`${begin} begins no day`)
        if (kind === 'week' && begin.dayOfWeek !== 1) throw new Error(`${begin} is no Monday`)
        if (kind === 'month' && begin.day !== 1) throw new Error(`${begin} begins no month`)
      }),
      { seed, numRuns: 600 }
    )
  )
})

t.test('a day has 23, 24 or 25 hours as the clocks turn', async (t) => {
  const paris = (date: string) => calendarWindows('day', { timeZone: 'Europe/Paris', nowMs: Date.parse(date), next: 1 })
  t.same(hours(paris('2026-03-28T12:00Z')), [24, 24, 23])
  t.same(hours(paris('2026-10-24T12:00Z')), [24, 24, 25])
})

t.test('a local midnight that does not exist is the first instant of that day', async (t) => {
  const cairo = calendarWindows('day', { timeZone: 'Africa/Cairo', nowMs: Date.parse('2026-04-23T12:00Z'), next: 1 })
  t.same(utc(cairo), ['2026-04-21T22:00', '2026-04-22T22:00', '2026-04-23T22:00'])
  const after = calendarWindows('day', { timeZone: 'Africa/Cairo', nowMs: Date.parse('2026-04-24T12:00Z'), next: 0 })
  t.same(hours(after), [24, 23])
  const beirut = calendarWindows('day', { timeZone: 'Asia/Beirut', nowMs: Date.parse('2026-03-29T12:00Z'), next: 0 })
  t.same(hours(beirut), [24, 23])
})

t.test('a day that does not exist has no window', async (t) => {
  const apia = { timeZone: 'Pacific/Apia', nowMs: Date.parse('2011-12-30T09:00Z'), next: 1 }
  t.same(utc(calendarWindows('day', apia)), ['2011-12-28T10:00', '2011-12-29T10:00', '2011-12-30T10:00'])
  t.same(hours(calendarWindows('day', apia)), [24, 24, 24])
  const dayAfter = { ...apia, nowMs: Date.parse('2011-12-30T12:00Z') }
  t.same(utc(calendarWindows('day', dayAfter)), ['2011-12-29T10:00', '2011-12-30T10:00', '2011-12-31T10:00'])
  t.same(hours(calendarWindows('week', apia)), [168, 144, 168])
})

t.test('a day that has begun goes on while the clock shows the day before once more', async (t) => {
  const stJohns = { timeZone: 'America/St_Johns', nowMs: Date.parse('2010-11-07T02:50Z'), next: 0 }
  t.same(hours(calendarWindows('day', stJohns)), [24, 25])
})

t.test(
  'hours follow the wall clock: by quarters in Kathmandu, by half an hour where clocks turn by half an hour',
  async (t) => {
    const kathmandu = { timeZone: 'Asia/Kathmandu', nowMs: Date.parse('2026-03-28T12:00Z'), next: 0 }
    t.same(utc(calendarWindows('hour', kathmandu)), ['2026-03-28T10:15', '2026-03-28T11:15'])
    const lordHowe = (date: string) =>
      hours(calendarWindows('hour', { timeZone: 'Australia/Lord_Howe', nowMs: Date.parse(date), next: 2 }))
    t.same(lordHowe('2026-04-04T14:00Z'), [1, 1.5, 1, 1])
    t.same(lordHowe('2026-10-03T14:30Z'), [1, 1, 0.5, 1])
    const paris = { timeZone: 'Europe/Paris', nowMs: Date.parse('2026-10-25T00:30Z'), next: 1 }
    t.same(hours(calendarWindows('hour', paris)), [1, 1, 1], 'an hour shown twice is two windows')
  }
)

t.test('only IANA names are time zones', async (t) => {
  for (const name of ZONES) t.ok(isTimeZone(name), name)
  for (const name of ['', '+01:00', '-0100', 'Europe/Nowhere', 'Europe/Paris ', '../etc', 'CEST?'])
    t.notOk(isTimeZone(name), name)
  t.throws(() => calendarWindows('day', { timeZone: 'Europe/Nowhere', nowMs: 0, next: 1 }), RangeError)
})
