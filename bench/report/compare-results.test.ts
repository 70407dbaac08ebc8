import t from 'tap'
import {
  type Comparable,
  compare,
  describeComparison,
  isBaseline,
  type MeasuredRatio,
  speaksAgainst,
  toBaseline
} from './compare-results.ts'

const MACHINE = { cores: 2, processor: 'X', memoryGiB: 8, kernel: '6', versions: { node: '24.0.0' } }
const UP: MeasuredRatio = { title: 'ours ÷ theirs', goal: { atLeast: 0.75 }, min: 0.9, median: 1, max: 1.1 }
const DOWN: MeasuredRatio = { ...UP, goal: { atMost: 1.5 } }
const TOLERANCE = 0.15

function comparable(ratios: Readonly<Record<string, MeasuredRatio>>, change: Partial<Comparable> = {}): Comparable {
  const described = { name: 'a.json', measuredAt: '2026-11-26T00:00:00.000Z', commit: 'abc', machine: MACHINE }
  return { ...described, isQuick: false, failed: [], ratios: new Map(Object.entries(ratios)), ...change }
}

/** What becomes of a ratio whose median is now this one. */
function verdictOf(was: MeasuredRatio, median: number) {
  const is = { ...was, min: median, median, max: median }
  return compare(comparable({ R1: was }), comparable({ R1: is }), TOLERANCE)[0]?.verdict
}

t.test(
  'a ratio is worse when its median is beyond the worst round of the baseline by more than the tolerance',
  async (t) => {
    t.equal(verdictOf(UP, 0.74), 'worse')
    t.equal(verdictOf(UP, 0.76), 'within tolerance')
    t.equal(verdictOf(DOWN, 1.26), 'worse')
    t.equal(verdictOf(DOWN, 1.24), 'within tolerance')
  }
)

t.test('a ratio is better by the same rule on the other side', async (t) => {
  t.equal(verdictOf(UP, 1.26), 'better')
  t.equal(verdictOf(UP, 1.24), 'within tolerance')
  t.equal(verdictOf(DOWN, 0.74), 'better')
})

t.test('of a goal with two bounds only what is farther outside is worse', async (t) => {
  const exact = { ...UP, goal: { atLeast: 0.99, atMost: 1 }, min: 1, median: 1, max: 1 }
  t.equal(verdictOf(exact, 0.99), 'within tolerance')
  t.equal(verdictOf(exact, 1.2), 'worse')
  t.equal(verdictOf(exact, 0.8), 'worse')
})

t.test('an error that was exactly 0 may not become any more', async (t) => {
  const none = { ...UP, goal: { atMost: 0 }, min: 0, median: 0, max: 0 }
  t.equal(verdictOf(none, 0), 'within tolerance')
  t.equal(verdictOf(none, 1e-9), 'worse')
})

t.test('a scenario that failed speaks against the results, one that was not run does not', async (t) => {
  const before = comparable({ R1: UP, R2: UP, R10: UP })
  const after = comparable({ R10: UP, R11: UP }, { failed: ['R2'] })
  const changes = compare(before, after, TOLERANCE)
  t.same(
    changes.map(({ id, verdict }) => [id, verdict]),
    [
      ['R1', 'not run'],
      ['R2', 'failed'],
      ['R10', 'within tolerance'],
      ['R11', 'not in the baseline']
    ]
  )
  t.same(
    changes.filter(speaksAgainst).map(({ id }) => id),
    ['R2']
  )
})

t.test('a ratio whose goal has turned round is not compared: it is another figure', async (t) => {
  const [change] = compare(comparable({ R14: UP }), comparable({ R14: { ...DOWN, median: 9 } }), TOLERANCE)
  t.equal(change?.verdict, 'measured otherwise')
  t.notOk(change && speaksAgainst(change))
})

t.test('the change is that of the median, by which sign it grew', async (t) => {
  const [change] = compare(comparable({ R1: UP }), comparable({ R1: { ...UP, median: 0.9 } }), TOLERANCE)
  t.equal(change?.change?.toFixed(3), '-0.100')
})

t.test('a comparison says that machines or versions differ', async (t) => {
  const before = comparable({ R1: UP })
  const machine = { ...MACHINE, cores: 8, versions: { node: '24.1.0' } }
  const after = comparable({ R1: UP }, { machine, isQuick: true })
  const text = describeComparison(before, after, compare(before, after, TOLERANCE))
  t.match(text, /a quick run/)
  t.match(text, /2 cores of X, then 8 cores of X/)
  t.match(text, /node 24\.0\.0, then 24\.1\.0/)
  t.match(text, /R1 .* 0\.0 % {2}within tolerance/)
})

t.test('a baseline keeps ratios, spreads, machine and commit, and is told from results', async (t) => {
  const baseline = toBaseline(comparable({ R1: { ...UP, title: 'a' } }))
  t.same(Object.keys(baseline), ['measuredAt', 'commit', 'machine', 'ratios'])
  t.same(baseline.ratios, { R1: { ...UP, title: 'a' } })
  t.ok(isBaseline(baseline))
  t.notOk(isBaseline({ machine: MACHINE, scenarios: [], failures: [] }))
})
