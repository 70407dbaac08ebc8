// A member of a consumer group as a process of its own, to be killed: `node test/consumer-member.ts BROKERS TOPIC GROUP`.
// It reads each of its partitions from the start and prints `PARTITION END` when it has seen that partition's end.

import { createKafka } from '../ingest/kafkajs/kafka-client.ts'
import { runPartitions } from '../ingest/usage-consumer.ts'
import { silentLogger } from './topics.ts'

const [brokers = '', topic = '', groupId = ''] = process.argv.slice(2)

await runPartitions({
  kafka: createKafka({ brokers: brokers.split(','), clientId: 'tokenmeter-test-member' }, silentLogger),
  topic,
  groupId,
  logger: silentLogger,
  sessionTimeoutMs: 1_000,
  flushIntervalMs: 50,
  onError: (error) => {
    process.stderr.write(`${error.stack}\n`)
    process.exit(1)
  },
  loop: async (partition, source) => {
    await source.open(0, null)
    let position = 0
    for (;;) {
      const work = await source.next()
      if (work.kind === 'stop') return
      if (work.kind === 'batch') position = work.batch.to
      if (work.kind === 'tick' && work.drainedAt !== null) process.stdout.write(`${partition} ${position}\n`)
    }
  }
})
