/**
 * What kafkajs alone takes: its documented consumer with `eachBatch`, defaults throughout, JSON.parse of each value, nothing done with it.
 * Environment: KAFKA_BROKERS, BENCH_TOPIC, BENCH_GROUP, BENCH_RECORDS.
 */
import { Kafka, logLevel } from 'kafkajs'
import { MemberClock } from './member-clock.ts'

const { KAFKA_BROKERS = '', BENCH_TOPIC = '', BENCH_GROUP = '', BENCH_RECORDS = '' } = process.env
const kafka = new Kafka({ clientId: 'stock', brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId: BENCH_GROUP })
const clock = new MemberClock(Number(BENCH_RECORDS))
await consumer.connect()
await consumer.subscribe({ topics: [BENCH_TOPIC], fromBeginning: true })
await consumer.run({
  eachBatch: async ({ batch }) => {
    for (const message of batch.messages) JSON.parse(message.value?.toString() ?? '')
    if (clock.add(batch.messages.length)) setImmediate(() => void consumer.disconnect())
  }
})
