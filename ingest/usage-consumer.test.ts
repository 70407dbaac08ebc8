import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { ForeignLogError, RetryableError } from '../domain/errors.ts'
import type { PartitionSource } from '../domain/ports.ts'
import { waitUntil } from '../stack/machine/wait-until.ts'
import { serviceUrl } from '../stack/service-urls.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../test/topics.ts'
import type { FetchTuning } from './kafkajs/fetch-tuning.ts'
import { type PartitionsOptions, type RunningPartitions, runPartitions } from './usage-consumer.ts'

const TIMEOUT_MS = 30_000
/** Small, so that a few thousand records pause and resume a partition many times. */
const SMALL: Partial<FetchTuning> = {
  batchRecordsMax: 50,
  inboxRecordsMax: 200,
  partitionBytesMax: 16_384,
  fetchWaitMs: 50
}

/** Consumes a topic until the test is over; errors that would end the process are kept. */
async function consume(
  t: Pick<typeof import('tap').t, 'teardown'>,
  { kafka, topic }: FreshTopic,
  options: Partial<PartitionsOptions> & Pick<PartitionsOptions, 'loop'>
): Promise<{ readonly running: RunningPartitions; readonly errors: Error[] }> {
  const errors: Error[] = []
  const running = await runPartitions({
    kafka,
    topic,
    groupId: `group-of-${topic}`,
    logger: silentLogger,
    sessionTimeoutMs: 2_000,
    flushIntervalMs: 50,
    tuning: SMALL,
    onError: (error) => errors.push(error),
    ...options
  })
  t.teardown(() => running.stop())
  return { running, errors }
}

/** Reads on from an offset and notes each one; stops when told. */
async function noteOffsets(source: PartitionSource, from: number, offsets: number[]): Promise<void> {
  await source.open(from, null)
  for (;;) {
    const work = await source.next()
    if (work.kind === 'stop') return
    if (work.kind === 'batch') offsets.push(...work.batch.records.map(({ offset }) => offset))
  }
}

function numbered(count: number, partition = 0) {
  return Array.from({ length: count }, (_, i) => ({ partition, key: `k${i}`, value: `${i}`.padEnd(200, '.') }))
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await waitUntil(async () => condition(), { what, timeoutMs: TIMEOUT_MS, pollIntervalMs: 10 })
}

t.test('a loop slower than the log gets every record once, in order, in bounded batches', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(5_000))
  const offsets: number[] = []
  let position = 0
  const { errors } = await consume(t, topic, {
    loop: async (_, source) => {
      await source.open(0, null)
      for (;;) {
        const work = await source.next()
        if (work.kind === 'stop') return
        if (work.kind !== 'batch') continue
        if (work.batch.from !== position) throw new Error(`a batch from ${work.batch.from} after ${position}`)
        if (work.batch.records.length > 50) throw new Error(`${work.batch.records.length} records in a batch`)
        position = work.batch.to
        for (const { offset, value } of work.batch.records) {
          if (parseInt(value?.toString() ?? '', 10) === offset) offsets.push(offset)
        }
        for (let turn = 0; turn < 20; turn++) await nextTurn()
      }
    }
  })
  await until('the last record', () => offsets.length >= 5_000 || errors.length > 0)
  t.same(errors, [])
  t.same(offsets, range(0, 5_000))
})

t.test('opening in mid-stream forgets what was fetched and begins again at the offset', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(2_000))
  const offsets: number[] = []
  const opened: number[] = []
  const { errors } = await consume(t, topic, {
    loop: async (_, source) => {
      await source.open(0, null)
      let turn = 0
      for (;;) {
        const work = await source.next()
        if (work.kind === 'stop') return
        if (work.kind !== 'batch') continue
        offsets.push(...work.batch.records.map(({ offset }) => offset))
        if (++turn % 5 !== 0 || opened.length >= 8) continue
        opened.push(offsets.length)
        const back = Math.max(0, work.batch.to - 170)
        await source.open(back, null)
        offsets.length = back
      }
    }
  })
  await until('the last record', () => offsets.at(-1) === 1_999 || errors.length > 0)
  t.same(errors, [])
  t.equal(opened.length, 8)
  t.same(offsets, range(0, 2_000))
})

interface Tick {
  readonly position: number
  readonly drainedAt: number | null
}

/** Reads from the start and notes at each tick how far it is. */
function noteTicks(ticks: Tick[]): PartitionsOptions['loop'] {
  return async (_, source) => {
    await source.open(0, null)
    let position = 0
    for (;;) {
      const work = await source.next()
      if (work.kind === 'stop') return
      if (work.kind === 'batch') position = work.batch.to
      else ticks.push({ position, drainedAt: work.drainedAt })
    }
  }
}

