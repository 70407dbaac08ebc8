/** Puts the demo's records on their ways: to Kafka in both CloudEvents modes, and to the API in batches, as fast as they are taken. */
import type { Message, Producer } from 'kafkajs'
import type { DemoApi } from './demo-api.ts'
import type { DemoRecord, PoisonRecord } from './events.ts'

export interface SendOptions {
  readonly producer: Producer
  readonly topic: string
  readonly api: DemoApi
  /** Told after each request of how many records were sent so far. */
  readonly onSent: (records: number) => void
}

const KAFKA_BATCH_RECORDS = 1_000
const HTTP_BATCH_RECORDS = 200
const HTTP_TRIES_MAX = 50

/** Resolves when the broker has every record; answers how many repeats the API found within a batch and did not pass on. */
export async function sendAll(
  records: AsyncIterable<DemoRecord | PoisonRecord>,
  options: SendOptions
): Promise<number> {
  let messages: Message[] = []
  let batch: DemoRecord['envelope'][] = []
  let sent = 0
  let repeatsInBatch = 0
  const toKafka = async (): Promise<void> => {
    await options.producer.send({ topic: options.topic, messages, acks: -1 })
    sent += messages.length
    messages = []
    options.onSent(sent)
  }
  const toApi = async (): Promise<void> => {
    repeatsInBatch += await postEvents(batch, options)
    sent += batch.length
    batch = []
    options.onSent(sent)
  }
  for await (const record of records) {
    if (record.way === 'http') batch.push(record.envelope)
    else messages.push(messageOf(record))
    if (messages.length >= KAFKA_BATCH_RECORDS) await toKafka()
    if (batch.length >= HTTP_BATCH_RECORDS) await toApi()
  }
  if (messages.length > 0) await toKafka()
  if (batch.length > 0) await toApi()
  return repeatsInBatch
}

function messageOf(record: DemoRecord | PoisonRecord): Message {
  const key = record.customer.id
  if (record.way === 'poison') return { key, value: record.value }
  if (record.way === 'structured') {
    return { key, value: JSON.stringify(record.envelope), headers: { 'content-type': 'application/cloudevents+json' } }
  }
  const { data, datacontenttype, ...attributes } = record.envelope
  const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce_${name}`, String(value)]))
  return { key, value: JSON.stringify(data), headers: { ...headers, 'content-type': String(datacontenttype) } }
}

/** The API answers 202 when the broker has them, and 503 while it can't: then the same batch goes again. Answers the repeats. */
async function postEvents(batch: readonly object[], { api }: SendOptions): Promise<number> {
  for (let tries = 1; ; tries++) {
    const response = await fetch(`${api.url}/v1/usage-events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.key}`, 'content-type': 'application/cloudevents-batch+json' },
      body: JSON.stringify(batch)
    })
    if (response.status === 202) {
      const { results }: { results: readonly { status: string }[] } = JSON.parse(await response.text())
      return results.filter(({ status }) => status === 'duplicate-in-batch').length
    }
    if (response.status !== 503 || tries >= HTTP_TRIES_MAX) {
      throw new Error(`POST /v1/usage-events answered ${response.status}: ${await response.text()}`)
    }
    await response.body?.cancel()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}
