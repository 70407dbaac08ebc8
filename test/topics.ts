// A topic of one's own on the real Kafka, set like the usage topic, and gone when the test is over.

import kafkajs, { type Kafka, type Message } from 'kafkajs'
import { createKafka, type Logger } from '../ingest/kafkajs/kafka-client.ts'
import { ensureTopics, planTopics } from '../ingest/kafkajs/topics.ts'
import { serviceUrl } from '../stack/service-urls.ts'

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
  /** Produces to the usage topic and resolves when the broker has them all. */
  send(messages: readonly Message[]): Promise<void>
  /** Removes the records of the usage topic before an offset, as retention does. */
  removeBefore(partition: number, offset: number): Promise<void>
}

const MESSAGES_A_REQUEST = 1_000
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
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await producer.connect()
  t.teardown(async () => {
    await producer.disconnect()
    await deleteTopics(kafka, [usage.name, deadLetters.name])
  })
  return {
    kafka,
    topic,
    deadLetterTopic: deadLetters.name,
    partitions,
    send: async (messages) => {
      for (let from = 0; from < messages.length; from += MESSAGES_A_REQUEST) {
        await producer.send({ topic, messages: messages.slice(from, from + MESSAGES_A_REQUEST), acks: -1 })
      }
    },
    removeBefore: (partition, offset) => removeRecords(kafka, topic, { partition, offset: String(offset) })
  }
}

async function removeRecords(
  kafka: Kafka,
  topic: string,
  before: { partition: number; offset: string }
): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  // kafkajs can't delete from a topic whose leaders it has not looked up.
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [before] })
  await admin.disconnect()
}

async function deleteTopics(kafka: Kafka, names: string[]): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const present = await admin.listTopics()
  await admin.deleteTopics({ topics: names.filter((name) => present.includes(name)) })
  await admin.disconnect()
}
