// Every zone, anchor day and month of four years is walked. What a boundary shows on the wall is asked of Intl, which shares no
// code with the Temporal under test; which date it should be is reckoned in UTC.

import fc from 'fast-check'
import t from 'tap'
import { NEXT_WINDOWS } from '../tokens/compile-limits.ts'
import { QUARTER_HOUR_MS } from '../tokens/quarter-hour.ts'
import type { BillingInterval, BillingSchedule, Period } from './billing-period.ts'
import { anchorOf, firstPeriod, nextPeriod, periodAt, periodBoundaries } from './billing-period.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const HOUR_MS = 3_600_000
const EVERY_ZONE = [...Intl.supportedValuesOf('timeZone'), 'UTC']
const LEAP_YEAR = 2024
const YEARS = 4

/** Skipped days, midnights that don't exist or come twice, turns at a minute past midnight, odd offsets, both ends of the day. */
const ODD_ZONES = [
  'Pacific/Apia',
  'Pacific/Kwajalein',
  'Pacific/Kiritimati',
  'Pacific/Pago_Pago',
  'Pacific/Chatham',
  'Asia/Kathmandu',
  'Asia/Beirut',
  'Asia/Gaza',
  'Africa/Cairo',
  'Africa/Casablanca',
  'America/Sao_Paulo',
  'America/St_Johns',
  'America/Havana',
  'Australia/Lord_Howe',
  'Europe/Paris',
  'Africa/Abidjan'
]

/** `2026-03-31` for the anchor's day, `index` intervals on, or the last day of a shorter month. */
function expectedDate({ anchor, interval }: Omit<BillingSchedule, 'timeZone'>, index: number): string {
  const [year = 0, month = 0, day = 0] = anchor.split('-').map(Number)
  const target = month - 1 + index * (interval === 'month' ? 1 : 12)
  const last = new Date(Date.UTC(year, target + 1, 0)).getUTCDate()
  return new Date(Date.UTC(year, target, Math.min(day, last))).toISOString().slice(0, 10)
}

interface WallDates {
  /** What a zone's clocks show at an instant. */
  readonly date: string
  /** What they showed just before. */
  readonly before: string
}

/** Remembers what it was asked: anchors share days. */
function wallDates(timeZone: string): (instant: number) => WallDates {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' })
  const known = new Map<number, WallDates>()
  return (instant) => {
    let dates = known.get(instant)
    if (dates === undefined) {
      dates = { date: format.format(instant), before: format.format(instant - 1) }
      known.set(instant, dates)
    }
    return dates
  }
}

/** What is wrong with the series of each anchor in each zone: the first faults, as they come by the hundred thousand. */
function faultsOf(interval: BillingInterval, anchors: readonly string[], periods: number): readonly string[] {
  const indexes = Array.from({ length: periods + 1 }, (_, index) => index)
  const series = anchors.map((anchor) => ({
    anchor,
    expected: indexes.map((index) => expectedDate({ anchor, interval }, index))
  }))
  const faults: string[] = []
  for (const timeZone of EVERY_ZONE) {
    const wall = wallDates(timeZone)
    for (const { anchor, expected } of series) {
      const schedule = { anchor, interval, timeZone }
      const boundaries = periodBoundaries(schedule, { from: firstPeriod(schedule).start, count: expected.length })
      let last = Number.NEGATIVE_INFINITY
      for (const i of indexes) {
        const boundary = boundaries[i] ?? Number.NaN
        const { date, before } = wall(boundary)
        const right = date === expected[i] && before < date && boundary % QUARTER_HOUR_MS === 0 && boundary > last
        if (!right) faults.push(`${interval} ${i} from ${anchor} in ${timeZone}: ${before} | ${date} at ${boundary}`)
        last = boundary
      }
    }
  }
  return faults.slice(0, 20)
}

function utc(instants: readonly number[]): string[] {
  return instants.map((instant) => new Date(instant).toISOString().slice(0, 16))
}

function hours({ start, end }: Period): number {
  return (end - start) / HOUR_MS
}

const anySchedule = (zones: readonly string[], sinceYear = 1990) =>
  fc.record({
    anchor: fc
      .integer({ min: Date.UTC(sinceYear, 0, 1), max: Date.UTC(2037, 0, 1) })
      .map((instant) => new Date(instant).toISOString().slice(0, 10)),
    interval: fc.constantFrom<BillingInterval>('month', 'year'),
    timeZone: fc.constantFrom(...zones)
  })

