/** The meter as its consumer uses it: fifth stop on the way of one event. Each method is one script, atomic in Redis. */
import type {
  ConsumerMeter,
  CounterAmount,
  Cut,
  Refusable,
  ShardAt,
  ShardBatch,
  ShardPosition,
  Verdict
} from '../domain/ports.ts'
import { answerOf } from './connect.ts'
import { decodeCuts, wordsOf } from './decode-cut.ts'
import { markGenerationOf } from './mark.ts'
import { packBatch, packedArguments } from './pack-batch.ts'
import type { Shards } from './shards.ts'

const VERDICTS: Readonly<Record<string, Verdict>> = { c: 'counted', d: 'duplicate', x: 'conflict' }
const KEYS_PER_UNLINK = 512

export class RedisConsumerMeter implements ConsumerMeter {
  readonly #shards: Shards
  /** Per shard the latest generation of marks in use, as far as this process has seen. */
  readonly #markMax = new Map<number, number>()

  constructor(shards: Shards) {
    this.#shards = shards
  }

  async open(at: ShardAt): Promise<({ refused: false } & ShardPosition) | { refused: true; newer: boolean }> {
    const { shard, partition, generation } = at
    await this.#shards.refresh(shard)
    const reply = await this.#shards.run(shard, 'meterOpenPartition', (keys, build) => ({
      keys: keys.ofPartition(partition),
      args: [build, generation, partition]
    }))
    if (reply[0] === 'refused') {
      const found = /^generation:(\d+)$/.exec(String(reply[1]))?.[1]
      return { refused: true, newer: found !== undefined && Number(found) > generation }
    }
    this.#markMax.set(shard, Number(reply[2]))
    const verdicts = new Map<number, Verdict>()
    const record = wordsOf(reply[3])
    for (let i = 0; i + 1 < record.length; i += 2) verdicts.set(Number(record[i]), verdictOf(record[i + 1]))
    return { refused: false, cursor: Number(reply[1]), verdicts, cuts: decodeCuts(reply[4], shard, partition) }
  }

  async apply(batch: ShardBatch): Promise<Refusable<{ verdicts: readonly Verdict[]; cuts: readonly Cut[] }>> {
    const { shard, partition } = batch
    const { markBuckets, markGenerationMs } = this.#shards.installation
    let latestMarks = 0
    const reply = await this.#shards.run(shard, 'meterApplyBatch', (keys, build) => {
      const packed = packBatch(batch.events, {
        keys,
        partition,
        markBuckets,
        markGenerationMs,
        markMax: this.#markMax.get(shard) ?? 0
      })
      latestMarks = packed.marks.latestKnown
      return {
        keys: packed.keys,
        args: [
          build,
          batch.generation,
          partition,
          batch.expectedCursor,
          batch.end,
          batch.countedUpTo,
          'judge',
          ...packedArguments(packed)
        ]
      }
    })
    if (reply[0] === 'refused') return { refused: true }
    this.#markMax.set(shard, latestMarks)
    const letters = String(reply[1])
    return { refused: false, verdicts: Array.from(letters, verdictOf), cuts: decodeCuts(reply[2], shard, partition) }
  }

  async tick(
    at: ShardAt & { cursor: number; flushed: number; countedUpTo: number | null }
  ): Promise<Refusable<{ cuts: readonly Cut[] }>> {
    const { shard, partition } = at
    const reply = await this.#shards.run(shard, 'meterTick', (keys, build) => ({
      keys: keys.ofPartition(partition),
      args: [build, at.generation, partition, at.cursor, at.flushed, at.countedUpTo ?? '']
    }))
    if (reply[0] === 'refused') return { refused: true }
    await this.#dropOldMarks(shard, { leastCountedUpTo: Number(reply[1]), marksFrom: Number(reply[2]) })
    return { refused: false, cuts: decodeCuts(reply[3], shard, partition) }
  }

  async seed(at: ShardAt, cut: Cut, chunk: { amounts: readonly CounterAmount[]; next: string | null }): Promise<void> {
    await this.#shards.run(at.shard, 'meterSeedCut', (keys, build) => ({
      keys: keys.ofCut(cut.customerId),
      args: [
        build,
        at.generation,
        at.partition,
        cut.id,
        cut.progress,
        chunk.next === null ? 'last' : 'more',
        chunk.next ?? '',
        JSON.stringify(chunk.amounts.map(amountAsList))
      ]
    }))
  }

  async cutAgain(at: ShardAt, cut: Cut): Promise<void> {
    await this.#shards.run(at.shard, 'meterCutAgain', (keys, build) => ({
      keys: keys.ofCut(cut.customerId),
      args: [build, at.generation, cut.id, 'consumer']
    }))
  }

  /**
   * Marks of a generation before the last full one can meet no repeat that would be accepted. The slowest partition decides,
   * so that none of them still looks there; deleting twice or only half changes no verdict.
   */
  async #dropOldMarks(shard: number, seen: { leastCountedUpTo: number; marksFrom: number }): Promise<void> {
    const { markBuckets, markGenerationMs } = this.#shards.installation
    const keepFrom = markGenerationOf(seen.leastCountedUpTo, markGenerationMs) - 1
    if (seen.marksFrom === 0 || keepFrom <= seen.marksFrom) return
    const { redis } = this.#shards
    const build = await this.#shards.refresh(shard)
    const keys = this.#shards.keys(shard, build)
    for (let generation = seen.marksFrom; generation < keepFrom; generation++) {
      for (let bucket = 0; bucket < markBuckets; bucket += KEYS_PER_UNLINK) {
        const some = Math.min(KEYS_PER_UNLINK, markBuckets - bucket)
        await answerOf(redis, redis.unlink(Array.from({ length: some }, (_, i) => keys.mark(generation, bucket + i))))
      }
    }
    await answerOf(redis, redis.hset(keys.state, 'marksFrom', keepFrom))
  }
}

export function amountAsList(one: CounterAmount): [string, number, string, number] {
  return [one.counterId, one.startQuarter, one.subject, one.amount]
}

function verdictOf(letter: string | undefined): Verdict {
  const verdict = VERDICTS[letter ?? '']
  if (verdict === undefined) throw new Error(`the meter answered a verdict it doesn't have: ${letter}`)
  return verdict
}
