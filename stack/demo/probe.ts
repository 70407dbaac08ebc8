/** Asks quota checks all the while, as an AI service would before each call, and keeps the time of every answer. */
import type { DemoApi } from './demo-api.ts'

export interface ProbeResult {
  readonly checks: number
  readonly allowed: number
  readonly refused: number
  /** Answered 503: the meter could not know, as while its consumer was dead. */
  readonly unknown: number
  readonly p50Ms: number
  readonly p99Ms: number
}

export interface ProbeOptions {
  readonly api: DemoApi
  /** Ids of those who have limits. */
  readonly customerIds: readonly string[]
}

/** A check every so many milliseconds and caller: the demo's load is the events, not the checks. */
const PACE_MS = 10
const CALLERS = 2

export class QuotaProbe {
  readonly #options: ProbeOptions
  readonly #times: number[] = []
  readonly #outcomes = { allowed: 0, refused: 0, unknown: 0 }
  #isStopped = false
  #callers: Promise<void>[] = []

  constructor(options: ProbeOptions) {
    this.#options = options
  }

  start(): void {
    this.#callers = Array.from({ length: CALLERS }, (_, caller) => this.#call(caller))
  }

  async stop(): Promise<ProbeResult> {
    this.#isStopped = true
    await Promise.all(this.#callers)
    const sorted = this.#times.toSorted((a, b) => a - b)
    const at = (share: number): number => Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 100) / 100
    return { checks: sorted.length, ...this.#outcomes, p50Ms: at(0.5), p99Ms: at(0.99) }
  }

  async #call(caller: number): Promise<void> {
    const { api, customerIds } = this.#options
    for (let i = caller; !this.#isStopped; i++) {
      const customerId = customerIds[i % customerIds.length]
      const startedAt = performance.now()
      const response = await fetch(`${api.url}/v1/quota/check`, {
        method: 'POST',
        headers: { authorization: `Bearer ${api.key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ customerId, model: 'gpt-5.1', tokens: { input: 1_000, output: 500 } })
      })
      const body = await response.text()
      this.#times.push(performance.now() - startedAt)
      if (response.status === 503) this.#outcomes.unknown++
      else if (response.status !== 200) throw new Error(`POST /v1/quota/check answered ${response.status}: ${body}`)
      else if (JSON.parse(body).allowed === true) this.#outcomes.allowed++
      else this.#outcomes.refused++
      await new Promise((resolve) => setTimeout(resolve, PACE_MS))
    }
  }
}
