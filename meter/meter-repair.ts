/** How a repairer makes a shard usable again: rolled forward in place, or built from empty under new keys and flipped in last. */

import { Cluster } from 'ioredis'
import type { BuiltCustomer, MeteredEvent, MeterRepair, Refusable, RollForward } from '../domain/ports.ts'
import type { CompiledLimits, CustomerLimits } from '../domain/tokens/limit.ts'
import { answerOf, asRetryable } from './connect.ts'
import { amountAsList } from './consumer-meter.ts'
import { wordsOf } from './decode-cut.ts'
import { keptLimits } from './limits-text.ts'
import { MARK_FINGERPRINT_BYTES, MARK_ID_BYTES, markGenerationOf, markOf } from './mark.ts'
import { packBatch, packedArguments } from './pack-batch.ts'
import type { Shards } from './shards.ts'

/** MARK of build-shard.lua: <I4c8c2. */
const MARK_BYTES = 4 + MARK_ID_BYTES + MARK_FINGERPRINT_BYTES

/** What one repair has learnt so far; forgotten when it ends. */
interface Repair {
  readonly build: string
  markMin: number
  markMax: number
}

export interface MeterRepairOptions {
  /** Milliseconds since the epoch. */
  readonly now?: () => number
  /** Builds a shard anew even when its state could be rolled forward. */
  readonly fromEmpty?: boolean
}

export class RedisMeterRepair implements MeterRepair {
  readonly #shards: Shards
  readonly #now: () => number
  readonly #fromEmpty: boolean
  readonly #repairs = new Map<string, Repair>()

  constructor(shards: Shards, options: MeterRepairOptions = {}) {
    this.#shards = shards
    this.#now = options.now ?? Date.now
    this.#fromEmpty = options.fromEmpty ?? false
  }

