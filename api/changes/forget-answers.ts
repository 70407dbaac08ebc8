/** Removes answers that nobody repeats any more. Every API process runs one: what another has removed is no longer there. */
import type { FastifyBaseLogger } from 'fastify'
import type { IdempotencyStore } from '../../domain/change.ts'
import { RetryableError } from '../../domain/errors.ts'

/** A client that has not tried again within a day asks anew. */
const KEPT_MS = 86_400_000
const INTERVAL_MS = 600_000

export interface ForgettingDependencies {
  readonly idempotencyStore: Pick<IdempotencyStore, 'forget'>
  readonly now: () => number
  readonly logger: FastifyBaseLogger
}

export class AnswerForgetting {
  readonly #dependencies: ForgettingDependencies
  #timer: NodeJS.Timeout | null = null
  #running: Promise<unknown> = Promise.resolve()
  #isStopped = false

  constructor(dependencies: ForgettingDependencies) {
    this.#dependencies = dependencies
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
    }, INTERVAL_MS)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#running
  }

  async #round(): Promise<void> {
    const { logger } = this.#dependencies
    try {
      const forgotten = await forgetOld(this.#dependencies, () => this.#isStopped)
      if (forgotten > 0) logger.info({ answers: forgotten }, 'forgot old answers')
    } catch (error) {
      // Old answers do no harm but for the room they take: the next round tries again.
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ err: error }, 'old answers stay for now')
    }
    if (!this.#isStopped) this.start()
  }
}

/** Statement after statement until one finds nothing. Answers how many went. */
export async function forgetOld(
  { idempotencyStore, now }: Omit<ForgettingDependencies, 'logger'>,
  isStopped: () => boolean
): Promise<number> {
  let forgotten = 0
  while (!isStopped()) {
    const removed = await idempotencyStore.forget(now() - KEPT_MS)
    if (removed === 0) break
    forgotten += removed
  }
  return forgotten
}
