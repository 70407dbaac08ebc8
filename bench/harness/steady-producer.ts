/**
 * Steady traffic by a process of its own, so that neither its work nor its pauses are those of whoever measures. It is an open loop: what
 * is due is sent, whatever became of what was sent before.
 * Environment: KAFKA_BROKERS, BENCH_TOPIC, BENCH_SEED, BENCH_EVENTS_PER_SECOND, BENCH_CUSTOMERS. Ends on SIGTERM, when all is acknowledged.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin } from 'kafkajs'
import { partitionByCustomer } from '../../ingest/usage-producer.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import { type UsageMessage, usageMessages } from './usage-records.ts'
import { benchKafka } from './usage-topic.ts'

export interface SteadyTraffic {
  readonly brokers: string
  /** It is there already. */
  readonly topic: string
  /** The same seed, the same events but for their times. */
  readonly seed: number
  readonly eventsPerSecond: number
  readonly customers: number
}

/** What a producer waits to fill a request: as much as the usual `linger.ms` of other clients. */
const SEND_INTERVAL_MS = 10
/** Bounds a request after a pause of ours. */
const REQUEST_EVENTS_MAX = 2_000
/** Unacknowledged for longer, and the log does not keep up: the traffic is not what its rate says. */
const BEHIND_SECONDS_MAX = 5
/** Traffic before the work begins: buffers are filled and the hot code is compiled. */
const WARM_UP_SECONDS = 1
const WARM_UP_TIMEOUT_MS = 30_000

export interface UnderTraffic<T> {
  readonly result: T
  /** What the log really took while the work went on; `result`'s own records count as well. */
  readonly eventsPerSecond: number
}

/** Does the work while the traffic goes on, from when it has been flowing for a while. */
export async function underTraffic<T>(traffic: SteadyTraffic, work: () => Promise<T>): Promise<UnderTraffic<T>> {
  const { brokers, topic } = traffic
  const lines: string[] = []
  const onLine = (_: string, line: string): void => void lines.push(line)
  const supervisor = new Supervisor({ definitions: [planProducer(traffic)], restarts: false, onLine })
  const admin = benchKafka(brokers).admin()
  await admin.connect()
  try {
    const before = await recordsIn(admin, topic)
    supervisor.start(NAME)
    await waitUntil(async () => (await recordsIn(admin, topic)) - before > traffic.eventsPerSecond * WARM_UP_SECONDS, {
      what: 'the traffic to flow',
      timeoutMs: WARM_UP_TIMEOUT_MS
    })
    const begun = { at: performance.now(), records: await recordsIn(admin, topic) }
    const result = await work()
    const records = (await recordsIn(admin, topic)) - begun.records
    const eventsPerSecond = (records / (performance.now() - begun.at)) * 1_000
    if (supervisor.pidOf(NAME) === null) throw new Error('the producer has ended before it was told to')
    return { result, eventsPerSecond }
  } catch (error) {
    throw new Error(`under steady traffic, whose producer said:\n${lines.join('\n')}`, { cause: error })
  } finally {
    await supervisor.stopAll()
    await admin.disconnect()
  }
}

const NAME = 'producer'

function planProducer({ brokers, topic, seed, eventsPerSecond, customers }: SteadyTraffic): ProcessDefinition {
  return {
    name: NAME,
    entry: 'bench/harness/steady-producer.ts',
    environment: {
      KAFKA_BROKERS: brokers,
      BENCH_TOPIC: topic,
      BENCH_SEED: String(seed),
      BENCH_EVENTS_PER_SECOND: String(eventsPerSecond),
      BENCH_CUSTOMERS: String(customers)
    }
  }
}

async function recordsIn(admin: Admin, topic: string): Promise<number> {
  return (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0)
}

/** Events to send now, so that none is left out that has come due by `elapsedMs`, and none is sent before. */
export function eventsDue(of: {
  readonly elapsedMs: number
  readonly eventsPerSecond: number
  readonly sent: number
}): number {
  return Math.max(0, Math.floor((of.elapsedMs * of.eventsPerSecond) / 1_000) - of.sent)
}

async function produceSteadily({ brokers, topic, seed, eventsPerSecond, customers }: SteadyTraffic): Promise<void> {
  const producer = benchKafka(brokers).producer({
    createPartitioner: partitionByCustomer,
    allowAutoTopicCreation: false
  })
  await producer.connect()
  const messages = usageMessages({ seed, events: Number.MAX_SAFE_INTEGER, customers, now: Date.now() })
  let sent = 0
  let acknowledged = 0
  let isWanted = true
  process.once('SIGTERM', () => {
    isWanted = false
  })
  const send = async (count: number): Promise<void> => {
    sent += count
    await producer.send({ topic, messages: take(messages, count), acks: -1 })
    acknowledged += count
  }
  const startedAt = performance.now()
  while (isWanted) {
    const elapsedMs = performance.now() - startedAt
    for (let due = eventsDue({ elapsedMs, eventsPerSecond, sent }); due > 0; due -= REQUEST_EVENTS_MAX) {
      // Rejects only when kafkajs has given up: the process then ends with it, which whoever started it is told.
      void send(Math.min(due, REQUEST_EVENTS_MAX))
    }
    const behind = sent - acknowledged
    if (behind > eventsPerSecond * BEHIND_SECONDS_MAX) throw new Error(`${behind} events are not acknowledged`)
    await sleep(SEND_INTERVAL_MS)
  }
  while (acknowledged < sent) await sleep(SEND_INTERVAL_MS)
  await producer.disconnect()
}

function take(messages: Iterator<UsageMessage>, count: number) {
  return Array.from({ length: count }, () => {
    const { done, value } = messages.next()
    if (done === true) throw new Error('the traffic has ended')
    return { key: value.key, value: value.value, headers: { ...value.headers } }
  })
}

if (import.meta.main) {
  const { KAFKA_BROKERS = '', BENCH_TOPIC = '', BENCH_SEED, BENCH_EVENTS_PER_SECOND, BENCH_CUSTOMERS } = process.env
  await produceSteadily({
    brokers: KAFKA_BROKERS,
    topic: BENCH_TOPIC,
    seed: Number(BENCH_SEED),
    eventsPerSecond: Number(BENCH_EVENTS_PER_SECOND),
    customers: Number(BENCH_CUSTOMERS)
  })
}
