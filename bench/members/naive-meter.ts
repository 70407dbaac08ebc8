/**
 * The design that comes to mind first: one script for each event, sent in pipelines of 1,000. The script marks the event as seen with
 * SET NX EX and adds its tokens to the customer's counter of the month; offsets are committed by kafkajs. It may lose and double.
 * Environment: KAFKA_BROKERS, REDIS_URL, BENCH_TOPIC, BENCH_GROUP, BENCH_RECORDS, BENCH_PREFIX.
 */
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { MemberClock } from './member-clock.ts'

const PIPELINE_COMMANDS = 1_000
const COUNT = `
  if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', 86400) then return 0 end
  redis.call('HINCRBY', KEYS[2], 'total', ARGV[1])
  redis.call('HINCRBY', KEYS[2], 'model:' .. ARGV[2], ARGV[1])
  return 1`

const {
  KAFKA_BROKERS = '',
  REDIS_URL = '',
  BENCH_TOPIC = '',
  BENCH_GROUP = '',
  BENCH_RECORDS = '',
  BENCH_PREFIX = ''
} = process.env
const redis = new Redis(REDIS_URL)
const sha = String(await redis.script('LOAD', COUNT))
const kafka = new Kafka({ clientId: 'naive', brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId: BENCH_GROUP })
const clock = new MemberClock(Number(BENCH_RECORDS))
await consumer.connect()
await consumer.subscribe({ topics: [BENCH_TOPIC], fromBeginning: true })
await consumer.run({
  eachBatch: async ({ batch }) => {
    for (let start = 0; start < batch.messages.length; start += PIPELINE_COMMANDS) {
      const messages = batch.messages.slice(start, start + PIPELINE_COMMANDS)
      const pipeline = redis.pipeline()
      for (const message of messages) {
        const event = JSON.parse(message.value?.toString() ?? '')
        const { tokens } = event.data
        const total = tokens.input + tokens.cacheRead + tokens.cacheWrite + tokens.output + tokens.reasoning
        const month = String(event.time).slice(0, 7)
        pipeline.evalsha(
          sha,
          2,
          `${BENCH_PREFIX}:seen:${event.subject}:${event.source}:${event.id}`,
          `${BENCH_PREFIX}:used:${event.subject}:${month}`,
          total,
          event.data.model
        )
      }
      await pipeline.exec()
      if (clock.add(messages.length)) setImmediate(() => void consumer.disconnect().then(() => redis.disconnect()))
    }
  }
})
