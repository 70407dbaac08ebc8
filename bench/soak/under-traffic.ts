/** Work that is done while the soak's producer sends at a steady rate, from when it has been flowing for a while. */
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type ProducerOrder, SoakProducer } from './soak-producer.ts'

export type SteadyTraffic = Omit<ProducerOrder, 'seconds'>

export interface UnderTraffic<T> {
  readonly result: T
  /** What Kafka really took of the traffic while the work went on. */
  readonly eventsPerSecond: number
}

/** Longer than any work takes: it is stopped. */
const SECONDS_MAX = 3_600
/** Traffic before the work begins: buffers are filled and the hot code is compiled. */
const WARM_UP_SECONDS = 1
const WARM_UP_TIMEOUT_MS = 30_000
/** Further behind, and the log does not keep up: the traffic is not what its rate says. */
const BEHIND_MAX_MS = 5_000

export async function underTraffic<T>(traffic: SteadyTraffic, work: () => Promise<T>): Promise<UnderTraffic<T>> {
  const failures: string[] = []
  const producer = new SoakProducer({ ...traffic, seconds: SECONDS_MAX }, (failure) => failures.push(failure))
  try {
    await waitUntil(async () => producer.report.sent > traffic.perSecond * WARM_UP_SECONDS, {
      what: 'the traffic to flow',
      timeoutMs: WARM_UP_TIMEOUT_MS
    })
    const begun = producer.report
    const result = await work()
    const ended = producer.report
    if (producer.mostBehindMs > BEHIND_MAX_MS) throw new Error(`it fell ${producer.mostBehindMs} ms behind`)
    return { result, eventsPerSecond: (1_000 * (ended.sent - begun.sent)) / (ended.elapsedMs - begun.elapsedMs) }
  } catch (error) {
    throw new Error(`under steady traffic, whose requests failed so: ${failures.join('; ') || 'none did'}`, {
      cause: error
    })
  } finally {
    await producer.close()
  }
}