  async begin(
    shard: number,
    generation: number,
    partitions: number
  ): Promise<Refusable<{ cursors: readonly number[] | null }>> {
    const reply = await this.#run(shard, '', 'meterBeginRepair', (keys) => ({
      keys: [keys.state],
      args: [generation, partitions, this.#fromEmpty ? 'empty' : '']
    }))
    if (reply[0] === 'refused') return { refused: true }
    this.#repairs.set(`${shard}:${generation}`, { build: String(reply[1]), markMin: 0, markMax: 0 })
    return { refused: false, cursors: reply[0] === 'build' ? null : wordsOf(reply.slice(2)).map(Number) }
  }

  async rollForward(shard: number, generation: number, chunk: RollForward): Promise<boolean> {
    const { markBuckets, markGenerationMs } = this.#shards.installation
    const { build } = this.#repair(shard, generation)
    const { partition } = chunk
    const last = chunk.events.at(-1)
    const reply = await this.#run(shard, build, 'meterApplyBatch', (keys) => {
      const packed = packBatch(chunk.events, { keys, partition, markBuckets, markGenerationMs, markMax: 0 })
      return {
        keys: packed.keys,
        args: [
          build,
          generation,
          partition,
          chunk.from,
          chunk.to,
          last?.arrivedAt ?? 0,
          'replay',
          ...packedArguments(packed)
        ]
      }
    })
    return reply[0] === 'ok'
  }

  async build(
    shard: number,
    generation: number,
    part: { customers: readonly BuiltCustomer[]; marks: readonly MeteredEvent[] }
  ): Promise<boolean> {
    const { markBuckets, markGenerationMs } = this.#shards.installation
    const repair = this.#repair(shard, generation)
    const reply = await this.#run(shard, repair.build, 'meterBuildShard', (keys) => {
      const all = [keys.state]
      const marks = Buffer.alloc(part.marks.length * MARK_BYTES)
      let at = 0
      part.marks.forEach(({ event, arrivedAt }, i) => {
        const mark = markOf(event, markBuckets)
        const span = markGenerationOf(arrivedAt, markGenerationMs)
        repair.markMin = repair.markMin === 0 ? span : Math.min(repair.markMin, span)
        repair.markMax = Math.max(repair.markMax, span)
        all.push(keys.mark(span, mark.bucket))
        at = marks.writeUInt32LE(i, at)
        at += marks.write(mark.id, at, 'latin1')
        at = marks.writeUInt16LE(mark.fingerprint, at)
      })
      for (const { customerId } of part.customers) all.push(keys.limits(customerId), keys.used(customerId))
      const customers = part.customers.map(({ total, limits, amounts }) => ({
        total: String(total),
        limits: limits === null ? false : keptLimits(limits),
        amounts: amounts.map(amountAsList)
      }))
      return { keys: all, args: [generation, marks, JSON.stringify(customers)] }
    })
    return reply[0] === 'ok'
  }

  async outdated(
    shard: number,
    generation: number,
    versions: readonly Pick<CustomerLimits, 'customerId' | 'version'>[]
  ): Promise<ReadonlySet<string> | null> {
    const { build } = this.#repair(shard, generation)
    const reply = await this.#run(shard, build, 'meterOutdatedLimits', (keys) => ({
      keys: [keys.state, ...versions.map(({ customerId }) => keys.limits(customerId))],
      args: [generation, ...versions.map(({ version }) => version)]
    }))
    if (reply[0] !== 'ok') return null
    return new Set(reply.slice(1).map((number) => versions[Number(number) - 1]?.customerId ?? ''))
  }

  async setLimits(shard: number, generation: number, limits: CompiledLimits): Promise<boolean> {
    const { build } = this.#repair(shard, generation)
    const { customerId } = limits
    const { leadMs } = this.#shards.installation
    const reply = await this.#run(shard, build, 'meterSetLimits', (keys) => ({
      keys: keys.ofLimits(customerId),
      args: [build, '', JSON.stringify(keptLimits(limits)), leadMs, customerId, generation]
    }))
    return reply[0] === 'ok'
  }

  async finish(shard: number, generation: number, cursors: readonly number[] | null): Promise<boolean> {
    const { build, markMin, markMax } = this.#repair(shard, generation)
    if (cursors === null && !(await this.#cutAgain(shard, generation, build))) return false
    const floor =
      markMin === 0 ? markGenerationOf(this.#now(), this.#shards.installation.markGenerationMs) - 1 : markMin
    const reply = await this.#run(shard, build, 'meterFinishRepair', (keys) => ({
      keys: [keys.state],
      args: cursors === null ? [generation, '', ''] : [generation, markMax, floor, ...cursors]
    }))
    this.#repairs.delete(`${shard}:${generation}`)
    if (reply[0] !== 'ok') return false
    await this.#dropOlder(shard, build)
    return true
  }

  /** Cuts that were open have missed their moment: they begin again at the cursors as they stand now. */
  async #cutAgain(shard: number, generation: number, build: string): Promise<boolean> {
    const { redis } = this.#shards
    const cuts = await answerOf(redis, redis.hgetall(this.#shards.keys(shard, build).cuts))
    for (const [id, text] of Object.entries(cuts)) {
      if (!text.startsWith('{')) continue
      const { customerId }: { customerId: string } = JSON.parse(text)
      const reply = await this.#run(shard, build, 'meterCutAgain', (keys) => ({
        keys: keys.ofCut(customerId),
        args: [build, generation, id, 'repair']
      }))
      if (reply[0] !== 'ok') return false
    }
    return true
  }

  /**
   * Deletes the keys of earlier builds: the one that was in force, and those that repairers began and left. Never of later
   * ones: should this repairer come back from a long pause, another may be building.
   */
  async #dropOlder(shard: number, build: string): Promise<void> {
    const { redis } = this.#shards
    const keys = this.#shards.keys(shard, build)
    for (const node of redis instanceof Cluster ? redis.nodes('master') : [redis]) {
      for await (const found of translatedStream(node.scanStream({ match: keys.everyKeyOfShard(), count: 1000 }))) {
        const old = wordsOf(found).filter((key) => Number(keys.buildOf(key) ?? build) < Number(build))
        if (old.length > 0) await answerOf(node, node.unlink(old))
      }
    }
  }

  #repair(shard: number, generation: number): Repair {
    const repair = this.#repairs.get(`${shard}:${generation}`)
    if (repair === undefined) throw new Error(`no repair of shard ${shard} has begun with generation ${generation}`)
    return repair
  }

  #run(shard: number, build: string, ...[name, call]: RepairCall): Promise<readonly unknown[]> {
    return this.#shards.runBuild(shard, build, { name, call })
  }
}

type RepairCall = [name: Parameters<Shards['runBuild']>[2]['name'], call: Parameters<Shards['runBuild']>[2]['call']]

async function* translatedStream(stream: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  try {
    yield* stream
  } catch (error) {
    throw asRetryable(error)
  }
}
