/** Asks where users' limits stand, all the while, and notes every answer that leaves usage out without saying so. */
import { setTimeout as delay } from 'node:timers/promises'
import { type ApiCaller, type LimitTold, type ProblemTold, told } from './api-caller.ts'

export interface WatchOptions {
  readonly api: ApiCaller
  readonly customerId: string
  readonly users: readonly string[]
  /** What a user has certainly used: an answer that claims to be whole is not below what this said before it was asked for. */
  readonly usedAtLeast: (userId: string) => number
  /** And not above what this says after it. */
  readonly usedAtMost: (userId: string) => number
}

/** Several at a time, so that a moment of a few milliseconds is seen. */
const CALLERS = 3
const PACE_MS = 2

export class StandingWatch {
  /** Answers by what they said: `known`, `seeding`, why the meter could not know, or `unknown-customer`. */
  readonly answers = new Map<string, number>()
  /** A sentence for each answer that was wrong. */
  readonly faults: string[] = []
  readonly #options: WatchOptions
  #isWanted = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(options: WatchOptions) {
    this.#options = options
  }

  start(): void {
    this.#isWanted = true
    this.#running = Promise.all(Array.from({ length: CALLERS }, (_, caller) => this.#run(caller)))
  }

  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#running
  }

  /** Answers of one kind so far. */
  count(kind: string): number {
    return this.answers.get(kind) ?? 0
  }

  async #run(caller: number): Promise<void> {
    for (let i = caller; this.#isWanted; i++) {
      await this.#look(this.#options.users[i % this.#options.users.length] ?? '')
      await delay(PACE_MS)
    }
  }

  async #look(userId: string): Promise<void> {
    const { api, customerId, usedAtLeast, usedAtMost } = this.#options
    const least = usedAtLeast(userId)
    const answer = await api.balance(customerId, userId)
    const most = usedAtMost(userId)
    if (answer.status !== 200) {
      const { code, why } = told<ProblemTold>(answer)
      this.#note(why ?? code)
      if (answer.status !== 503 && code !== 'unknown-customer')
        this.faults.push(`${userId}: the balance answered ${answer.status} ${code}`)
      return
    }
    for (const limit of told<{ limits: readonly LimitTold[] }>(answer).limits) {
      this.#note(limit.unknown ?? 'known')
      // Nobody's limit but this user's and everybody's is told.
      const isOthers = limit.id !== 'each-user' && limit.id !== `only-${userId}`
      if (limit.unknown !== null || isOthers) continue
      if (limit.used < least) this.faults.push(`${userId} ${limit.id}: ${limit.used} leaves out some of ${least}`)
      if (limit.used > most) this.faults.push(`${userId} ${limit.id}: ${limit.used} of ${most} that were sent`)
    }
  }

  #note(kind: string): void {
    this.answers.set(kind, this.count(kind) + 1)
  }
}
