import t from 'tap'
import { type OpenLoop, type OpenLoopResult, runOpenLoop } from './open-loop.ts'
import { fixedPace } from './schedule.ts'
import { VirtualClock } from './virtual-clock.ts'

const PATIENCE_MS = 10_000

/** Runs a loop against a server of which is known how long it takes for the n-th request, ms; null: for ever. */
async function run(
  loop: Pick<OpenLoop, 'dueAtMs' | 'inFlightMax'> & { readonly takesMs: (n: number) => number | null }
): Promise<OpenLoopResult & { readonly startedAt: readonly number[]; readonly mostInFlight: number }> {
  const clock = new VirtualClock()
  const startedAt: number[] = []
  let inFlight = 0
  let mostInFlight = 0
  const send = async (n: number): Promise<null> => {
    startedAt.push(clock.now())
    mostInFlight = Math.max(mostInFlight, ++inFlight)
    const takes = loop.takesMs(n)
    if (takes === null) return Promise.withResolvers<null>().promise
    await clock.until(clock.now() + takes)
    inFlight--
    return null
  }
  const result = await clock.run(runOpenLoop({ ...loop, send, patienceMs: PATIENCE_MS, clock }))
  return { ...result, startedAt, mostInFlight }
}

t.test('requests start on their timetable, whatever the answers do', async (t) => {
  const dueAtMs = [...fixedPace({ perSecond: 100, seconds: 0.1 })]
  const { startedAt, requests, waited } = await run({ dueAtMs, inFlightMax: 100, takesMs: () => 700 })
  t.same(startedAt, dueAtMs)
  t.equal(requests, 10)
  t.equal(waited, 0)
})

t.test('a request that starts late is charged its waiting', async (t) => {
  const { latency, waited, startDelay, seconds } = await run({
    dueAtMs: [0, 10, 20],
    inFlightMax: 1,
    takesMs: () => 30
  })
  t.same(
    [1 / 3, 2 / 3, 1].map((share) => Math.round(latency.quantileMs(share))),
    [30, 50, 70]
  )
  t.equal(Math.round(startDelay.maxMs), 40)
  t.equal(waited, 2)
  t.equal(seconds, 0.09)
})

t.test('a server that stands still is charged by every request that was due meanwhile', async (t) => {
  const standsStillUntil = 1_000
  const { latency, requests } = await run({
    dueAtMs: fixedPace({ perSecond: 100, seconds: 2 }),
    inFlightMax: 10,
    takesMs: (n) => (n < 10 ? standsStillUntil - n * 10 : 1)
  })
  t.equal(latency.count, requests)
  // A hundred of two hundred were due in the standstill, the last of them 10 ms before its end.
  t.ok(latency.quantileMs(0.45) < 2)
  t.ok(latency.quantileMs(0.55) > 50)
  t.ok(latency.quantileMs(0.95) > 850)
})

t.test('no more are on their way than the bound allows', async (t) => {
  const dueAtMs = fixedPace({ perSecond: 1_000, seconds: 0.1 })
  const { mostInFlight, requests } = await run({ dueAtMs, inFlightMax: 7, takesMs: () => 25 })
  t.equal(mostInFlight, 7)
  t.equal(requests, 100)
})

t.test('what is never answered has failed and is left out of nothing', async (t) => {
  const { requests, failures, latency } = await run({ dueAtMs: [0, 10, 20, 30], inFlightMax: 2, takesMs: () => null })
  t.equal(requests, 4)
  t.same(failures, { unanswered: 2, unsent: 2 })
  t.equal(latency.count, 4)
  t.ok(latency.quantileMs(0.25) >= PATIENCE_MS, 'each is charged the time until nobody waited any more')
})

t.test('what goes wrong is counted by its name, with its latency', async (t) => {
  const clock = new VirtualClock()
  const send = async (n: number): Promise<string | null> => {
    await clock.until(clock.now() + 5)
    return n % 2 === 0 ? '503' : null
  }
  const loop = { dueAtMs: [0, 1, 2, 3, 4], inFlightMax: 5, patienceMs: PATIENCE_MS, send, clock }
  const { failures, latency } = await clock.run(runOpenLoop(loop))
  t.same(failures, { 503: 3 })
  t.equal(latency.count, 5)
})

t.test('an empty timetable is over at once', async (t) => {
  const { requests, seconds } = await run({ dueAtMs: [], inFlightMax: 1, takesMs: () => 1 })
  t.same({ requests, seconds }, { requests: 0, seconds: 0 })
})