t.test('a tick says up to when the log is drained, and never so while a record of then was not given', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(5_000))
  const ticks: Tick[] = []
  // Ticks much faster than fetches: the inbox is often empty while the log is not.
  await consume(t, topic, { flushIntervalMs: 1, loop: noteTicks(ticks) })
  await until('a drained log', () => ticks.some(({ drainedAt }) => drainedAt !== null))
  t.ok(ticks.some(({ position }) => position > 0 && position < 5_000))
  t.same(
    ticks.filter(({ position, drainedAt }) => drainedAt !== null && position < 5_000),
    []
  )
  await topic.send(numbered(100))
  const sentAt = Date.now()
  await until('it to be drained again', () => ticks.some(({ drainedAt }) => drainedAt !== null && drainedAt > sentAt))
  const early = ticks.filter(({ position, drainedAt }) => drainedAt !== null && drainedAt > sentAt && position < 5_100)
  t.same(early, [])
})

t.test(
  'a transaction that stays open does not keep the log from being drained, its records come when it ends',
  async (t) => {
    const topic = await freshTopic(t)
    await topic.send(numbered(10))
    const producer = topic.kafka.producer({ transactionalId: topic.topic, maxInFlightRequests: 1, idempotent: true })
    await producer.connect()
    t.teardown(() => producer.disconnect())
    const transaction = await producer.transaction()
    await transaction.send({ topic: topic.topic, messages: numbered(5) })
    const ticks: Tick[] = []
    await consume(t, topic, { loop: noteTicks(ticks) })
    await until('a drained log', () => ticks.some(({ drainedAt }) => drainedAt !== null))
    t.ok(ticks.every(({ position }) => position <= 10))
    await transaction.commit()
    // Behind the marker of the commit, at 15, which is no record.
    await until('its records', () => ticks.some(({ position, drainedAt }) => position === 16 && drainedAt !== null))
  }
)

t.test('a member is ready once every partition that it was given is open, and not while one rests', async (t) => {
  const topic = await freshTopic(t, 2)
  const gate = Promise.withResolvers<void>()
  let failures = 1
  const { running, errors } = await consume(t, topic, {
    loop: async (partition, source) => {
      if (partition === 1) await gate.promise
      await source.open(0, null)
      while ((await source.next()).kind !== 'stop') {
        if (partition === 0 && failures-- > 0) throw new RetryableError('store-away', 'once')
      }
    }
  })
  await until('the first loop to rest and open again', () => failures < 0)
  await t.rejects(running.assertOpen(), { code: 'partitions-not-open', message: /partitions 1 / })
  gate.resolve()
  await until('all to be open', () =>
    running.assertOpen().then(
      () => true,
      () => false
    )
  )
  t.same(errors, [])
})

t.test('two members share the partitions, and each record reaches a loop that begins at its cursor', async (t) => {
  const topic = await freshTopic(t, 4)
  const seen = new Map<number, number[]>(range(0, 4).map((partition) => [partition, []]))
  const cursorOf = (partition: number) => seen.get(partition) ?? []
  const loop: PartitionsOptions['loop'] = async (partition, source) => {
    const offsets = cursorOf(partition)
    await noteOffsets(source, offsets.length, offsets)
  }
  const first = await consume(t, topic, { loop })
  await until('four partitions at the first member', () => first.running.partitions().length === 4)
  await topic.send(range(0, 4).flatMap((partition) => numbered(300, partition)))
  const second = await consume(t, topic, { loop })
  const counts = () => [first, second].map(({ running }) => running.partitions().length)
  await until('two partitions each', () => counts().every((count) => count === 2))
  t.same([...first.running.partitions(), ...second.running.partitions()].sort(), range(0, 4))
  await topic.send(range(0, 4).flatMap((partition) => numbered(300, partition)))
  await second.running.stop()
  await until('all partitions back', () => first.running.partitions().length === 4)
  await until('all records', () => range(0, 4).every((partition) => (cursorOf(partition).at(-1) ?? 0) >= 599))
  for (const partition of range(0, 4)) t.same(cursorOf(partition), range(0, 600))
  t.same([...first.errors, ...second.errors], [])
})

