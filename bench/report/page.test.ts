import t from 'tap'
import type { RatioResult } from '../harness/run-scenario.ts'
import { figureText, goalText, wrap } from './figure-text.ts'
import { tableOf, toPage } from './page.ts'

const RATIO: RatioResult = {
  id: 'R1',
  title: 'ours ÷ theirs, events/s',
  goal: { atLeast: 0.75 },
  min: 0.71,
  median: 0.78,
  max: 0.81,
  isReached: true
}
const MACHINE = { cores: 2, processor: 'X', memoryGiB: 8, kernel: '6', versions: { node: '24.0.0', kafka: '4.3.1' } }

t.test('a row says what is divided by what, the goal, the spread, and whether the median reaches it', async (t) => {
  const [, reached, missed] = tableOf([RATIO, { ...RATIO, id: 'R2', isReached: false }])
  t.match(reached, /^R1 +ours ÷ theirs, events\/s +≥ 0\.75 +0\.71 +0\.78 +0\.81 +yes$/)
  t.match(missed, /^R2 .*NO$/)
})

t.test('a long title goes on below, and no line is wider than the table', async (t) => {
  const title =
    'what our own consumers do with everything switched on ÷ what the library alone would do with the same events'
  const lines = tableOf([{ ...RATIO, title }])
  t.equal(lines.length, 3)
  t.match(lines[2], /^ +÷ what the library alone would do/)
  t.ok(lines.every((line) => line.length <= 120))
})

t.test('the page names every side with its figures, the machine, and what failed', async (t) => {
  const page = toPage({
    measuredAt: '2026-11-26T00:00:00.000Z',
    commit: 'abc',
    machine: MACHINE,
    isQuick: true,
    scenarios: [
      {
        scenario: 'pipeline',
        rounds: 2,
        load: [0.5, 1.25],
        ratios: [RATIO],
        figures: { ours: { eventsPerSecond: { min: 100_000, median: 181_234.4, max: 200_000 } } }
      }
    ],
    failures: [{ scenario: 'idle', ratios: ['R12'], error: 'nobody listens' }]
  })
  t.match(page, /load average before each 0\.5 1\.25/)
  t.match(page, / ours\n +eventsPerSecond +181,234 +\(100,000 – 200,000\)/)
  t.match(page, /2 cores of X, 8 GiB, Linux 6\nnode 24\.0\.0, kafka 4\.3\.1/)
  t.match(page, /FAILED idle \(R12\): nobody listens/)
  t.match(page, /not for documents/)
})

t.test('figures have four digits that count', async (t) => {
  t.same([0.123_456, 22.304_9, 181_234.4, 0, Infinity].map(figureText), ['0.1235', '22.3', '181,234', '0', 'Infinity'])
})

t.test('a goal is a bound, two of them, or an exact figure', async (t) => {
  t.same([{ atLeast: 4 }, { atMost: 0.125 }, { atLeast: 0.99, atMost: 1 }, { atLeast: 0, atMost: 0 }].map(goalText), [
    '≥ 4',
    '≤ 0.125',
    '≥ 0.99, ≤ 1',
    '= 0'
  ])
})

t.test('lines break between words', async (t) => {
  t.same(wrap('one two three', 7), ['one two', 'three'])
  t.same(wrap('unbreakable one', 4), ['unbreakable', 'one'])
})
