import t from 'tap'
import { Random } from '../../stack/demo/random.ts'
import { fixedPace, poisson } from './schedule.ts'

const SEED = 7

t.test('a fixed pace is due at equal gaps, the last before the end', async (t) => {
  t.same([...fixedPace({ perSecond: 4, seconds: 1 })], [0, 250, 500, 750])
  t.equal([...fixedPace({ perSecond: 1_000, seconds: 2.5 })].length, 2_500)
})

t.test('the same seed makes the same timetable, another one another', async (t) => {
  const made = (seed: number): number[] => [...poisson({ perSecond: 100, seconds: 1, random: new Random(seed) })]
  t.same(made(SEED), made(SEED))
  t.notSame(made(SEED), made(SEED + 1))
})

t.test('callers who know nothing of each other come at the stated pace and with exponential gaps', async (t) => {
  const perSecond = 2_000
  const seconds = 50
  const dueAt = [...poisson({ perSecond, seconds, random: new Random(SEED) })]
  t.ok(Math.abs(dueAt.length / (perSecond * seconds) - 1) < 0.02, `${dueAt.length} requests`)
  const gaps = dueAt.map((at, i) => at - (dueAt[i - 1] ?? 0))
  t.ok(
    gaps.every((gap) => gap >= 0),
    'the instants ascend'
  )
  const shorter = gaps.filter((gap) => gap < 1_000 / perSecond).length / gaps.length
  t.ok(Math.abs(shorter - (1 - 1 / Math.E)) < 0.01, `${shorter} of the gaps are shorter than their mean`)
  t.ok((dueAt.at(-1) ?? Infinity) < seconds * 1_000)
})
