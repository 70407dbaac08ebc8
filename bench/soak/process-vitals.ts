/** Memory and processor time of processes that may be started again on the way. */
import { readFileSync } from 'node:fs'
import { cpuMicros } from '../harness/cpu-time.ts'

export interface VitalSigns {
  readonly memoryMiB: number
  readonly cpuMicros: number
}

/** Memory at three moments of a stretch, and the most there was at any look. */
export interface MemoryMiB {
  readonly early: number
  readonly half: number
  readonly end: number
  readonly most: number
}

interface Watched {
  pid: number | null
  readonly memoryMiB: number[]
  /** Of the processes before this one, and of this one before the first look. */
  cpuBefore: number
  cpuNow: number
  restarts: number
}

const KIB_PER_MIB = 1_024

export class ProcessVitals {
  readonly #pidOf: (name: string) => number | null
  readonly #read: (pid: number) => VitalSigns | null
  readonly #watched: ReadonlyMap<string, Watched>

  constructor(names: readonly string[], pidOf: (name: string) => number | null, read = readVitalSigns) {
    this.#pidOf = pidOf
    this.#read = read
    this.#watched = new Map(
      names.map((name) => [name, { pid: null, memoryMiB: [], cpuBefore: 0, cpuNow: 0, restarts: 0 }])
    )
    for (const [name, watched] of this.#watched) {
      watched.pid = pidOf(name)
      watched.cpuBefore = watched.pid === null ? 0 : -(read(watched.pid)?.cpuMicros ?? 0)
    }
  }

  /** To be called at equal intervals. What a process took between the last look and its death is not seen. */
  look(): void {
    for (const [name, watched] of this.#watched) {
      const pid = this.#pidOf(name)
      const signs = pid === null ? null : this.#read(pid)
      if (signs === null) continue
      if (pid !== watched.pid) {
        if (watched.pid !== null) watched.restarts++
        watched.cpuBefore += watched.cpuNow
        watched.pid = pid
      }
      watched.memoryMiB.push(signs.memoryMiB)
      watched.cpuNow = signs.cpuMicros
    }
  }

  memoryNowMiB(): Readonly<Record<string, number>> {
    return this.#each(({ memoryMiB }) => memoryMiB.at(-1) ?? 0)
  }

  /** After a tenth of the looks, at their half and at their end. */
  memoryMiB(): Readonly<Record<string, MemoryMiB>> {
    return this.#each(({ memoryMiB }) => {
      const at = (share: number): number => memoryMiB[Math.floor((memoryMiB.length - 1) * share)] ?? 0
      const most = memoryMiB.reduce((sofar, mib) => Math.max(sofar, mib), 0)
      return { early: at(0.1), half: at(0.5), end: at(1), most }
    })
  }

  /** Since this was made. */
  cpuMicros(): Readonly<Record<string, number>> {
    return this.#each(({ cpuBefore, cpuNow }) => cpuBefore + cpuNow)
  }

  restarts(): Readonly<Record<string, number>> {
    return this.#each(({ restarts }) => restarts)
  }

  #each<T>(of: (watched: Watched) => T): Readonly<Record<string, T>> {
    return Object.fromEntries([...this.#watched].map(([name, watched]) => [name, of(watched)]))
  }
}

/** Memory is what is resident. Null when there is no such process (any more). */
function readVitalSigns(pid: number): VitalSigns | null {
  try {
    const kiB = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
    return kiB === 0 ? null : { memoryMiB: Math.round(kiB / KIB_PER_MIB), cpuMicros: cpuMicros(pid) }
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return null
    throw error
  }
}
