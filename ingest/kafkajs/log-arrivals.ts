/**
 * Where the log stood at an instant, by the broker's time of arrival. Only a topic that the broker stamps (LogAppendTime) can tell:
 * in any other, one record of a producer whose clock is wrong would hide those behind it. So that is looked up first.
 */
import kafkajs, { type Admin, type Kafka } from 'kafkajs'
import type { LogArrival, LogArrivals } from '../../domain/billing/invoices/gate-ports.ts'
import { translateKafkaError } from './kafka-client.ts'
import { readLogBounds } from './partition-fetcher.ts'

// A CommonJS module whose constants Node's import can't see by name.
const { ConfigResourceTypes } = kafkajs

const STAMPS = 'message.timestamp.type'

export class KafkaLogArrivals implements LogArrivals {
  readonly #kafka: Kafka
  readonly #topic: string

  constructor({ kafka, topic }: { readonly kafka: Kafka; readonly topic: string }) {
    this.#kafka = kafka
    this.#topic = topic
  }

  async arrivedBy(instant: number): Promise<readonly LogArrival[]> {
    const admin = this.#kafka.admin()
    try {
      await admin.connect()
      await this.#assertStamped(admin)
      // Where nothing is that late, kafkajs answers with an end that it has asked for before.
      const found = await admin.fetchTopicOffsetsByTimestamp(this.#topic, instant)
      const bounds = await readLogBounds(admin, this.#topic)
      return found
        .map(({ partition, offset }) => {
          const end = bounds.get(partition)?.end
          if (end === undefined) throw new Error(`${this.#topic}/${partition} has a time and no end`)
          return { partition, offset: Number(offset), end }
        })
        .sort((a, b) => a.partition - b.partition)
    } catch (error) {
      throw translateKafkaError(error, `ask where ${this.#topic} stood at ${new Date(instant).toISOString()}`)
    } finally {
      await admin.disconnect()
    }
  }

  async #assertStamped(admin: Admin): Promise<void> {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: this.#topic, configNames: [STAMPS] }]
    })
    const found = resources[0]?.configEntries.find(({ configName }) => configName === STAMPS)?.configValue
    if (found !== 'LogAppendTime') {
      throw new Error(`${this.#topic} has ${STAMPS}=${found}, not LogAppendTime: what arrived when can't be told`)
    }
  }
}
