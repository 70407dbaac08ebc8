import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import type { EventLog, LeavingEvent } from '../../domain/published-event.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import { PostgresOutbox } from '../../sql/change/outbox-store.ts'
import { Database } from '../../sql/connect.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { freshDatabase } from '../../test/services.ts'
import { freshTopic, silentLogger } from '../../test/topics.ts'
import { KafkaLogReader } from '../kafkajs/log-reader.ts'
import { KafkaEventLog } from './event-producer.ts'
import { type RelayOptions, type RunningRelay, startRelay } from './run-relay.ts'

const PARTITIONS = 3
const CUSTOMERS = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7']

type Teardown = Pick<typeof import('tap').default, 'teardown'>

async function openStores(t: Teardown) {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'relay-test' })
  const { kafka, topic } = await freshTopic(t, PARTITIONS)
  const events = new KafkaEventLog({ kafka, topic })
  const reader = new KafkaLogReader({ kafka, topic, groupIdPrefix: `reader-of-${topic}`, logger: silentLogger })
  t.teardown(async () => {
    await Promise.all([events.close(), reader.close()])
    await database.close()
  })
  return { database, events, reader, store: new PostgresOutbox(database) }
}

/** Puts events of all customers in turn into the outbox; answers their ids. */
async function fill(database: Database, events: number): Promise<string[]> {
  const ids = Array.from({ length: events }, () => randomUUIDv7())
  await database.query('fill the outbox', {
    text: `insert into outbox (id, customer_id, type, occurred_at, data)
           select id, ($2::text[])[1 + (n - 1) % cardinality($2::text[])], 'customer.updated', now(), jsonb_build_object('step', n)
             from unnest($1::text[]) with ordinality as told (id, n) order by n`,
    values: [ids, CUSTOMERS]
  })
  return ids
}

function relay(t: Teardown, options: Pick<RelayOptions, 'turns' | 'events'> & Partial<RelayOptions>): RunningRelay {
  const running = startRelay({
    logger: silentLogger,
    onPublished: () => undefined,
    onError: (error) => {
      throw error
    },
    pollIntervalMs: 10,
    ...options
  })
  t.teardown(() => running.stop())
  return running
}

async function untilEmpty(store: PostgresOutbox): Promise<void> {
  await waitUntil(async () => (await store.backlog()).waiting === 0, { what: 'an empty outbox', timeoutMs: 15_000 })
}

interface Heard {
  readonly partition: number
  readonly key: string
  readonly envelope: { readonly id: string; readonly subject: string; readonly data: { readonly step: number } }
}

async function readAll(reader: KafkaLogReader): Promise<Heard[]> {
  const heard: Heard[] = []
  for (const [partition, { first, end }] of (await reader.ends()).entries()) {
    for await (const { records } of reader.read(partition, first, end)) {
      for (const { key, value } of records) {
        heard.push({ partition, key: String(key), envelope: JSON.parse(String(value)) })
      }
    }
  }
  return heard
}

t.test('events come to the partition of their customer, each once, in the order of positions', async (t) => {
  const { database, events, reader, store } = await openStores(t)
  const ids = await fill(database, 100)
  const published: LeavingEvent[] = []
  relay(t, { turns: store, events, pageEventsMax: 7, onPublished: (page) => published.push(...page) })
  await untilEmpty(store)
  const heard = await readAll(reader)
  t.same(new Set(heard.map(({ envelope }) => envelope.id)), new Set(ids))
  t.equal(heard.length, ids.length)
  for (const { partition, key, envelope } of heard) {
    if (key !== envelope.subject || partition !== partitionOf(key, PARTITIONS)) t.fail(`${key} is on ${partition}`)
  }
  for (const customerId of CUSTOMERS) {
    const steps = heard.filter(({ key }) => key === customerId).map(({ envelope }) => envelope.data.step)
    t.same(
      steps,
      steps.toSorted((a, b) => a - b)
    )
  }
  t.same(
    published.map(({ id }) => id),
    ids
  )
})

t.test('what the broker has not acknowledged stays, and is told again under the same ids', async (t) => {
  const { database, events, reader, store } = await openStores(t)
  const ids = await fill(database, 10)
  let failures = 0
  const losesAnswers: EventLog = {
    append: async (page) => {
      await events.append(page)
      if (failures++ < 2) throw new RetryableError('log-unavailable', 'the answer was lost')
    }
  }
  const running = relay(t, { turns: store, events: losesAnswers, pageEventsMax: 4 })
  await waitUntil(
    async () =>
      running.assertWell().then(
        () => false,
        () => true
      ),
    {
      what: 'the relay to say that it is not well',
      timeoutMs: 5_000,
      pollIntervalMs: 5
    }
  )
  t.equal((await store.backlog()).waiting, 10)
  await untilEmpty(store)
  await running.assertWell()
  const heard = (await readAll(reader)).map(({ envelope }) => envelope.id)
  t.equal(heard.length, 10 + 2 * 4)
  t.same(new Set(heard), new Set(ids))
})

t.test('a relay that stands by goes on where the one before it stopped, in the middle of a page', async (t) => {
  const { database, events, reader, store } = await openStores(t)
  const ids = await fill(database, 20)
  const entered = Promise.withResolvers<void>()
  const mayGoOn = Promise.withResolvers<void>()
  const heldUp: EventLog = {
    append: async (page) => {
      entered.resolve()
      await mayGoOn.promise
      await events.append(page)
    }
  }
  const first = relay(t, { turns: store, events: heldUp, pageEventsMax: 5 })
  await entered.promise
  relay(t, { turns: store, events, pageEventsMax: 5 })
  const stopped = first.stop()
  t.equal((await store.backlog()).waiting, 20, 'the second does nothing while the first has its turn')
  mayGoOn.resolve()
  await stopped
  t.equal((await store.backlog()).waiting, 15, 'the page in hand is finished')
  await untilEmpty(store)
  const heard = (await readAll(reader)).map(({ envelope }) => envelope.id)
  t.same(heard.toSorted(), ids.toSorted())
})

t.test('a defect ends the relay and is handed on; what waits stays', async (t) => {
  const { database, store } = await openStores(t)
  await fill(database, 1)
  const told = Promise.withResolvers<Error>()
  const defect = new Error('ours')
  relay(t, { turns: store, events: { append: () => Promise.reject(defect) }, onError: told.resolve })
  t.equal(await told.promise, defect)
  t.equal((await store.backlog()).waiting, 1)
})
