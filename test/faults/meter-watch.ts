/** Reads the meter while things break, and notes each answer that can't be true: more than was ever sent, or less than is known. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RetryableError } from '../../domain/errors.ts'
import type { QuotaSide } from './quota-side.ts'

export interface MeterWatchOptions {
  readonly quota: QuotaSide
  /** Tokens that were handed to the producer so far, by customer: nothing beyond them can have been counted. */
  readonly sent: ReadonlyMap<string, number>
  /** A customer who has used up its limit, and how much that was: no answer may say less, or let it go on. */
  readonly spent: { readonly customerId: string; readonly tokens: number }
}

const PACE_MS = 20

export class MeterWatch {
  /** A sentence for each answer that was wrong. */
  readonly faults: string[] = []
  readonly answers = { known: 0, unknown: 0 }
  readonly #options: MeterWatchOptions
  #isWanted = false
  #running: Promise<void> = Promise.resolve()

  constructor(options: MeterWatchOptions) {
    this.#options = options
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
      const customers = [...this.#options.sent.keys()]
      const customerId = customers[i % customers.length]
      try {
        if (customerId !== undefined) await this.#lookAtTotal(customerId)
        await this.#checkSpent()
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
        this.answers.unknown++
      }
      await sleep(PACE_MS)
    }
  }

  async #lookAtTotal(customerId: string): Promise<void> {
    const counted = await this.#options.quota.report.customer(customerId)
    // Asked for after the answer came: what was sent meanwhile may be in it.
    const sent = this.#options.sent.get(customerId) ?? 0
    if (counted !== null && counted.total > sent)
      this.faults.push(`${customerId}: ${counted.total} tokens counted, ${sent} sent`)
  }

  async #checkSpent(): Promise<void> {
    const { quota, spent } = this.#options
    const standing = await quota.meter.check({
      customerId: spent.customerId,
      userId: '',
      model: 'model-a',
      tokens: null
    })
    if (!standing.known || standing.limits === null) {
      this.answers.unknown++
      return
    }
    this.answers.known++
    for (const { id, used, remaining, unknown } of standing.limits) {
      if (unknown === null && (used < spent.tokens || remaining > 0))
        this.faults.push(`${spent.customerId} ${id}: ${used} used, ${remaining} left, after ${spent.tokens}`)
    }
  }
}
