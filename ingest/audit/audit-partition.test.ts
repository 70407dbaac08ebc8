// What other services tell, from a real topic into a real trail, while consumers fail, are overtaken and begin again.

import t from 'tap'
import type { AuditTrail } from '../../domain/audit/audit-store.ts'
import { RetryableError } from '../../domain/errors.ts'
import { PostgresAuditChains } from '../../sql/change/audit-chains.ts'
import { PostgresAuditTrail } from '../../sql/change/audit-trail.ts'
import { Database } from '../../sql/connect.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { freshDatabase } from '../../test/services.ts'
import { type FreshTopic, freshTopic, silentLogger } from '../../test/topics.ts'
import { verifyTrails } from '../commands/audit-command.ts'
import { decodeDeadLetter, KafkaDeadLetters, type StoredDeadLetter } from '../dead-letter-producer.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'
import { runPartitions } from '../usage-consumer.ts'
import { runAuditPartition } from './audit-partition.ts'
import { decodeAuditEvent } from './decode-audit-event.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>

const EVENTS = 2_000
const CUSTOMERS = 20
const PARTITIONS = 3
const TIMEOUT_MS = 60_000

async function connect(t: Test): Promise<Database> {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'test' })
  t.teardown(() => database.close())
  return database
}

/** One event for each number; every twentieth is of the platform's own trail. */
function auditEvent(number: number): object {
  const customer = number % CUSTOMERS
  return {
    specversion: '1.0',
    id: `event-${number}`,
    source: '/billing-service',
    type: 'audit.recorded',
    ...(customer === 0 ? {} : { subject: `customer-${customer}` }),
    time: '2026-03-01T12:00:00.000Z',
    data: {
      action: 'invoice.paid',
      actor: { kind: 'user', id: `user-${number % 7}`, address: '192.0.2.7' },
      entity: { kind: 'invoice', id: `invoice-${number}` },
      before: { status: 'open', contacts: [{ name: 'Awa "D" \\ Ndiaye', email: `awa-${number}@clinic.example` }] },
      after: { status: 'paid', amountMinor: '4900', ratio: number / 3 },
      requestId: `request-${number}`
    }
  }
}

const POISON = [
  { value: '{', reason: 'not-json' },
  { value: '[]', reason: 'invalid-envelope' },
  { value: JSON.stringify({ ...auditEvent(1), type: 'ai.tokens.used' }), reason: 'unknown-type' },
  { value: JSON.stringify({ ...auditEvent(2), data: { action: 'x.y' } }), reason: 'invalid-data' },
  { value: JSON.stringify(auditEvent(3)).replace('"open"', '"op\\u0000en"'), reason: 'invalid-data' },
  { value: JSON.stringify(auditEvent(4)).replace('"open"', '"op\\ud800en"'), reason: 'invalid-data' },
  { value: JSON.stringify(auditEvent(5)).replace('"open"', '1e400'), reason: 'invalid-data' },
  { value: JSON.stringify({ ...auditEvent(6), time: '2126-03-01T12:00:00.000Z' }), reason: 'too-early' },
  // The identity of an event that is there, and another content.
  { value: JSON.stringify(auditEvent(7)).replace('"paid"', '"void"'), reason: 'conflict' },
  { value: JSON.stringify(auditEvent(8)).replace('awa-8', 'moussa-8'), reason: 'conflict' }
]

interface Consumers {
  /** How often an answer of the trail was taken away. */
  readonly lost: () => number
  readonly overtaken: () => number
  readonly duplicates: () => number
}

/** Two groups, so that every partition has two loops: each is a zombie to the other. Every third append fails or loses its answer. */
async function consume(t: Test, topic: FreshTopic, database: Database): Promise<Consumers> {
  const { kafka, topic: name, deadLetterTopic } = topic
  const deadLetters = await KafkaDeadLetters.connect({ kafka, topic: deadLetterTopic, usageTopic: name })
  t.teardown(() => deadLetters.close())
  const trail = new PostgresAuditTrail(database)
  let appends = 0
  let lost = 0
  let overtaken = 0
  let duplicates = 0
  const failing: AuditTrail = {
    open: (partition) => trail.open(partition),
    append: async (batch) => {
      const fate = appends++ % 6
      if (fate === 2) throw new RetryableError('postgres-unavailable', 'away before it was asked')
      const answer = await trail.append(batch)
      if (fate !== 5) return answer
      lost++
      throw new RetryableError('postgres-unavailable', 'the answer was lost')
    }
  }
  for (const group of ['one', 'two']) {
    const running = await runPartitions({
      kafka,
      topic: name,
      groupId: `audit-${group}-of-${name}`,
      logger: silentLogger,
      flushIntervalMs: 50,
      tuning: { batchRecordsMax: 60, fetchWaitMs: 50, partitionBytesMax: 65_536 },
      loop: (partition, source) =>
        runAuditPartition({
          partition,
          source,
          trail: failing,
          deadLetters,
          decode: decodeAuditEvent,
          report: (report) => {
            if (report.kind === 'overtaken') overtaken++
            if (report.kind === 'appended') duplicates += report.duplicates
          }
        }),
      onError: (error) => {
        throw error
      }
    })
    t.teardown(() => running.stop())
  }
  return { lost: () => lost, overtaken: () => overtaken, duplicates: () => duplicates }
}

