/** Times a member from its first batch, which is there when the clock starts, to its last record. */
import type { MemberReport } from '../harness/run-member.ts'

export class MemberClock {
  readonly #all: number
  #records = 0
  #first: { readonly records: number; readonly at: number; readonly cpu: NodeJS.CpuUsage } | null = null

  /** `all`: records until it is over. */
  constructor(all: number) {
    this.#all = all
  }

  /** To be told of each batch when its effect is there. Writes the report and answers true when that was the last. */
  add(records: number): boolean {
    this.#records += records
    this.#first ??= { records: this.#records, at: performance.now(), cpu: process.cpuUsage() }
    if (this.#records < this.#all) return false
    const { user, system } = process.cpuUsage(this.#first.cpu)
    const report: MemberReport = {
      records: this.#records - this.#first.records,
      seconds: (performance.now() - this.#first.at) / 1_000,
      cpuMicros: user + system
    }
    process.stdout.write(`${JSON.stringify(report)}\n`)
    return true
  }
}
