import { connect as connectSocket, createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import kafkajs from 'kafkajs'
import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { customerHash, partitionOf } from '../domain/tokens/shard.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { serviceUrl } from '../stack/service-urls.ts'
import { usageEvent } from '../test/counted-events.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../test/topics.ts'
import { encodeUsageEvent } from './encode-usage-event.ts'
import { KafkaLogReader } from './kafkajs/log-reader.ts'
import { KafkaUsageEventLog, partitionByCustomer, type UsageEventLogOptions } from './usage-producer.ts'

async function connect(
  t: Pick<typeof import('tap').t, 'teardown'>,
  { kafka, topic }: Pick<FreshTopic, 'kafka' | 'topic'>,
  options: Partial<UsageEventLogOptions> = {}
): Promise<KafkaUsageEventLog> {
  const log = await KafkaUsageEventLog.connect({ kafka, topic, encode: encodeUsageEvent, ...options })
  t.teardown(() => log.close())
  return log
}

async function readAll(t: Pick<typeof import('tap').t, 'teardown'>, { kafka, topic }: FreshTopic) {
  const reader = new KafkaLogReader({ kafka, topic, groupIdPrefix: `reader-of-${topic}`, logger: silentLogger })
  t.teardown(() => reader.close())
  const found: { partition: number; key: string; id: string }[] = []
  for (const [partition, { first, end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(partition, first, end)) {
      for (const { key, value } of records) {
        const { id } = JSON.parse(value?.toString() ?? '{}')
        found.push({ partition, key: key?.toString() ?? '', id })
      }
    }
  }
  return found
}

function partitionIn(count: number, createPartitioner: kafkajs.ICustomPartitioner, key: string): number {
  const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({
    partitionId,
    leader: 1,
    replicas: [1],
    isr: [1],
    partitionErrorCode: 0
  }))
  return createPartitioner()({ topic: 'usage', partitionMetadata, message: { key, value: null } })
}

t.test("a customer's partition is the one of Kafka's default partitioner", async (t) => {
  // From the Java client's own test of Utils.murmur2, made positive as its partitioner does.
  const vectors: readonly [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971]
  ]
  for (const [key, hash] of vectors) t.equal(customerHash(key), hash & 0x7fffffff, key)
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), fc.integer({ min: 1, max: 64 }), (key, partitions) => {
      const ours = partitionIn(partitions, partitionByCustomer, key)
      return ours === partitionIn(partitions, kafkajs.Partitioners.DefaultPartitioner, key)
    })
  )
})

t.test('what was acknowledged stands in the log, each event once, on its customer’s partition', async (t) => {
  const topic = await freshTopic(t, 4)
  const log = await connect(t, topic)
  const customers = Array.from({ length: 25 }, (_, i) => `customer-${i}-é`)
  const calls = customers.flatMap((customerId, c) =>
    [0, 1, 2].map((n) =>
      log.append(Array.from({ length: 40 }, (_, i) => usageEvent({ customerId, id: `${c}-${n}-${i}` })))
    )
  )
  await Promise.all(calls)
  await log.append([])
  const found = await readAll(t, topic)
  t.equal(found.length, 3_000)
  t.equal(new Set(found.map(({ id }) => id)).size, 3_000)
  t.same(
    found.filter(({ key, partition }) => partition !== partitionOf(key, 4)),
    []
  )
})

t.test('a full queue refuses a call as a whole, and takes calls again when it has drained', async (t) => {
  const topic = await freshTopic(t)
  const log = await connect(t, topic, { queueEventsMax: 10 })
  const seven = (id: string) => Array.from({ length: 7 }, (_, i) => usageEvent({ id: `${id}-${i}` }))
  const first = log.append(seven('first'))
  await t.rejects(log.append(seven('second')), { code: 'log-unavailable', retryable: true })
  await first
  await log.append(seven('third'))
  const ids = (await readAll(t, topic)).map(({ id }) => id)
  t.equal(ids.length, 14)
  t.notOk(ids.some((id) => id.startsWith('second')))
})

t.test('a broker that does not answer fails the call within its time, and memory does not grow', async (t) => {
  const topic = await freshTopic(t)
  // Hands connections through to the broker until it is told to swallow them.
  const relay = await startRelay(t, topic)
  const log = await connect(t, { kafka: relay.kafka, topic: topic.topic }, { timeoutMs: 700, queueEventsMax: 5 })
  await log.append([usageEvent({ id: 'before' })])
  relay.swallow()
  const startedAt = Date.now()
  const calls = [0, 1, 2, 3, 4].map((i) => log.append([usageEvent({ id: `lost-${i}` })]))
  const full = log.append([usageEvent({ id: 'one-too-many' })])
  const outcomes = await Promise.allSettled([...calls, full])
  t.ok(Date.now() - startedAt < 5_000)
  for (const outcome of outcomes) t.ok(outcome.status === 'rejected' && outcome.reason instanceof RetryableError)
  relay.restore()
  await waitUntil(
    async () => {
      await log.append([usageEvent({ id: 'after' })])
      return true
    },
    { what: 'the broker to be back', timeoutMs: 25_000 }
  )
  const ids = new Set((await readAll(t, topic)).map(({ id }) => id))
  t.ok(ids.has('before') && ids.has('after'))
  t.notOk(ids.has('one-too-many'))
})

/** A way to the broker that can be cut: connections stay open, bytes no longer pass. */
async function startRelay(t: Pick<typeof import('tap').t, 'teardown'>, { topic }: FreshTopic) {
  const [host = '', port = ''] = serviceUrl('KAFKA_BROKERS').split(',')[0]?.split(':') ?? []
  let swallowing = false
  const server = createServer((client) => {
    const broker = connectSocket(Number(port), host)
    client.on('data', (bytes) => swallowing || broker.write(bytes))
    broker.on('data', (bytes) => swallowing || client.write(bytes))
    for (const [one, other] of [
      [client, broker],
      [broker, client]
    ] as const) {
      one.on('close', () => other.destroy())
      one.on('error', () => other.destroy())
    }
    sockets.add(client)
    client.on('close', () => sockets.delete(client))
  })
  const sockets = new Set<Socket>()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error(`${topic}: no port`)
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  // The broker names its own address in its metadata: every connection has to go through the relay all the same.
  const kafka = new kafkajs.Kafka({
    brokers: [`127.0.0.1:${address.port}`],
    clientId: 'tokenmeter-test-relay',
    logLevel: kafkajs.logLevel.NOTHING,
    connectionTimeout: 1_000,
    requestTimeout: 1_500,
    socketFactory: ({ onConnect }) => connectSocket(address.port, '127.0.0.1', onConnect)
  })
  return {
    kafka,
    swallow: () => {
      swallowing = true
    },
    restore: () => {
      swallowing = false
      for (const socket of sockets) socket.destroy()
    }
  }
}
