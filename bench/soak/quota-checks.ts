/**
 * Quota checks on a timetable while events are counted. Latencies count from the instant at which a check was due
 * (bench/http/open-loop.ts). The clock is a plain timer, up to a millisecond late, which is charged: a more exact one would keep a
 * core busy that the product needs.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { DemoApi } from '../../stack/demo/demo-api.ts'
import { Random } from '../../stack/demo/random.ts'
import { customerName } from '../harness/usage-records.ts'
import { type OpenLoopResult, runOpenLoop } from '../http/open-loop.ts'
import { RequestPool } from '../http/request-pool.ts'
import { fixedPace } from '../http/schedule.ts'
import { RecentTimes } from './recent-times.ts'

export interface QuotaChecksOptions {
  readonly api: DemoApi
  readonly customers: number
  readonly perSecond: number
  readonly seconds: number
  readonly seed: number
}

export interface CheckOutcomes {
  readonly allowed: number
  readonly refused: number
  /** Answered 503: the meter could not know. */
  readonly unknown: number
}

export interface ChecksResult extends CheckOutcomes {
  readonly checks: number
  /** By what went wrong: any other answer, or none. */
  readonly failures: Readonly<Record<string, number>>
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

const CONNECTIONS = 16
/** As many as an API of ours lets wait before it says that it is overloaded; a standstill makes others wait for their turn. */
const IN_FLIGHT_MAX = 500
const PATIENCE_MS = 10_000
const RECENT_MS = 10_000

export class QuotaChecks {
  readonly #options: QuotaChecksOptions
  readonly #pool: RequestPool
  readonly #bodies: readonly string[]
  readonly #outcomes = { allowed: 0, refused: 0, unknown: 0 }
  readonly #recent = new RecentTimes(RECENT_MS)
  #isStopped = false

  constructor(options: QuotaChecksOptions) {
    this.#options = options
    this.#pool = new RequestPool({ targets: [options.api.url], connections: CONNECTIONS, pipelining: 1 })
    this.#bodies = bodiesOf(options)
  }

  /** Of the checks answered in the last ten seconds. */
  recentMs(): { readonly p50: number; readonly p99: number } {
    const [p50 = 0, p99 = 0] = this.#recent.quantiles([0.5, 0.99], performance.now())
    return { p50, p99 }
  }

  /** The checks on their way are the last ones. */
  stop(): void {
    this.#isStopped = true
  }

  async run(): Promise<ChecksResult> {
    const { perSecond } = this.#options
    const startedAt = performance.now()
    try {
      const result = await runOpenLoop({
        dueAtMs: this.#timetable(),
        inFlightMax: IN_FLIGHT_MAX,
        patienceMs: PATIENCE_MS,
        clock: { now: () => performance.now(), until: waitUntil },
        send: async (n) => {
          const failure = await this.#check(n)
          const now = performance.now()
          this.#recent.add(now - startedAt - (n * 1_000) / perSecond, now)
          return failure
        }
      })
      return resultOf(result, this.#outcomes)
    } finally {
      await this.#pool.close()
    }
  }

  *#timetable(): Generator<number> {
    for (const dueAt of fixedPace(this.#options)) {
      if (this.#isStopped) return
      yield dueAt
    }
  }

  async #check(n: number): Promise<string | null> {
    try {
      const { status, chunks } = await this.#pool.post({
        path: '/v1/quota/check',
        headers: { authorization: `Bearer ${this.#options.api.key}`, 'content-type': 'application/json' },
        body: this.#bodies[n % this.#bodies.length] ?? ''
      })
      if (status === 503) this.#outcomes.unknown++
      else if (status !== 200) return String(status)
      else if (JSON.parse(Buffer.concat(chunks).toString()).allowed === true) this.#outcomes.allowed++
      else this.#outcomes.refused++
      return null
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error)
    }
  }
}

async function waitUntil(instant: number): Promise<void> {
  while (instant > performance.now()) await sleep(instant - performance.now())
}

/** Those who use most are asked for most. */
function bodiesOf({ customers, seed }: QuotaChecksOptions): readonly string[] {
  const random = new Random(seed)
  return Array.from({ length: 1_000 }, () =>
    JSON.stringify({
      customerId: customerName(random.skewed(customers)),
      model: 'gpt-5.1',
      tokens: { input: 1_000, output: 500 }
    })
  )
}

function resultOf({ requests, failures, latency }: OpenLoopResult, outcomes: CheckOutcomes): ChecksResult {
  return {
    checks: requests,
    ...outcomes,
    failures,
    p50Ms: latency.quantileMs(0.5),
    p99Ms: latency.quantileMs(0.99),
    p999Ms: latency.quantileMs(0.999),
    maxMs: latency.maxMs
  }
}
