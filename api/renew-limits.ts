/**
 * Keeps the meter's list of windows ahead of time, and puts in force what `PUT limits` could only store. Every API process runs
 * one: the store gives each due customer to one of them, and to another when nothing came of it within the lease.
 */
import type { FastifyBaseLogger } from 'fastify'
import type { LimitMeter, LimitStore } from '../domain/api-ports.ts'
import { RetryableError } from '../domain/errors.ts'
import { compileLimits } from '../domain/tokens/compile-limits.ts'

const INTERVAL_MS = 1_000
/** After this long a customer whose renewal failed is due again. */
const LEASE_MS = 10_000

export interface RenewalDependencies {
  readonly limitStore: LimitStore
  readonly limitMeter: Pick<LimitMeter, 'setLimits'>
  readonly now: () => number
  readonly logger: FastifyBaseLogger
}

export class LimitRenewal {
  readonly #dependencies: RenewalDependencies
  #timer: NodeJS.Timeout | null = null
  #running: Promise<unknown> = Promise.resolve()
  #isStopped = false

  constructor(dependencies: RenewalDependencies) {
    this.#dependencies = dependencies
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
    }, INTERVAL_MS)
  }

  /** Waits for the customer in hand. */
  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#running
  }

  async #round(): Promise<void> {
    const { logger } = this.#dependencies
    try {
      const renewed = await renewDue(this.#dependencies, () => this.#isStopped)
      if (renewed > 0) logger.info({ customers: renewed }, 'renewed limits')
    } catch (error) {
      // A defect in one round must not end the renewal: it is told each time until it is mended.
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ err: error }, 'limits wait for their renewal')
    }
    if (!this.#isStopped) this.start()
  }
}

/** Compiles and sets every customer that is due. Answers how many. Stops at the first that fails: the lease brings it back. */
export async function renewDue(
  dependencies: Omit<RenewalDependencies, 'logger'>,
  isStopped: () => boolean
): Promise<number> {
  const { limitStore, limitMeter, now } = dependencies
  const due = await limitStore.takeDue(now(), LEASE_MS)
  let renewed = 0
  for (const limits of due) {
    if (isStopped()) break
    const { compiled, renewAt } = compileLimits(limits, now())
    await limitMeter.setLimits(compiled)
    await limitStore.setRenewal(limits.customerId, limits.version, renewAt)
    renewed += 1
  }
  return renewed
}
