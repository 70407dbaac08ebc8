/** Times work that the bench's own process does through an adapter: its processor time, and that of the services which take part. */
import { cpuMicros, serviceCpuMicros } from './cpu-time.ts'
import type { Reading } from './scenario.ts'
import { readingOf } from './time-consumption.ts'

export interface WorkClockOptions {
  /** Services of the stack that take part; nothing is told of one that runs in a container. */
  readonly services?: readonly string[]
  /** Servers beside the stack that take part, by the name under which they are told. */
  readonly pids?: Readonly<Record<string, number | null>>
}

type Micros = Readonly<Record<string, number>>

/** Runs while `time` does, and adds up: what has to be prepared between two pieces of work is left out. */
export class WorkClock {
  readonly #options: WorkClockOptions
  #seconds = 0
  #micros: Micros = {}

  constructor(options: WorkClockOptions = {}) {
    this.#options = options
  }

  async time<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#serverMicros()
    const ownBefore = process.cpuUsage()
    const startedAt = performance.now()
    const result = await work()
    this.#seconds += (performance.now() - startedAt) / 1_000
    const { user, system } = process.cpuUsage(ownBefore)
    const servers = Object.entries(this.#serverMicros()).map(([name, at]) => [name, at - (before[name] ?? 0)] as const)
    const took = [['node', user + system] as const, ...servers]
    this.#micros = Object.fromEntries(took.map(([name, micros]) => [name, (this.#micros[name] ?? 0) + micros]))
    return result
  }

  get seconds(): number {
    return this.#seconds
  }

  /** Processor time by name; `node` is this process. */
  get micros(): Micros {
    return this.#micros
  }

  /** `eventsPerSecond`, and `<name>MicrosPerEvent` of each that took part. */
  reading(events: number): Reading {
    return readingOf({ records: events, seconds: this.#seconds, micros: Object.entries(this.#micros) })
  }

  #serverMicros(): Micros {
    const { services = [], pids = {} } = this.#options
    const ofStack = services.length === 0 ? [] : Object.entries(serviceCpuMicros())
    return Object.fromEntries([
      ...ofStack.filter(([name]) => services.includes(name)),
      ...Object.entries(pids).map(([name, pid]) => [name, pid === null ? 0 : cpuMicros(pid)] as const)
    ])
  }
}
