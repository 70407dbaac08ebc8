import t from 'tap'
import { runClosedLoop } from './closed-loop.ts'
import { VirtualClock } from './virtual-clock.ts'

t.test('each caller asks again when it has its answer, and what is on its way at the end counts', async (t) => {
  const clock = new VirtualClock()
  let inFlight = 0
  let mostInFlight = 0
  const send = async (): Promise<null> => {
    mostInFlight = Math.max(mostInFlight, ++inFlight)
    await clock.until(clock.now() + 30)
    inFlight--
    return null
  }
  const { requests, seconds, latency } = await clock.run(runClosedLoop({ callers: 8, forMs: 100, send, clock }))
  t.equal(mostInFlight, 8)
  t.same({ requests, seconds }, { requests: 32, seconds: 0.12 })
  t.equal(latency.count, 32)
  t.equal(Math.round(latency.quantileMs(0.5)), 30)
})

t.test('what goes wrong is counted by its name', async (t) => {
  const clock = new VirtualClock()
  const send = async (n: number): Promise<string | null> => {
    await clock.until(clock.now() + 10)
    return n === 0 ? 'ECONNRESET' : null
  }
  const { failures } = await clock.run(runClosedLoop({ callers: 2, forMs: 20, send, clock }))
  t.same(failures, { ECONNRESET: 1 })
})

t.test('a number of requests ends it as time does', async (t) => {
  const clock = new VirtualClock()
  const send = async (): Promise<null> => {
    await clock.until(clock.now() + 10)
    return null
  }
  const loop = { callers: 4, forMs: 1_000, requestsMax: 10, send, clock }
  const { requests, seconds } = await clock.run(runClosedLoop(loop))
  t.same({ requests, seconds }, { requests: 10, seconds: 0.03 })
})
