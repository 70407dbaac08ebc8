/**
 * So many callers, each asking again as soon as it has its answer: what a server can do at most. Its latencies say how long an answer
 * takes at that load and no other; for how a server feels at a load that it is given, there is the open loop.
 */
import { type Clock, preciseClock } from './clock.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import type { LoopResult } from './open-loop.ts'

export interface ClosedLoop {
  readonly callers: number
  /** After it nobody asks again; what is on its way is waited for and counts. */
  readonly forMs: number
  /** Nobody asks again either after so many requests; without end unless told. */
  readonly requestsMax?: number
  /** As with the open loop. */
  readonly send: (n: number) => Promise<string | null>
  readonly clock?: Clock
}

export async function runClosedLoop(loop: ClosedLoop): Promise<LoopResult> {
  const { callers, forMs, requestsMax = Infinity, send, clock = preciseClock } = loop
  const latency = new LatencyHistogram()
  const failures: Record<string, number> = {}
  const startedAt = clock.now()
  let sent = 0
  const call = async (): Promise<void> => {
    for (let askedAt = startedAt; askedAt < startedAt + forMs && sent < requestsMax; ) {
      const failure = await send(sent++)
      const answeredAt = clock.now()
      latency.record(answeredAt - askedAt)
      if (failure !== null) failures[failure] = (failures[failure] ?? 0) + 1
      askedAt = answeredAt
    }
  }
  await Promise.all(Array.from({ length: callers }, call))
  return { requests: sent, failures, seconds: (clock.now() - startedAt) / 1_000, latency }
}