async function awaitEnd({ kafka, topic }: FreshTopic, database: Database): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const end = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const isThere = async () => {
    const [row] = await database.query<{ done: string | null }>('read the cursors', {
      text: 'select sum(next_offset) as done from audit_partition'
    })
    return Number(row?.done ?? 0) >= end
  }
  await waitUntil(isThere, { what: 'the cursors at the end of the log', timeoutMs: TIMEOUT_MS, pollIntervalMs: 20 })
}

async function storedLetters({ kafka, deadLetterTopic }: FreshTopic): Promise<readonly StoredDeadLetter[]> {
  const reader = new KafkaLogReader({ kafka, topic: deadLetterTopic, groupIdPrefix: 'test', logger: silentLogger })
  const letters: StoredDeadLetter[] = []
  for (const [partition, { first, end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(partition, first, end)) {
      letters.push(...records.map(decodeDeadLetter).filter((letter) => letter !== null))
    }
  }
  await reader.close()
  return letters
}

t.test('each event is in its trail once, whatever fails, is repeated, or is overtaken', async (t) => {
  const topic = await freshTopic(t, PARTITIONS)
  const database = await connect(t)
  const numbers = Array.from({ length: EVENTS }, (_, number) => number)
  const message = (value: string, at: number) => ({ partition: at % PARTITIONS, value })
  await topic.send(numbers.map((number) => message(JSON.stringify(auditEvent(number)), number)))
  const consumers = await consume(t, topic, database)
  // Repeats come by other partitions, as when a producer's partitioner changes, and among them what can't be read.
  await topic.send(numbers.filter((n) => n % 5 === 0).map((n) => message(JSON.stringify(auditEvent(n)), n + 1)))
  await topic.send(POISON.map(({ value }, at) => message(value, at)))
  await topic.send(numbers.filter((n) => n % 9 === 0).map((n) => message(JSON.stringify(auditEvent(n)), n + 2)))
  await awaitEnd(topic, database)

  t.ok(consumers.lost() > 0 && consumers.overtaken() > 0 && consumers.duplicates() > 0, 'all of it happened')
  const rows = await database.query<{ customer_id: string; entity_id: string }>('read the trail', {
    text: `select customer_id, entity_id from audit_event order by substring(entity_id from 9)::integer`
  })
  t.same(
    rows.map(({ customer_id, entity_id }) => `${customer_id} ${entity_id}`),
    numbers.map((number) => `${number % CUSTOMERS === 0 ? '' : `customer-${number % CUSTOMERS}`} invoice-${number}`)
  )
  const findings = await Array.fromAsync(verifyTrails(new PostgresAuditChains(database)))
  t.same(
    findings.map(({ head, fault }) => [head.sequence, fault]),
    Array.from({ length: CUSTOMERS }, () => [EVENTS / CUSTOMERS, null])
  )
  const letters = await storedLetters(topic)
  const kept = new Map(letters.map(({ record, reason }) => [record.value?.toString() ?? '', reason]))
  t.same(Object.fromEntries(kept), Object.fromEntries(POISON.map(({ value, reason }) => [value, reason])))
})

t.test('an event in binary mode and one without a subject are taken as they are meant', async (t) => {
  const topic = await freshTopic(t)
  const database = await connect(t)
  const { data } = auditEvent(1) as { data: object }
  await topic.send([
    {
      value: JSON.stringify(data),
      headers: {
        'content-type': 'application/json',
        ce_specversion: '1.0',
        ce_id: 'binary-1',
        ce_source: '/billing-service',
        ce_type: 'audit.recorded',
        ce_time: '2026-03-01T12:00:00Z'
      }
    }
  ])
  await consume(t, topic, database)
  await awaitEnd(topic, database)
  const rows = await database.query('read the trail', {
    text: 'select customer_id, action, actor_id, entity_kind, content -> $1 as origin from audit_event',
    values: ['origin']
  })
  t.same(rows, [
    {
      customer_id: '',
      action: 'invoice.paid',
      actor_id: 'user-1',
      entity_kind: 'invoice',
      origin: { source: '/billing-service', id: 'binary-1' }
    }
  ])
})
