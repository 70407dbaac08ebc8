import t from 'tap'
import { ProcessVitals } from './process-vitals.ts'

/** Processes that are what the test says at each look. */
function watch(first: { pid: number | null; cpuMicros: number }) {
  const now = { memoryMiB: 0, isDead: false, ...first }
  const vitals = new ProcessVitals(
    ['meter'],
    () => now.pid,
    () => (now.isDead ? null : now)
  )
  const look = (change: Partial<typeof now>): void => {
    Object.assign(now, change)
    vitals.look()
  }
  return { vitals, look }
}

t.test('memory is told after a tenth, at half and at the end of the way, and where it was highest', async (t) => {
  const { vitals, look } = watch({ pid: 1, cpuMicros: 0 })
  for (let i = 0; i <= 100; i++) look({ memoryMiB: i === 70 ? 500 : 100 + i })
  t.same(vitals.memoryMiB(), { meter: { early: 110, half: 150, end: 200, most: 500 } })
  t.same(vitals.memoryNowMiB(), { meter: 200 })
})

t.test('what a process took before it was watched does not count', async (t) => {
  const { vitals, look } = watch({ pid: 1, cpuMicros: 700 })
  look({ cpuMicros: 1_000 })
  t.same(vitals.cpuMicros(), { meter: 300 })
})

t.test('a process that was started again keeps what it took before, and is told', async (t) => {
  const { vitals, look } = watch({ pid: 1, cpuMicros: 700 })
  look({ cpuMicros: 1_000 })
  look({ isDead: true })
  look({ pid: null })
  look({ pid: 2, cpuMicros: 50, isDead: false })
  look({ cpuMicros: 80 })
  t.same(vitals.cpuMicros(), { meter: 380 })
  t.same(vitals.restarts(), { meter: 1 })
})
