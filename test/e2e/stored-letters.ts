/** Reads the dead-letter topic of an installation from its start. */
import { decodeDeadLetter, type StoredDeadLetter } from '../../ingest/dead-letter-producer.ts'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { KafkaLogReader } from '../../ingest/kafkajs/log-reader.ts'
import { silentLogger } from '../topics.ts'

export async function readStoredLetters(environment: Readonly<Record<string, string>>): Promise<StoredDeadLetter[]> {
  const { KAFKA_BROKERS = '', DEAD_LETTER_TOPIC: topic = '' } = environment
  const kafka = createKafka({ brokers: KAFKA_BROKERS.split(','), clientId: 'tokenmeter-e2e' }, silentLogger)
  const reader = new KafkaLogReader({ kafka, topic, groupIdPrefix: `${topic}-reader`, logger: silentLogger })
  const letters: StoredDeadLetter[] = []
  try {
    for (const [partition, { first, end }] of (await reader.ends()).entries()) {
      for await (const { records } of reader.read(partition, first, end)) {
        for (const record of records) {
          const letter = decodeDeadLetter(record)
          if (letter === null) throw new Error(`offset ${record.offset} of ${topic} holds no dead letter`)
          letters.push(letter)
        }
      }
    }
  } finally {
    await reader.close()
  }
  return letters
}
