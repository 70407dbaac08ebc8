import fc from 'fast-check'
import t from 'tap'
import { Temporal } from 'temporal-polyfill'
import type { BillingInterval } from './billing-period.ts'
import { firstPeriod, nextPeriod } from './billing-period.ts'
import { changePreview, prorate } from './proration.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

/** Clocks that turn at midnight, by half an hour, on a day of its own; a skipped day; none of it. */
const ZONES = [
  'Africa/Cairo',
  'Australia/Lord_Howe',
  'Europe/Paris',
  'Pacific/Apia',
  'America/St_Johns',
  'Asia/Kathmandu'
]

const anyPeriod = fc
  .record({
    anchor: fc
      .integer({ min: Date.UTC(2009, 0, 1), max: Date.UTC(2032, 0, 1) })
      .map((instant) => new Date(instant).toISOString().slice(0, 10)),
    interval: fc.constantFrom<BillingInterval>('month', 'year'),
    timeZone: fc.constantFrom(...ZONES),
    previousZone: fc.constantFrom(...ZONES)
  })
  .map(({ previousZone, ...schedule }) => {
    const previous = firstPeriod({ ...schedule, timeZone: previousZone })
    return { timeZone: schedule.timeZone, period: nextPeriod(previous, schedule) }
  })

const anyFee = fc.bigInt({ min: 0n, max: 10n ** 15n })
/** Where a period is cut, as parts of it. */
const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })

function instantsOf({ start, end }: { start: number; end: number }, parts: readonly number[]): number[] {
  return parts.map((part) => Math.floor(start + part * (end - start))).toSorted((a, b) => a - b)
}

/** 00:00 of each date of a month, and of the one after: of a zone in which each of them exists. */
function midnights(month: string, timeZone: string): number[] {
  const first = Temporal.PlainDate.from(`${month}-01`)
  return Array.from(
    { length: first.daysInMonth + 1 },
    (_, day) => first.add({ days: day }).toZonedDateTime({ timeZone, plainTime: '00:00' }).epochMilliseconds
  )
}

t.test('the shares of any partition of a period add up to the fee, none below zero', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyPeriod, anyFee, anyCuts, ({ period, timeZone }, amountMinor, parts) => {
        const cuts = [period.start, ...instantsOf(period, parts), period.end]
        let sum = 0n
        for (const [i, to] of cuts.entries()) {
          const share = prorate({ amountMinor, period, from: cuts[i - 1] ?? period.start, to, timeZone })
          if (share < 0n) throw new Error(`a share of ${share}`)
          sum += share
        }
        if (sum !== amountMinor) throw new Error(`${sum}, not ${amountMinor}`)
      }),
      { seed, numRuns: 500 }
    )
  )
})

t.test('a share is its part of the days, whatever their hours, less than one minor unit away', async (t) => {
  const place = fc.record({
    month: fc.constantFrom('2026-02', '2026-03', '2026-04', '2026-10', '2026-11', '2028-02'),
    timeZone: fc.constantFrom('Europe/Paris', 'Australia/Lord_Howe', 'America/New_York', 'Asia/Kathmandu')
  })
  const anyDay = fc.record({ day: fc.nat(27), part: fc.double({ min: 0, max: 0.999, noNaN: true }) })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(place, anyFee, fc.tuple(anyDay, anyDay), ({ month, timeZone }, amountMinor, days) => {
        const starts = midnights(month, timeZone)
        const period = { start: starts[0] ?? 0, end: starts.at(-1) ?? 0 }
        const [first, last] = days.toSorted((a, b) => a.day + a.part - b.day - b.part)
        if (first === undefined || last === undefined) throw new Error('no days')
        const at = ({ day, part }: { day: number; part: number }) =>
          Math.floor((starts[day] ?? 0) + part * ((starts[day + 1] ?? 0) - (starts[day] ?? 0)))
        const share = prorate({ amountMinor, period, from: at(first), to: at(last), timeZone })
        const count = BigInt(starts.length - 1)
        const away = share * count - amountMinor * BigInt(last.day - first.day)
        if (away >= count || away <= -count) throw new Error(`${share} for ${last.day - first.day} of ${count} days`)
      }),
      { seed, numRuns: 500 }
    )
  )
})

t.test('each day of a month has one share, with 23, 24 or 25 hours alike', async (t) => {
  for (const [month, timeZone] of [
    ['2026-03', 'Europe/Paris'],
    ['2026-10', 'Europe/Paris'],
    ['2026-04', 'Australia/Lord_Howe']
  ] as const) {
    const starts = midnights(month, timeZone)
    const [start = 0, end = 0] = [starts[0], starts.at(-1)]
    const amountMinor = BigInt(starts.length - 1) * 100n
    const days = starts
      .slice(1)
      .map((to, i) => prorate({ amountMinor, period: { start, end }, from: starts[i] ?? 0, to, timeZone }))
    t.same(
      days,
      days.map(() => 100n),
      `${month} in ${timeZone}`
    )
  }
})

