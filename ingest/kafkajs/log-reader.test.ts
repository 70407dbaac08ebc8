import t from 'tap'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../../test/topics.ts'
import { KafkaLogReader } from './log-reader.ts'

function openReader(t: Pick<typeof import('tap').t, 'teardown'>, { kafka, topic }: FreshTopic): KafkaLogReader {
  const reader = new KafkaLogReader({
    kafka,
    topic,
    groupIdPrefix: `reader-of-${topic}`,
    logger: silentLogger,
    // Small, so that a range takes many fetches.
    tuning: { batchRecordsMax: 40, inboxRecordsMax: 100, partitionBytesMax: 8_192, fetchWaitMs: 50 }
  })
  t.teardown(() => reader.close())
  return reader
}

async function offsetsOf(reader: KafkaLogReader, partition: number, [from, to]: readonly [number, number]) {
  const offsets: number[] = []
  let position: number | null = null
  for await (const batch of reader.read(partition, from, to)) {
    if (position !== null && batch.from !== position) throw new Error(`a batch from ${batch.from} after ${position}`)
    if (batch.records.length > 40) throw new Error(`${batch.records.length} records in a batch`)
    position = batch.to
    offsets.push(...batch.records.map(({ offset }) => offset))
  }
  return { offsets, position }
}

function numbered(count: number, partition = 0) {
  return Array.from({ length: count }, (_, i) => ({ partition, value: `${i}`.padEnd(100, '.') }))
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

t.test(
  'exactly the records of a range are read, of several partitions at once, and no offset is committed',
  async (t) => {
    const topic = await freshTopic(t, 3)
    for (const partition of [0, 1, 2]) await topic.send(numbered(400, partition))
    const reader = openReader(t, topic)
    t.same(
      await reader.ends(),
      range(0, 3).map(() => ({ first: 0, end: 400 }))
    )
    const [first, second, again] = await Promise.all([
      offsetsOf(reader, 0, [0, 400]),
      offsetsOf(reader, 1, [123, 345]),
      offsetsOf(reader, 1, [10, 11])
    ])
    t.same(first, { offsets: range(0, 400), position: 400 })
    t.same(second, { offsets: range(123, 345), position: 345 })
    t.same(again, { offsets: [10], position: 11 })
    const admin = topic.kafka.admin()
    await admin.connect()
    t.teardown(() => admin.disconnect())
    const groups = async () => (await admin.listGroups()).groups.filter(({ groupId }) => groupId.includes(topic.topic))
    const [group] = await groups()
    const [committed] = await admin.fetchOffsets({ groupId: group?.groupId ?? '', topics: [topic.topic] })
    t.same(
      committed?.partitions.map(({ offset }) => offset),
      ['-1', '-1', '-1']
    )
    await reader.close()
    await waitUntil(async () => (await groups()).length === 0, { what: 'the group to be gone', timeoutMs: 10_000 })
  }
)

t.test('a range that begins at or after the end is empty, and one that ends after it ends there', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(50))
  const reader = openReader(t, topic)
  t.same(await offsetsOf(reader, 0, [50, 60]), { offsets: [], position: null })
  t.same(await offsetsOf(reader, 0, [70, 60]), { offsets: [], position: null })
  t.same(await offsetsOf(reader, 0, [45, 9_999]), { offsets: range(45, 50), position: 50 })
  await t.rejects(offsetsOf(reader, 7, [0, 1]), { message: /no partition 7/ })
})

t.test('what retention removed is left out', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(100))
  await topic.removeBefore(0, 60)
  const reader = openReader(t, topic)
  t.same(await reader.ends(), [{ first: 60, end: 100 }])
  t.same(await offsetsOf(reader, 0, [20, 80]), { offsets: range(60, 80), position: 80 })
})

t.test('transaction markers and aborted records are holes, a range of nothing else included', async (t) => {
  const topic = await freshTopic(t)
  const producer = topic.kafka.producer({ transactionalId: topic.topic, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const transact = async (count: number, end: 'commit' | 'abort') => {
    const transaction = await producer.transaction()
    for (let sent = 0; sent < count; sent += 100) {
      await transaction.send({ topic: topic.topic, messages: numbered(Math.min(100, count - sent)) })
    }
    await transaction[end]()
  }
  await transact(10, 'commit') // 0–9, marker 10
  await transact(300, 'abort') // 11–310, marker 311: several fetches of nothing
  await transact(5, 'commit') // 312–316, marker 317
  const reader = openReader(t, topic)
  // The broker answers a commit before its marker is in the log, and until then the log ends before the transaction.
  await waitUntil(async () => (await reader.ends())[0]?.end === 318, { what: 'the last marker', timeoutMs: 10_000 })
  t.same(await reader.ends(), [{ first: 0, end: 318 }])
  const visible = [...range(0, 10), ...range(312, 317)]
  t.same(await offsetsOf(reader, 0, [0, 318]), { offsets: visible, position: 318 })
  t.same(await offsetsOf(reader, 0, [20, 300]), { offsets: [], position: 300 })
  t.same(await offsetsOf(reader, 0, [10, 313]), { offsets: [312], position: 313 })
  t.same(await offsetsOf(reader, 0, [317, 318]), { offsets: [], position: 318 })
})
