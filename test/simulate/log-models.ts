/** The usage topic in memory: records arrive as the clock goes on, and are read by consumers, by repairers and by the checks. */
import { ForeignLogError } from '../../domain/errors.ts'
import type { DeadLetter, DeadLetters, LogReader, PartitionSource, RecordBatch, Work } from '../../domain/ports.ts'
import type { UsageRecord } from '../../domain/tokens/usage-event.ts'
import type { SimulatedProcess, World } from './world.ts'

const BATCH_RECORDS_MAX = 6
const TICKS = 0.22

export class UsageTopic {
  readonly partitions: readonly (readonly UsageRecord[])[]
  readonly #world: World
  /** `partition:offset:reason` of what the dead-letter topic has. */
  readonly deadLetters = new Set<string>()

  constructor(world: World, partitions: readonly (readonly UsageRecord[])[]) {
    this.#world = world
    this.partitions = partitions
  }

  /** Records that have arrived by now. */
  arrived(partition: number): readonly UsageRecord[] {
    return (this.partitions[partition] ?? []).filter(({ arrivedAt }) => arrivedAt <= this.#world.now)
  }

  /** The offset after the last record that has arrived. */
  end(partition: number): number {
    return (this.arrived(partition).at(-1)?.offset ?? -1) + 1
  }

  /** When the last record of all arrives. */
  get lastArrival(): number {
    return Math.max(...this.partitions.map((records) => records.at(-1)?.arrivedAt ?? 0))
  }

  batch(partition: number, from: number, to: number): RecordBatch {
    return { from, to, records: this.arrived(partition).filter(({ offset }) => offset >= from && offset < to) }
  }
}

export class SimulatedSource implements PartitionSource {
  readonly #process: SimulatedProcess
  readonly #topic: UsageTopic
  readonly #partition: number
  readonly #idleSteps: number
  #position = 0

  /** `idleSteps`: between two looks at a log that has ended. */
  constructor(process: SimulatedProcess, topic: UsageTopic, of: { partition: number; idleSteps: number }) {
    this.#process = process
    this.#topic = topic
    this.#partition = of.partition
    this.#idleSteps = of.idleSteps
  }

  open(offset: number, previousArrivedAt: number | null): Promise<void> {
    return this.#process.call(`log ${this.#partition} opens at ${offset}`, () => {
      const before = this.#topic.arrived(this.#partition).findLast((record) => record.offset < offset)
      const isForeign = previousArrivedAt !== null && before?.arrivedAt !== previousArrivedAt
      if (isForeign || offset > this.#topic.end(this.#partition))
        throw new ForeignLogError(`partition ${this.#partition} at ${offset}: ${previousArrivedAt} is not there`)
      this.#position = offset
    })
  }

  next(): Promise<Work> {
    const isIdle = this.#position >= this.#topic.end(this.#partition)
    return this.#process.call('log next', () => this.#work(), {
      delaySteps: isIdle ? this.#idleSteps : 0,
      failure: null
    })
  }

  report(): void {
    this.#process.world.tell(`${this.#process.name}: reports`)
  }

  #work(): Work {
    const { random, now } = this.#process.world
    if (this.#process.isStopping) return { kind: 'stop' }
    const end = this.#topic.end(this.#partition)
    if (this.#position >= end) return { kind: 'tick', drainedAt: random.happens(0.8) ? now : null }
    if (random.happens(TICKS)) return { kind: 'tick', drainedAt: null }
    const from = this.#position
    const to = Math.min(end, from + 1 + random.below(BATCH_RECORDS_MAX))
    this.#position = to
    return { kind: 'batch', batch: this.#topic.batch(this.#partition, from, to) }
  }
}

const READ_RECORDS = 4

export function simulatedLogReader(process: SimulatedProcess, topic: UsageTopic): LogReader {
  return {
    ends: () =>
      process.call('log ends', () => topic.partitions.map((_, partition) => ({ first: 0, end: topic.end(partition) }))),
    async *read(partition, from, to) {
      for (let at = from; at < to; at += READ_RECORDS) {
        const end = Math.min(to, at + READ_RECORDS)
        yield await process.call(`log read ${partition} ${at}-${end}`, () => topic.batch(partition, at, end))
      }
    }
  }
}

export function simulatedDeadLetters(process: SimulatedProcess, topic: UsageTopic): DeadLetters {
  return {
    append: (letters: readonly DeadLetter[]) =>
      process.call(`dead letters ${letters.map(({ record }) => record.offset)}`, () => {
        for (const { partition, record, reason } of letters)
          topic.deadLetters.add(`${partition}:${record.offset}:${reason}`)
      })
  }
}
