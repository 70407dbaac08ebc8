import { spawnSync } from 'node:child_process'
import t from 'tap'
import type { DeadLetter } from '../domain/ports.ts'
import type { UsageRecord } from '../domain/tokens/usage-event.ts'
import { serviceUrl } from '../stack/service-urls.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../test/topics.ts'
import { decodeDeadLetter, KafkaDeadLetters } from './dead-letter-producer.ts'
import { KafkaLogReader } from './kafkajs/log-reader.ts'
import { USAGE_MESSAGE_BYTES_MAX } from './kafkajs/topics.ts'

type Teardown = Pick<typeof import('tap').t, 'teardown'>

async function readAll(t: Teardown, { kafka }: FreshTopic, topic: string): Promise<UsageRecord[]> {
  const reader = new KafkaLogReader({ kafka, topic, groupIdPrefix: `reader-of-${topic}`, logger: silentLogger })
  t.teardown(() => reader.close())
  const found: UsageRecord[] = []
  for (const [partition, { first, end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(partition, first, end)) found.push(...records)
  }
  return found
}

async function connect(t: Teardown, topic: FreshTopic): Promise<KafkaDeadLetters> {
  const letters = await KafkaDeadLetters.connect({
    kafka: topic.kafka,
    topic: topic.deadLetterTopic,
    usageTopic: topic.topic
  })
  t.teardown(() => letters.close())
  return letters
}

function letterOf(record: UsageRecord, change: Partial<DeadLetter> = {}): DeadLetter {
  return { partition: 0, record, reason: 'not-json', field: null, message: 'the value is not JSON', ...change }
}

/** Key, value and headers, bytes as hex. */
function contentOf({ key, value, headers }: UsageRecord) {
  const hex = (one: unknown) => (Buffer.isBuffer(one) ? one.toString('hex') : one)
  return {
    key: hex(key),
    value: hex(value),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, content]) => [name, Array.isArray(content) ? content.map(hex) : hex(content)])
    )
  }
}

t.test('a dead letter keeps bytes, key and headers, and says why and where the record stood', async (t) => {
  const topic = await freshTopic(t)
  const bytes = Buffer.from([0, 255, 254, 10, 13, 0x7b])
  await topic.send([
    { key: Buffer.from([1, 0, 2]), value: bytes, headers: { ce_id: 'ü', twice: ['a', 'b'], raw: bytes } },
    { key: null, value: null },
    { key: 'acme', value: Buffer.alloc(0), headers: { 'tm-reason': 'claimed by its producer' } }
  ])
  const records = await readAll(t, topic, topic.topic)
  const letters = await connect(t, topic)
  await letters.append([])
  await letters.append(
    records.map((record, i) => letterOf(record, { partition: i, field: i === 0 ? 'data.tokens.input' : null }))
  )
  const stored = (await readAll(t, topic, topic.deadLetterTopic))
    .map((record) => decodeDeadLetter(record))
    .filter((letter) => letter !== null)
    .sort((a, b) => a.record.offset - b.record.offset)
  t.equal(stored.length, 3)
  for (const [i, record] of records.entries()) {
    const { 'tm-reason': _, ...headers } = record.headers
    const letter = stored[i]
    t.same(letter && contentOf(letter.record), contentOf({ ...record, headers }))
    t.match(letter, {
      topic: topic.topic,
      partition: i,
      reason: 'not-json',
      field: i === 0 ? 'data.tokens.input' : null,
      message: 'the value is not JSON',
      record: { offset: record.offset, arrivedAt: record.arrivedAt }
    })
  }
})

t.test('headers without a value, or called like a property of every object, are no poison', async (t) => {
  const topic = await freshTopic(t)
  const headers = ['empty', 'full=1', '__proto__=2', 'constructor=3', 'constructor=4'].flatMap((header) => [
    '-H',
    header
  ])
  const sent = spawnSync('kcat', ['-P', '-b', serviceUrl('KAFKA_BROKERS'), '-t', topic.topic, ...headers], {
    input: 'not json\n'
  })
  t.equal(sent.status, 0, sent.stderr.toString())
  const [record] = await readAll(t, topic, topic.topic)
  if (record === undefined) throw new Error('the record did not arrive')
  const text = (name: string) => [record.headers[name]].flat().map(String)
  t.same(text('__proto__'), ['2'])
  t.same(text('constructor'), ['3', '4'])
  t.equal(record.headers.empty, undefined)
  const letters = await connect(t, topic)
  await letters.append([letterOf(record)])
  const [stored] = await readAll(t, topic, topic.deadLetterTopic)
  const letter = stored && decodeDeadLetter(stored)
  t.same(
    letter && contentOf(letter.record),
    contentOf({ ...record, headers: { ...record.headers, empty: Buffer.alloc(0) } })
  )
})

t.test('whatever the usage topic takes fits into a dead letter, however small it was compressed', async (t) => {
  const topic = await freshTopic(t)
  const producer = topic.kafka.producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const zeros = Buffer.alloc(10 * 1024 * 1024)
  const bomb = producer.send({ topic: topic.topic, compression: 1, messages: [{ value: zeros }] })
  const refusal: unknown = await bomb.catch((error: unknown) => error)
  t.match(refusal, { type: 'MESSAGE_TOO_LARGE' }, '10 MB that compress to 10 KB are refused to their producer')
  // What a record batch and a record take around the value.
  const largest = USAGE_MESSAGE_BYTES_MAX - 90
  await producer.send({ topic: topic.topic, compression: 1, messages: [{ value: zeros.subarray(0, largest) }] })
  await topic.send([{ value: zeros.subarray(0, largest) }])
  const records = await readAll(t, topic, topic.topic)
  t.same(
    records.map(({ value }) => value?.length),
    [largest, largest]
  )
  const letters = await connect(t, topic)
  await letters.append(records.map((record) => letterOf(record, { message: 'é'.repeat(5_000) })))
  t.equal((await readAll(t, topic, topic.deadLetterTopic)).length, 2)
})