t.test('every month of every zone and anchor day begins with its own day, on the grid of quarters', async (t) => {
  t.ok(EVERY_ZONE.length > 400, `${EVERY_ZONE.length} zones`)
  const anchors = Array.from({ length: 31 }, (_, i) => `${LEAP_YEAR}-01-${String(i + 1).padStart(2, '0')}`)
  t.same(faultsOf('month', anchors, YEARS * 12), [])
})

t.test('every year of every zone begins with the anchor day, or 28 February for the 29th', async (t) => {
  const firstAndLast = Array.from({ length: 12 }, (_, month) => [
    Date.UTC(LEAP_YEAR, month, 1),
    Date.UTC(LEAP_YEAR, month + 1, 0)
  ])
  const anchors = firstAndLast.flat().map((day) => new Date(day).toISOString().slice(0, 10))
  t.ok(anchors.includes('2024-02-29'))
  t.same(faultsOf('year', anchors, YEARS), [])
})

t.test('periods walked one by one are those listed ahead, and those found by an instant', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anySchedule(ODD_ZONES), fc.double({ min: 0, max: 0.999, noNaN: true }), (schedule, part) => {
        let period = firstPeriod(schedule)
        if (periodAt(schedule, period.start - 1) !== undefined) throw new Error('there is a period before the first')
        const boundaries = periodBoundaries(schedule, { from: period.start, count: 16 })
        for (const [i, boundary] of boundaries.slice(0, -1).entries()) {
          const listed = { start: boundary, end: boundaries[i + 1] }
          if (listed.start !== period.start || listed.end !== period.end)
            throw new Error(`period ${i} is listed otherwise`)
          if (period.end <= period.start || period.start % QUARTER_HOUR_MS !== 0)
            throw new Error(`period ${i} is wrong`)
          const within = Math.floor(period.start + part * (period.end - period.start))
          for (const instant of [period.start, within, period.end - 1]) {
            const found = periodAt(schedule, instant)
            if (found?.start !== period.start || found.end !== period.end) throw new Error(`${instant} is elsewhere`)
          }
          period = nextPeriod(period, schedule)
        }
      }),
      { seed, numRuns: 300 }
    )
  )
})

// From 2013 on, since when no zone has skipped a day.
t.test('through changes of zone a period begins where the last ended, and ends in the zone in force', async (t) => {
  const zones = fc.array(fc.constantFrom(...EVERY_ZONE, ...ODD_ZONES), { minLength: 1, maxLength: 6 })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anySchedule(EVERY_ZONE, 2013), zones, (schedule, changes) => {
        let period = firstPeriod(schedule)
        for (const [i, timeZone] of changes.entries()) {
          const changed = { ...schedule, timeZone }
          const next = nextPeriod(period, changed)
          if (next.start !== period.end) throw new Error('a gap or an overlap')
          const { date, before } = wallDates(timeZone)(next.end)
          if (date !== expectedDate(schedule, i + 2) || before >= date) throw new Error(`${timeZone}: ends on ${date}`)
          const nominal = Date.parse(expectedDate(schedule, i + 2)) - Date.parse(expectedDate(schedule, i + 1))
          if (Math.abs(next.end - next.start - nominal) > 27 * HOUR_MS) throw new Error(`${hours(next)} hours`)
          for (const instant of [next.start, next.end - 1]) {
            const found = periodAt(changed, instant, next.start)
            if (found?.start !== next.start || found.end !== next.end) throw new Error(`${instant} is elsewhere`)
          }
          if (periodAt(changed, next.start - 1, next.start) !== undefined) throw new Error('the past is changed')
          const ahead = periodBoundaries(changed, { from: next.start, count: 3 })
          if (String(ahead) !== String([next.start, next.end, nextPeriod(next, changed).end]))
            throw new Error(`${ahead} are listed ahead`)
          period = next
        }
      }),
      { seed, numRuns: 500 }
    )
  )
})

t.test('the 31st is the last day of shorter months, and the 31st again after them', async (t) => {
  const schedule = { anchor: '2023-12-31', interval: 'month', timeZone: 'Europe/Paris' } as const
  const boundaries = periodBoundaries(schedule, { from: Date.parse('2023-12-30T23:00Z'), count: 5 })
  t.same(utc(boundaries), [
    '2023-12-30T23:00',
    '2024-01-30T23:00',
    '2024-02-28T23:00',
    '2024-03-30T23:00',
    '2024-04-29T22:00'
  ])
})

