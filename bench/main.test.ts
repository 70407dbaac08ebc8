import t from 'tap'
import { SCENARIOS } from './main.ts'

t.test('every ratio has an id of its own, and the bench measures all fourteen of its table', async (t) => {
  const ids = SCENARIOS.flatMap(({ ratios }) => ratios.map(({ id }) => id))
  t.equal(new Set(ids).size, ids.length)
  for (let number = 1; number <= 14; number++) t.ok(ids.includes(`R${number}`), `R${number}`)
})

t.test('every ratio has a goal that can be missed', async (t) => {
  for (const { id, goal } of SCENARIOS.flatMap(({ ratios }) => ratios)) {
    t.ok(Number.isFinite(goal.atLeast) || Number.isFinite(goal.atMost), id)
  }
})
