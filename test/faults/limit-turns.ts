/** Sets limits of customers in turn while usage flows, so that counters begin, wait for the ledger, and go away again. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RetryableError } from '../../domain/errors.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { CUSTOMERS } from './load.ts'
import { limitOf, type QuotaSide, windowAroundNow } from './quota-side.ts'

const PACE_MS = 150
const MAX = 1_000_000_000

/** Each turn leaves out counters of the one before and begins others. */
const TURNS: readonly (() => readonly Limit[])[] = [
  () => [
    limitOf({ id: 'period', window: windowAroundNow(), max: MAX }),
    limitOf({ id: 'day', window: { kind: 'day' }, max: MAX })
  ],
  () => [
    limitOf({ id: 'period', window: windowAroundNow(), max: MAX + 1 }),
    limitOf({ id: 'each-user', scope: { kind: 'each-user' }, window: { kind: 'month' }, max: MAX })
  ],
  () => [
    limitOf({ id: 'rolling', window: { kind: 'rolling', hours: 2 }, max: MAX }),
    limitOf({ id: 'model', scope: { kind: 'model', model: 'model-a' }, window: { kind: 'hour' }, max: MAX })
  ]
]

export class LimitTurns {
  #count = 0
  readonly #quota: QuotaSide
  #isWanted = false
  #running: Promise<void> = Promise.resolve()

  constructor(quota: QuotaSide) {
    this.#quota = quota
  }

  /** Limits that the meter took. */
  get count(): number {
    return this.#count
  }

  start(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#running
  }

  async #run(): Promise<void> {
    for (let i = 0; this.#isWanted; i++) {
      const turn = TURNS[Math.floor(i / CUSTOMERS) % TURNS.length]
      try {
        await this.#quota.setLimits(`customer-${i % CUSTOMERS}`, turn?.() ?? [])
        this.#count++
      } catch (error) {
        // The meter is away or under repair: the store has the limits, and a repair or a later turn brings them.
        if (!(error instanceof RetryableError)) throw error
      }
      await sleep(PACE_MS)
    }
  }
}
