/** Work that every API process does again and again beside its requests, one round after the other. */
import type { FastifyBaseLogger } from 'fastify'
import { RetryableError } from '../domain/errors.ts'

export interface RoundsOptions {
  /** Between the end of a round and the next one. */
  readonly intervalMs: number
  /** Looks at `isStopped` between one piece of work and the next. */
  readonly work: (isStopped: () => boolean) => Promise<void>
  /** What is told of a round that failed: what waits for the next one. */
  readonly waiting: string
  readonly logger: Pick<FastifyBaseLogger, 'warn' | 'error'>
}

export class Rounds {
  readonly #options: RoundsOptions
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(options: RoundsOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
    }, this.#options.intervalMs)
  }

  /** Waits for the piece of work in hand. */
  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#running
  }

  async #round(): Promise<void> {
    const { work, waiting, logger } = this.#options
    try {
      await work(() => this.#isStopped)
    } catch (error) {
      // A defect in one round must not end the rounds: it is told each time until it is mended.
      const level = error instanceof RetryableError ? 'warn' : 'error'
      logger[level]({ err: error }, waiting)
    }
    if (!this.#isStopped) this.start()
  }
}
