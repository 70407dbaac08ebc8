/** What the meter has counted, told for reconciling. */
import type { CounterAmount } from '../domain/ports.ts'
import type { Counter } from '../domain/tokens/limit.ts'
import { decodeCounters } from './decode-cut.ts'
import type { Shards } from './shards.ts'

export interface MeteredCustomer {
  /** All tokens ever. */
  readonly total: number
  readonly counters: readonly Counter[]
  readonly amounts: readonly CounterAmount[]
  /** Some counter still waits for what the ledger held before it began. */
  readonly seeding: boolean
}

const WORDS_PER_FIELD = 4
const EVERYTHING = 'everything'

export class RedisMeterReport {
  readonly #shards: Shards

  constructor(shards: Shards) {
    this.#shards = shards
  }

  /** Null while the customer's shard can't know. */
  async customer(customerId: string): Promise<MeteredCustomer | null> {
    const reply = await this.#shards.run(this.#shards.of(customerId), 'meterReadCounters', (keys, build) => ({
      keys: [keys.state, keys.limits(customerId), keys.used(customerId)],
      args: [build]
    }))
    if (reply[0] === 'refused') return null
    let total = 0
    const amounts: CounterAmount[] = []
    for (let i = 3; i + WORDS_PER_FIELD <= reply.length; i += WORDS_PER_FIELD) {
      const [counterId = '', start, subject = '', amount] = reply.slice(i, i + WORDS_PER_FIELD).map(String)
      if (counterId === EVERYTHING) total = Number(amount)
      else amounts.push({ counterId, startQuarter: Number(start), subject, amount: Number(amount) })
    }
    return { total, counters: decodeCounters(String(reply[1])), amounts, seeding: reply[2] === 1 }
  }
}
