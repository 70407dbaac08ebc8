/**
 * The end of a process. As it starts, each thing that has to be stopped adds a step; SIGTERM or SIGINT runs the steps from
 * the last to the first. A step that fails is logged and the others still run. Exit code 0: every step was done in time;
 * 1: a step failed, the deadline passed, a defect asked for the end, or a second signal came, which waits for nothing.
 */
export const SHUTDOWN_DEADLINE_MS = 25_000

/** What the end of a process asks of a logger; pino's has it. */
export interface ShutdownLogger {
  info(fields: object, message: string): void
  error(fields: object, message: string): void
}

export interface ShutdownOptions {
  readonly logger: ShutdownLogger
  /** Orchestrators kill after 30 s: this leaves them a margin. */
  readonly deadlineMs?: number
}

export class Shutdown {
  readonly #logger: ShutdownLogger
  readonly #deadlineMs: number
  readonly #steps: { readonly name: string; readonly run: () => unknown }[] = []
  #isBegun = false

  /** Listens to the signals from now on. One a process. */
  constructor({ logger, deadlineMs = SHUTDOWN_DEADLINE_MS }: ShutdownOptions) {
    this.#logger = logger
    this.#deadlineMs = deadlineMs
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#receive(signal))
  }

  /** A readiness check asks: from the first signal on, no new work should come. */
  get isBegun(): boolean {
    return this.#isBegun
  }

  /** `step` may be asynchronous. Steps added later run earlier. */
  add(name: string, step: () => unknown): void {
    this.#steps.push({ name, run: step })
  }

  /** A defect was met: the process ends with 1, but lets go of what it holds. Further calls change nothing. */
  fail(error: Error): void {
    this.#logger.error({ err: error }, 'a defect ends the process')
    if (!this.#isBegun) this.#begin(1)
  }

  #receive(signal: NodeJS.Signals): void {
    if (this.#isBegun) {
      this.#logger.error({ signal }, 'second signal: ends at once')
      process.exit(1)
    }
    this.#logger.info({ signal }, 'stops')
    this.#begin(0)
  }

  #begin(code: 0 | 1): void {
    this.#isBegun = true
    this.#runSteps(code).then(
      (exitCode) => process.exit(exitCode),
      (error: unknown) => {
        this.#logger.error({ err: error }, 'the shutdown itself failed')
        process.exit(1)
      }
    )
  }

  async #runSteps(code: 0 | 1): Promise<number> {
    let exitCode: number = code
    let current = ''
    const deadline = setTimeout(() => {
      this.#logger.error({ step: current, deadlineMs: this.#deadlineMs }, 'did not stop in time')
      process.exit(1)
    }, this.#deadlineMs)
    for (const { name, run } of this.#steps.toReversed()) {
      current = name
      try {
        await run()
      } catch (error) {
        exitCode = 1
        this.#logger.error({ err: error, step: name }, 'a step of the shutdown failed')
      }
    }
    clearTimeout(deadline)
    this.#logger.info({ exitCode }, 'stopped')
    return exitCode
  }
}
