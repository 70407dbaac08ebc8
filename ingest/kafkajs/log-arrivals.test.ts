import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { freshTopic, silentLogger } from '../../test/topics.ts'
import { createKafka } from './kafka-client.ts'
import { KafkaLogArrivals } from './log-arrivals.ts'

/** An instant between what was sent before and what is sent next: the broker's clock is this machine's. */
async function instantBetween(): Promise<number> {
  const instant = Date.now() + 1
  await waitUntil(async () => Date.now() > instant, { what: 'a millisecond', timeoutMs: 1_000, pollIntervalMs: 1 })
  return instant
}

t.test(
  'the first record that arrived at an instant or later is told by partition, and the end where there is none',
  async (t) => {
    const topic = await freshTopic(t, 3)
    const arrivals = new KafkaLogArrivals(topic)
    // Claimed times don't matter: the broker stamps.
    const value = (partition: number) => ({ partition, value: 'x', timestamp: '1000' })
    const start = await instantBetween()
    t.strictSame(
      (await arrivals.arrivedBy(start)).map(({ offset, end }) => [offset, end]),
      [
        [0, 0],
        [0, 0],
        [0, 0]
      ]
    )
    await topic.send([value(0), value(0), value(0), value(1)])
    const middle = await instantBetween()
    await topic.send([value(0), value(2)])
    const end = await instantBetween()
    const offsetsAt = async (instant: number) => (await arrivals.arrivedBy(instant)).map(({ offset }) => offset)
    t.strictSame(await offsetsAt(start), [0, 0, 0])
    t.strictSame(await offsetsAt(middle), [3, 1, 0])
    t.strictSame(await arrivals.arrivedBy(end), [
      { partition: 0, offset: 4, end: 4 },
      { partition: 1, offset: 1, end: 1 },
      { partition: 2, offset: 1, end: 1 }
    ])
    await topic.removeBefore(0, 4)
    t.strictSame(await offsetsAt(start), [4, 0, 0])
  }
)

t.test('a topic that its producers stamp is refused', async (t) => {
  const { kafka, topic } = await freshTopic(t)
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const stamped = `${topic}-dead`
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: stamped, configEntries: [{ name: 'message.timestamp.type', value: 'CreateTime' }] }]
  })
  await t.rejects(new KafkaLogArrivals({ kafka, topic: stamped }).arrivedBy(0), /message\.timestamp\.type=CreateTime/)
})

t.test('a broker that is away is told as retryable', async (t) => {
  const kafka = createKafka({ brokers: ['127.0.0.1:1'], clientId: 'tokenmeter-test' }, silentLogger)
  await t.rejects(new KafkaLogArrivals({ kafka, topic: 'usage' }).arrivedBy(0), RetryableError)
})
