/** How far the ledger is behind the log: what was sent and is not yet counted for good. */
import type { Admin } from 'kafkajs'
import type { Database } from '../../sql/connect.ts'
import { readDone } from '../../stack/installation/await-drained.ts'

export interface Lag {
  /** Records whose effect is in the ledger: the sum of L over partitions. */
  readonly counted: number
  /** Records of the log beyond it. */
  readonly records: number
}

export class ConsumerLag {
  readonly #admin: Admin
  readonly #topic: string
  readonly #database: Database
  #most = 0
  #last = 0

  constructor({
    admin,
    topic,
    database
  }: { readonly admin: Admin; readonly topic: string; readonly database: Database }) {
    this.#admin = admin
    this.#topic = topic
    this.#database = database
  }

  /** Records, at any look. */
  get most(): number {
    return this.#most
  }

  /** Records, at the last look. */
  get last(): number {
    return this.#last
  }

  /** The log is read first, so a record that arrives in between is not taken for lag. */
  async look(): Promise<Lag> {
    const ends = await this.#admin.fetchTopicOffsets(this.#topic)
    const { ledger: counted } = await readDone(this.#database)
    const records = Math.max(0, ends.reduce((sum, { high }) => sum + Number(high), 0) - counted)
    this.#last = records
    this.#most = Math.max(this.#most, records)
    return { counted, records }
  }
}
