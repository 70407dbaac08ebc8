/** A usage topic that is full before anybody reads it, so that who reads it is all that is measured. */
import type { Kafka, Message } from 'kafkajs'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { ensureTopics, planTopics } from '../../ingest/kafkajs/topics.ts'
import { partitionByCustomer } from '../../ingest/usage-producer.ts'
import { createLogger } from '../../monitoring/logger.ts'
import type { UsageMessage } from './usage-records.ts'

export const PARTITIONS = 8
const MESSAGES_PER_SEND = 2_000
const DAY_MS = 86_400_000

export function benchKafka(brokers: string): Kafka {
  return createKafka(
    { brokers: brokers.split(','), clientId: 'tokenmeter-bench' },
    createLogger({ name: 'bench', level: 'error' })
  )
}

/** Makes the topic as an installation would, and writes to it until the messages end. Answers how many there were. */
export async function fillTopic(kafka: Kafka, topic: string, messages: Iterable<UsageMessage>): Promise<number> {
  const { usage } = planTopics({
    usageTopic: topic,
    deadLetterTopic: `${topic}-dead-letters`,
    partitions: PARTITIONS,
    replicas: 1,
    duplicateWindowMs: DAY_MS,
    usageRetentionMs: 3 * DAY_MS,
    deadLetterRetentionMs: 3 * DAY_MS
  })
  await ensureTopics(kafka, [usage])
  const producer = kafka.producer({ createPartitioner: partitionByCustomer, allowAutoTopicCreation: false })
  await producer.connect()
  let sent = 0
  let batch: Message[] = []
  const send = async (): Promise<void> => {
    await producer.send({ topic, messages: batch, acks: -1 })
    sent += batch.length
    batch = []
  }
  for (const { key, value, headers } of messages) {
    batch.push({ key, value, headers: { ...headers } })
    if (batch.length === MESSAGES_PER_SEND) await send()
  }
  if (batch.length > 0) await send()
  await producer.disconnect()
  return sent
}

export async function deleteTopic(kafka: Kafka, topic: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  await admin.deleteTopics({ topics: (await admin.listTopics()).filter((one) => one === topic) })
  await admin.disconnect()
}
