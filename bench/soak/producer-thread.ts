/**
 * The producer in a thread of its own: making thousands of records a second would delay the quota checks, and their latencies would be
 * ours. Tells every moment how far it is, and its account at the end; a message from the other side stops it.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { partitionByCustomer } from '../../ingest/usage-producer.ts'
import { benchKafka } from '../harness/usage-topic.ts'
import type { ProducerOrder, ProducerReport } from './soak-producer.ts'
import { SoakTraffic } from './soak-traffic.ts'
import { TimetableProducer } from './timetable-producer.ts'

const REPORT_INTERVAL_MS = 200

await produce(workerData)

async function produce({ brokers, topic, perSecond, seconds, customers, seed }: ProducerOrder): Promise<void> {
  const kafkaProducer = benchKafka(brokers).producer({
    createPartitioner: partitionByCustomer,
    allowAutoTopicCreation: false
  })
  await kafkaProducer.connect()
  const traffic = new SoakTraffic({ seed, customers, perSecond, startsAt: Date.now() })
  const producer = new TimetableProducer({
    perSecond,
    seconds,
    next: () => traffic.next(),
    send: async (records) => {
      const messages = records.map(({ key, value, headers }) => ({ key, value, headers: { ...headers } }))
      await kafkaProducer.send({ topic, messages, acks: -1 })
    },
    onFailure: (error) =>
      tell({ ...progressOf(producer), failure: error instanceof Error ? error.message : String(error) }),
    clock: {
      now: () => performance.now(),
      until: async (instant) => {
        if (instant > performance.now()) await sleep(instant - performance.now())
      }
    }
  })
  parentPort?.once('message', () => producer.stop())
  const timer = setInterval(() => tell(progressOf(producer)), REPORT_INTERVAL_MS)
  try {
    await producer.run()
    tell({ ...progressOf(producer), account: traffic.account })
  } finally {
    clearInterval(timer)
    await kafkaProducer.disconnect()
    parentPort?.close()
  }
}

function progressOf({
  sent,
  elapsedMs,
  behindMs
}: Pick<TimetableProducer<never>, 'sent' | 'elapsedMs' | 'behindMs'>): ProducerReport {
  return { sent, elapsedMs, behindMs }
}

function tell(report: ProducerReport): void {
  parentPort?.postMessage(report)
}
