import t from 'tap'
import { freshTopic } from '../../test/topics.ts'
import { ensureTopics, planEventsTopic, planTopics, type TopicsChoice } from './topics.ts'

const DAY_MS = 86_400_000

const CHOICE: TopicsChoice = {
  usageTopic: 'usage',
  deadLetterTopic: 'dead',
  partitions: 2,
  replicas: 1,
  duplicateWindowMs: DAY_MS,
  usageRetentionMs: 2 * DAY_MS,
  deadLetterRetentionMs: 30 * DAY_MS
}

t.test('a log that forgets before the duplicate window ends is refused before anything is made', async (t) => {
  t.throws(() => planTopics({ ...CHOICE, usageRetentionMs: DAY_MS }), { message: /longer than the duplicate window/ })
})

t.test('topics that are there and right are left as they are, and their own partitions are told', async (t) => {
  const { kafka, topic, deadLetterTopic } = await freshTopic(t, 3)
  const plans = Object.values(planTopics({ ...CHOICE, usageTopic: topic, deadLetterTopic }))
  const found = await ensureTopics(kafka, plans)
  t.equal(found.get(topic), 3)
  t.equal(found.get(deadLetterTopic), 3)
})

t.test('two processes may make the topics at the same time', async (t) => {
  const { kafka, topic } = await freshTopic(t)
  const { usage, deadLetters } = planTopics({ ...CHOICE, usageTopic: `${topic}-a`, deadLetterTopic: `${topic}-b` })
  const both = await Promise.all([ensureTopics(kafka, [usage, deadLetters]), ensureTopics(kafka, [usage, deadLetters])])
  const admin = kafka.admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [usage.name, deadLetters.name] })
  await admin.disconnect()
  for (const found of both) t.same([...found.values()], [2, 2])
})

t.test('a topic set so that counting would go wrong is refused, with every such setting named', async (t) => {
  const { kafka, topic, deadLetterTopic } = await freshTopic(t)
  const admin = kafka.admin()
  await admin.connect()
  const name = `${topic}-foreign`
  const configEntries = [
    { name: 'message.timestamp.type', value: 'CreateTime' },
    { name: 'cleanup.policy', value: 'compact' },
    { name: 'retention.ms', value: '3600000' },
    { name: 'max.message.bytes', value: '20000000' }
  ]
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic: name, numPartitions: 1, configEntries }] })
  t.teardown(async () => {
    await admin.deleteTopics({ topics: [name] })
    await admin.disconnect()
  })
  const plans = Object.values(planTopics({ ...CHOICE, usageTopic: name, deadLetterTopic }))
  const faults = await ensureTopics(kafka, plans).then(
    () => 'none',
    (error: Error) => error.message
  )
  for (const setting of [
    'message.timestamp.type=CreateTime',
    'cleanup.policy=compact',
    'retention.ms=3600000',
    'max.message.bytes=20000000',
    'compression.type=producer'
  ]) {
    t.ok(faults.includes(`${name} has ${setting}`), setting)
  }
})

t.test('an events topic that would forget all but the last event of a customer is refused', async (t) => {
  const { kafka, topic } = await freshTopic(t)
  const name = `${topic}-events`
  const admin = kafka.admin()
  await admin.connect()
  const configEntries = [{ name: 'cleanup.policy', value: 'compact' }]
  await admin.createTopics({ waitForLeaders: false, topics: [{ topic: name, numPartitions: 1, configEntries }] })
  t.teardown(async () => {
    await admin.deleteTopics({ topics: [name] })
    await admin.disconnect()
  })
  const plan = planEventsTopic({ name, partitions: 1, replicas: 1, retentionMs: DAY_MS })
  await t.rejects(ensureTopics(kafka, [plan]), { message: /cleanup\.policy=compact/ })
})
