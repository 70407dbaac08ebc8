/**
 * kafkajs's documented consumer with `eachBatch` and JSON.parse of each value, that tells what it sees: `ready` once it has joined its
 * group, and `probe CUSTOMER INSTANT` for each event of a customer whose name begins with BENCH_PROBES, the instant in milliseconds of
 * the machine's monotonic clock. Defaults throughout, but for the one setting that a user who wants low latency finds in its documents:
 * BENCH_MAX_WAIT_MS, how long a broker holds an empty answer back (unset: the library's 5 s). It may see a record twice.
 * Environment: KAFKA_BROKERS, BENCH_TOPIC, BENCH_GROUP, and those two. Ends on SIGTERM, when it has left its group.
 */
import { Kafka, logLevel } from 'kafkajs'

const {
  KAFKA_BROKERS = '',
  BENCH_TOPIC = '',
  BENCH_GROUP = '',
  BENCH_PROBES = '',
  BENCH_MAX_WAIT_MS = ''
} = process.env
const kafka = new Kafka({ clientId: 'stock', brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({
  groupId: BENCH_GROUP,
  ...(BENCH_MAX_WAIT_MS === '' ? {} : { maxWaitTimeInMs: Number(BENCH_MAX_WAIT_MS) })
})
process.once('SIGTERM', () => void consumer.disconnect())
consumer.on(consumer.events.GROUP_JOIN, () => process.stdout.write('ready\n'))
await consumer.connect()
await consumer.subscribe({ topics: [BENCH_TOPIC], fromBeginning: true })
await consumer.run({
  eachBatch: async ({ batch }) => {
    for (const message of batch.messages) {
      const { subject } = JSON.parse(message.value?.toString() ?? '')
      if (BENCH_PROBES === '' || !String(subject).startsWith(BENCH_PROBES)) continue
      process.stdout.write(`probe ${subject} ${Number(process.hrtime.bigint()) / 1e6}\n`)
    }
  }
})
