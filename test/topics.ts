// A topic of one's own on the real Kafka, set like the usage topic, and gone when the test is over.

import type { Kafka } from 'kafkajs'
import { createKafka, type Logger } from '../ingest/kafka-client.ts'
import { ensureTopics, planTopics } from '../ingest/topics.ts'
import { serviceUrl } from './services.ts'

/** What a test hands over so that it can be cleaned up after. */
interface Teardown {
  teardown(handler: () => Promise<void>): void
}

export interface FreshTopic {
  readonly kafka: Kafka
  /** The usage topic. */
  readonly topic: string
  /** Its dead letters. */
  readonly deadLetterTopic: string
  readonly partitions: number
}

const DAY_MS = 86_400_000

const say = (): void => undefined
export const silentLogger: Logger = { debug: say, info: say, warn: say, error: say }

let topicsMade = 0

/** Makes a usage topic and its dead-letter topic under names nobody else has. */
export async function freshTopic(t: Teardown, partitions = 1): Promise<FreshTopic> {
  const kafka = createKafka(
    { brokers: serviceUrl('KAFKA_BROKERS').split(','), clientId: 'tokenmeter-test' },
    silentLogger
  )
  const topic = `test-${process.pid}-${Date.now().toString(36)}-${topicsMade++}`
  const { usage, deadLetters } = planTopics({
    usageTopic: topic,
    deadLetterTopic: `${topic}-dead`,
    partitions,
    replicas: 1,
    duplicateWindowMs: DAY_MS,
    usageRetentionMs: 2 * DAY_MS,
    deadLetterRetentionMs: 2 * DAY_MS
  })
  await ensureTopics(kafka, [usage, deadLetters])
  t.teardown(() => deleteTopics(kafka, [usage.name, deadLetters.name]))
  return { kafka, topic, deadLetterTopic: deadLetters.name, partitions }
}

async function deleteTopics(kafka: Kafka, names: string[]): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const present = await admin.listTopics()
  await admin.deleteTopics({ topics: names.filter((name) => present.includes(name)) })
  await admin.disconnect()
}
