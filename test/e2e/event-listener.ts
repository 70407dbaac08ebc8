/** Another service that listens to the published events of an installation. */
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { silentLogger } from '../topics.ts'

interface Test {
  teardown(handler: () => Promise<void>): void
}

export interface HeardEvent {
  readonly id: string
  readonly type: string
  readonly subject: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface EventListener {
  /** What was heard of a customer, in order, once an event of the type was heard. */
  heardUpTo(customerId: string, type: string): Promise<readonly HeardEvent[]>
}

const HEARD_WITHIN_MS = 30_000

export async function listenToEvents(t: Test, environment: Readonly<Record<string, string>>): Promise<EventListener> {
  const { KAFKA_BROKERS = '', EVENTS_TOPIC: topic = '', KAFKA_GROUP_PREFIX: group } = environment
  const kafka = createKafka({ brokers: KAFKA_BROKERS.split(','), clientId: 'e2e-listener' }, silentLogger)
  const consumer = kafka.consumer({ groupId: `${group}-listener` })
  const heard: HeardEvent[] = []
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message }) => {
      const event: HeardEvent = JSON.parse(String(message.value))
      if (event.subject !== String(message.key)) throw new Error(`${event.id} has the key ${message.key}`)
      heard.push(event)
    }
  })
  return {
    heardUpTo: (customerId, type) =>
      waitUntil(
        async () => {
          const events = heard.filter(({ subject }) => subject === customerId)
          return events.some((event) => event.type === type) ? events : undefined
        },
        { what: `${type} of ${customerId}`, timeoutMs: HEARD_WITHIN_MS }
      )
  }
}
