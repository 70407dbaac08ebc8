import t from 'tap'
import { RecentTimes } from './recent-times.ts'

t.test('quantiles are exact, of what came within the last moments', async (t) => {
  const recent = new RecentTimes(1_000)
  for (let i = 1; i <= 100; i++) recent.add(i, 500)
  t.same(recent.quantiles([0.5, 0.99, 1], 600), [50, 99, 100])
  recent.add(7, 1_200)
  t.same(recent.quantiles([0.5], 1_600), [7])
  t.same(recent.quantiles([0.5], 5_000), [0])
})