t.test('the partitions of a killed member move to the one that lives', async (t) => {
  const topic = await freshTopic(t, 2)
  await topic.send([...numbered(50, 0), ...numbered(50, 1)])
  const script = join(import.meta.dirname, '..', 'test', 'consumer-member.ts')
  const groupId = `group-of-${topic.topic}`
  const member = spawn(process.execPath, [script, serviceUrl('KAFKA_BROKERS'), topic.topic, groupId], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => member.kill('SIGKILL'))
  let printed = ''
  member.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
  })
  await until('the member to read both partitions', () => printed.includes('0 50') && printed.includes('1 50'))
  const seen = new Map<number, number[]>()
  const { running } = await consume(t, topic, {
    sessionTimeoutMs: 1_000,
    loop: async (partition, source) => {
      const offsets: number[] = []
      seen.set(partition, offsets)
      await noteOffsets(source, 0, offsets)
    }
  })
  await until('a partition each', () => running.partitions().length === 1)
  member.kill('SIGKILL')
  await until('both partitions', () => running.partitions().length === 2)
  await until('both read', () => [0, 1].every((partition) => seen.get(partition)?.length === 50))
  t.same(seen.get(0), range(0, 50))
  t.same(seen.get(1), range(0, 50))
})

t.test('a loop that meets a store that is away begins again, and what it reported is committed', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(10))
  const offsets: number[] = []
  let starts = 0
  const { running, errors } = await consume(t, topic, {
    loop: async (_, source) => {
      if (starts++ < 2) throw new RetryableError('ledger-unavailable', 'not yet')
      source.report(10)
      await noteOffsets(source, 0, offsets)
    }
  })
  await until('the third start', () => offsets.length === 10)
  await running.stop()
  t.same(errors, [])
  const admin = topic.kafka.admin()
  await admin.connect()
  const [committed] = await admin.fetchOffsets({ groupId: `group-of-${topic.topic}`, topics: [topic.topic] })
  await admin.disconnect()
  t.match(committed, { partitions: [{ partition: 0, offset: '10' }] })
})

t.test('another topic under the old name stops the consumer loudly', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(20))
  const arrivals: number[] = []
  const probe = await consume(t, topic, {
    groupId: `probe-of-${topic.topic}`,
    loop: async (_, source) => {
      await source.open(0, null)
      for (let work = await source.next(); work.kind !== 'stop'; work = await source.next()) {
        if (work.kind === 'batch') arrivals.push(...work.batch.records.map(({ arrivedAt }) => arrivedAt))
      }
    }
  })
  await until('the arrivals', () => arrivals.length === 20)
  await probe.running.stop()
  const outcomes: string[] = []
  const tryOpen = async (source: PartitionSource, offset: number, arrivedAt: number | null) => {
    try {
      await source.open(offset, arrivedAt)
      outcomes.push('opened')
    } catch (error) {
      outcomes.push(error instanceof ForeignLogError ? error.code : String(error))
      if (outcomes.length === 4) throw error
    }
  }
  const { errors } = await consume(t, topic, {
    loop: async (_, source) => {
      await tryOpen(source, 15, arrivals[14] ?? 0)
      await tryOpen(source, 20, arrivals[19] ?? 0)
      await tryOpen(source, 21, null)
      await tryOpen(source, 15, (arrivals[14] ?? 0) - 1)
    }
  })
  await until('the end', () => errors.length > 0)
  t.same(outcomes, ['opened', 'opened', 'foreign-log', 'foreign-log'])
  t.ok(errors[0] instanceof ForeignLogError)
  t.match(errors[0]?.message, /holds at 14 a record of/)
})

t.test('a log that is shorter than where the loop stands stops it while it runs', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(30))
  const offsets: number[] = []
  const { errors } = await consume(t, topic, { loop: (_, source) => noteOffsets(source, 0, offsets) })
  await until('the records', () => offsets.length === 30)
  const admin = topic.kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  await admin.deleteTopics({ topics: [topic.topic] })
  await until('the topic to be gone', async () => !(await admin.listTopics()).includes(topic.topic))
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic: topic.topic, numPartitions: 1 }] })
  await topic.send(numbered(3))
  await until('the error', () => errors.length > 0)
  t.ok(errors[0] instanceof ForeignLogError, String(errors[0]))
  t.equal(offsets.length, 30, 'nothing of the other topic was given')
})

t.test('what retention removed before it was read is passed over as a hole', async (t) => {
  const topic = await freshTopic(t)
  await topic.send(numbered(40))
  await topic.removeBefore(0, 25)
  const offsets: number[] = []
  const { errors } = await consume(t, topic, { loop: (_, source) => noteOffsets(source, 10, offsets) })
  await until('the rest', () => offsets.length >= 15)
  t.same(offsets, range(25, 40))
  t.same(errors, [])
})