t.test('a subscription is anchored to its local day of start, and its first period begins with it', async (t) => {
  const startsAt = Date.parse('2026-03-31T20:17Z')
  for (const [timeZone, anchor, start, end] of [
    ['America/New_York', '2026-03-31', '2026-03-31T04:00', '2026-04-30T04:00'],
    ['Asia/Kathmandu', '2026-04-01', '2026-03-31T18:15', '2026-04-30T18:15']
  ] as const) {
    t.equal(anchorOf(startsAt, timeZone), anchor)
    const first = firstPeriod({ anchor, interval: 'month', timeZone })
    t.same(utc([first.start, first.end]), [start, end])
  }
  const turnedBack = Date.parse('2010-11-07T02:50Z')
  t.equal(anchorOf(turnedBack, 'America/St_Johns'), '2010-11-07', 'a day that has begun goes on when clocks turn back')
  t.same(periodAt({ anchor: '2010-10-07', interval: 'month', timeZone: 'America/St_Johns' }, turnedBack), {
    start: Date.parse('2010-11-07T02:30Z'),
    end: Date.parse('2010-12-07T03:30Z')
  })
})

t.test('a midnight or a day that does not exist is the first instant after it', async (t) => {
  const cairo = { anchor: '2026-03-24', interval: 'month', timeZone: 'Africa/Cairo' } as const
  t.same(utc([firstPeriod(cairo).end]), ['2026-04-23T22:00'], 'at 01:00')
  const apia = { anchor: '2011-11-30', interval: 'month', timeZone: 'Pacific/Apia' } as const
  const skipped = firstPeriod(apia)
  t.same(utc([skipped.end, nextPeriod(skipped, apia).end]), ['2011-12-30T10:00', '2012-01-29T10:00'])
})

t.test('a change of zone makes one period longer or shorter', async (t) => {
  const paris = { anchor: '2026-01-31', interval: 'month', timeZone: 'Europe/Paris' } as const
  const current = firstPeriod(paris)
  const [tokyo, honolulu] = ['Asia/Tokyo', 'Pacific/Honolulu'].map((timeZone) => ({ ...paris, timeZone }))
  if (tokyo === undefined || honolulu === undefined) throw new Error('a schedule is missing')
  t.equal(hours(nextPeriod(current, paris)), 31 * 24 - 1, 'clocks turn on 29 March')
  t.equal(hours(nextPeriod(current, tokyo)), 31 * 24 - 8)
  const west = nextPeriod(nextPeriod(current, tokyo), honolulu)
  t.same(utc([west.start, west.end]), ['2026-03-30T15:00', '2026-04-30T10:00'])
  t.equal(hours(nextPeriod(west, honolulu)), 31 * 24)
})

t.test('another interval goes on from any instant of its new anchor day, in whatever zone', async (t) => {
  const end = Date.parse('2026-04-30T00:00Z')
  for (const hour of [-14, 0, 12, 35]) {
    const schedule = { anchor: '2026-04-30', interval: 'year', timeZone: 'UTC' } as const
    const next = nextPeriod({ start: 0, end: end + hour * HOUR_MS }, schedule)
    t.same(next, { start: end + hour * HOUR_MS, end: Date.parse('2027-04-30T00:00Z') })
  }
})

t.test('as many boundaries are listed ahead as quota windows are, after the current period', async (t) => {
  const schedule = { anchor: '2026-01-31', interval: 'month', timeZone: 'UTC' } as const
  const current = firstPeriod(schedule)
  const boundaries = [current.start, ...periodBoundaries(schedule, { from: current.end })]
  t.equal(boundaries.length - 1, 1 + NEXT_WINDOWS.period)
  t.same(utc(boundaries.slice(-1)), ['2027-02-28T00:00'])
})

t.test('a period of another schedule, an anchor that is no date and an unknown zone are refused', async (t) => {
  const schedule = { anchor: '2026-01-31', interval: 'month', timeZone: 'UTC' } as const
  const { start, end } = firstPeriod(schedule)
  for (const wrong of [start - 24 * HOUR_MS, start - 31 * 24 * HOUR_MS, end + 36 * HOUR_MS, end - 15 * HOUR_MS]) {
    t.throws(() => nextPeriod({ start: 0, end: wrong }, schedule), RangeError)
    t.throws(() => periodBoundaries(schedule, { from: wrong }), RangeError)
  }
  t.throws(() => nextPeriod({ start, end }, { ...schedule, interval: 'year' }), RangeError)
  for (const anchor of ['2026-02-30', '2026-1-31', '2026-01-31T10:00', '2026-01-31[u-ca=hebrew]', ''])
    t.throws(() => firstPeriod({ ...schedule, anchor }), RangeError, anchor)
  t.throws(() => firstPeriod({ ...schedule, timeZone: 'Europe/Nowhere' }), RangeError)
})