t.test('what does not divide is spread over the days, half a unit rounded up', async (t) => {
  const starts = midnights('2026-06', 'UTC').map((start, day) => ({ start, day }))
  const period = { start: Date.parse('2026-06-01T00:00Z'), end: Date.parse('2026-07-01T00:00Z') }
  const upTo = (day: number) =>
    prorate({ amountMinor: 10n, period, from: period.start, to: starts[day]?.start ?? 0, timeZone: 'UTC' })
  t.same([0, 1, 2, 3, 4, 5, 15, 29, 30].map(upTo), [0n, 0n, 1n, 1n, 1n, 2n, 5n, 10n, 10n])
})

t.test('a change in mid-period credits the old fee and charges the new one from that very day', async (t) => {
  const period = { start: Date.parse('2026-05-31T22:00Z'), end: Date.parse('2026-06-30T22:00Z') }
  const change = { oldFeeMinor: 1_000n, newFeeMinor: 3_001n, period, timeZone: 'Europe/Paris' }
  for (const at of ['2026-06-15T22:00Z', '2026-06-16T08:15Z', '2026-06-16T21:45Z'])
    t.same(
      changePreview({ ...change, at: Date.parse(at) }),
      { creditMinor: 500n, chargeMinor: 1_500n, netMinor: 1_000n },
      at
    )
  const down = changePreview({ ...change, oldFeeMinor: 3_000n, newFeeMinor: 0n, at: Date.parse('2026-06-30T12:00Z') })
  t.same(down, { creditMinor: 100n, chargeMinor: 0n, netMinor: -100n }, 'the last day')
  t.same(changePreview({ ...change, at: period.start }), {
    creditMinor: 1_000n,
    chargeMinor: 3_001n,
    netMinor: 2_001n
  })
  t.same(changePreview({ ...change, at: period.end }), { creditMinor: 0n, chargeMinor: 0n, netMinor: 0n })
})

t.test('after any changes of plan a period has cost what each plan costs for its days', async (t) => {
  const changes = fc.array(fc.record({ fee: anyFee, part: fc.double({ min: 0, max: 1, noNaN: true }) }), {
    maxLength: 6
  })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyPeriod, anyFee, changes, ({ period, timeZone }, firstFee, list) => {
        const ordered = list.toSorted((a, b) => a.part - b.part)
        const instants = instantsOf(
          period,
          ordered.map(({ part }) => part)
        )
        const fees = [firstFee, ...ordered.map(({ fee }) => fee)]
        let paid = firstFee
        let due = 0n
        for (const [i, amountMinor] of fees.entries()) {
          const [from, to] = [instants[i - 1] ?? period.start, instants[i] ?? period.end]
          due += prorate({ amountMinor, period, from, to, timeZone })
          const newFeeMinor = fees[i + 1]
          if (newFeeMinor === undefined) break
          paid += changePreview({ oldFeeMinor: amountMinor, newFeeMinor, period, at: to, timeZone }).netMinor
        }
        if (paid !== due) throw new Error(`${paid} paid, ${due} due`)
      }),
      { seed, numRuns: 500 }
    )
  )
})

t.test('two changes on one day leave nothing to the plan between', async (t) => {
  const period = { start: Date.parse('2026-06-01T00:00Z'), end: Date.parse('2026-07-01T00:00Z') }
  const [from, to] = [Date.parse('2026-06-16T08:15Z'), Date.parse('2026-06-16T21:45Z')]
  t.equal(prorate({ amountMinor: 9_999n, period, from, to, timeZone: 'UTC' }), 0n)
})

t.test('a piece of a day that a change of zone leaves at either end counts as a day', async (t) => {
  const tokyo = { anchor: '2026-05-01', interval: 'month', timeZone: 'Asia/Tokyo' } as const
  const period = nextPeriod(firstPeriod(tokyo), { ...tokyo, timeZone: 'Europe/Paris' })
  const piece = { amountMinor: 3_100n, period, timeZone: 'Europe/Paris' }
  t.equal(prorate({ ...piece, from: period.start, to: Date.parse('2026-05-31T22:00Z') }), 100n, 'seven hours of 31 May')
  t.equal(prorate({ ...piece, from: Date.parse('2026-05-31T22:00Z'), to: period.end }), 3_000n)
  const inTokyo = firstPeriod({ ...tokyo, anchor: '2026-06-01' })
  const last = { from: Date.parse('2026-06-29T22:00Z'), to: inTokyo.end }
  t.equal(prorate({ ...piece, ...last, period: inTokyo }), 100n, 'seventeen hours of 30 June')
})

t.test('what lies outside of the period, and a negative fee, is refused', async (t) => {
  const period = { start: Date.parse('2026-06-01T00:00Z'), end: Date.parse('2026-07-01T00:00Z') }
  const whole = { amountMinor: 100n, period, from: period.start, to: period.end, timeZone: 'UTC' }
  t.equal(prorate(whole), 100n)
  for (const wrong of [
    { from: period.start - 1 },
    { to: period.end + 1 },
    { from: period.end, to: period.start },
    { from: Number.NaN },
    { period: { start: period.end, end: period.end }, from: period.end },
    { amountMinor: -1n },
    { timeZone: 'Europe/Nowhere' }
  ])
    t.throws(() => prorate({ ...whole, ...wrong }), RangeError)
})
