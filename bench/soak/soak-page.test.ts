import t from 'tap'
import { momentLine, type SoakResult, soakJson, soakPage } from './soak-page.ts'

const RESULT: SoakResult = {
  askedPerSecond: 5_000,
  customers: 1_000,
  seconds: 600,
  sent: 3_000_000,
  eventsPerSecond: 5_000,
  behindMs: { most: 340, end: 0 },
  resent: 0,
  counted: 2_940_000,
  uncounted: { duplicate: 60_000 },
  lag: { most: 9_000, end: 4_000 },
  drainSeconds: 1.25,
  checks: {
    checks: 30_000,
    allowed: 29_000,
    refused: 990,
    unknown: 10,
    failures: { ECONNREFUSED: 3 },
    p50Ms: 2.5,
    p99Ms: 9.25,
    p999Ms: 31,
    maxMs: 80
  },
  memoryMiB: { meter: { early: 200, half: 210, end: 211, most: 230 } },
  restarts: { meter: 1 },
  cpuMicrosPerEvent: { meter: 10, redis: 5.5 },
  drift: 0n,
  faults: []
}

t.test('the page tells what was sent, counted, kept waiting and taken', async (t) => {
  const page = soakPage(RESULT)
  t.match(page, /3,000,000 records of 1,000 customers in 600\.0 s: 5,000 of 5,000 events\/s/)
  t.match(page, /2,940,000 events, 60,000 duplicates/)
  t.match(page, /4,000 records at the end, 9,000 at most; all in every store 1\.3 s later/)
  t.match(page, /29,000 allowed, 990 refused, 10 unknown, 3 ECONNREFUSED/)
  t.match(page, /p50 2\.5, p99 9\.25, p99\.9 31, at most 80 ms/)
  t.match(page, /meter: 200 MiB after a tenth, 210 at half, 211 at the end, 230 at most; started again 1 times/)
  t.match(page, /15\.5 µs in all\n\n {2}drift 0/)
})

t.test('faults stand in place of the good news', async (t) => {
  const page = soakPage({ ...RESULT, drift: 7n, faults: ['events counted: 1 instead of 2'] })
  t.notMatch(page, /drift 0/)
  t.match(page, /1 FAULTS, drift 7\n {4}events counted: 1 instead of 2/)
})

t.test('the JSON object has the drift as digits', async (t) => {
  t.equal(JSON.parse(soakJson({ ...RESULT, drift: 2n ** 60n })).drift, String(2n ** 60n))
})

t.test('the line of a second tells a timetable that is not kept, and only that', async (t) => {
  const moment = {
    seconds: 12,
    sentPerSecond: 5_000,
    countedPerSecond: 4_990,
    lag: 5_120,
    behindMs: 20,
    checkMs: { p50: 2.12, p99: 9.99 },
    memoryMiB: { meter: 210, api: 150 }
  }
  t.equal(
    momentLine(moment),
    '   12 s  sent 5,000/s  counted 4,990/s  lag 5,120  checks p50 2.1 p99 10.0 ms  MiB meter 210 api 150'
  )
  t.match(momentLine({ ...moment, behindMs: 2_340 }), /2\.3 s behind its timetable/)
})
