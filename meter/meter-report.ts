/** What the meter has counted, told for reconciling. */
import type { CounterAmount } from '../domain/ports.ts'
import type { MeteredCustomer } from '../domain/tokens/reconcile/compare-counters.ts'
import { answerOf } from './connect.ts'
import { decodeCounters } from './limits-text.ts'
import type { Shards } from './shards.ts'

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

  /** Several at once, their scripts under way together; null as above. Some hundred at a time keep Redis free for checks. */
  async customers(customerIds: readonly string[]): Promise<ReadonlyMap<string, MeteredCustomer | null>> {
    const found = await Promise.all(customerIds.map((customerId) => this.customer(customerId)))
    return new Map(customerIds.map((customerId, i) => [customerId, found[i] ?? null]))
  }

  /** How far the customers' shards have counted each partition: the cursors, which are ahead of what was read of them before. */
  async countedThrough(customerIds: readonly string[]): Promise<ReadonlyMap<number, number>> {
    const shards = new Set(customerIds.map((customerId) => this.#shards.of(customerId)))
    const through = new Map<number, number>()
    for (const shard of shards) {
      const { redis } = this.#shards
      const state = await answerOf(redis, redis.hgetall(this.#shards.keys(shard, '').state))
      for (const [field, cursor] of Object.entries(state)) {
        const partition = /^cursor:(\d+)$/.exec(field)?.[1]
        if (partition === undefined) continue
        through.set(Number(partition), Math.max(through.get(Number(partition)) ?? 0, Number(cursor)))
      }
    }
    return through
  }
}
