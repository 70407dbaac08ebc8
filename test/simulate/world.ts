/**
 * Where one history takes place: its clock, its chance, its processes. A process is a run of the product's own code; each call
 * of a port waits here until the seeded scheduler picks it, and takes effect in one step. So between any two calls a process
 * may die (its calls never resolve), freeze, or be overtaken by all others, and one seed is one history.
 */
import { RetryableError } from '../../domain/errors.ts'
import type { Random } from './random.ts'

/** What becomes of a call: it fails without effect, takes effect without an answer, or is answered. */
type Fate = 'fails' | 'loses its answer' | 'answers'

interface Call {
  readonly process: SimulatedProcess
  readonly what: string
  readonly notBefore: number
  readonly mayFail: boolean
  readonly take: (fate: Fate) => Promise<void>
}

export interface CallOptions {
  /** Steps that pass at least before the call takes effect. */
  readonly delaySteps?: number
  /** What its failure looks like; null: it never fails. */
  readonly failure?: (() => Error) | null
}

const FAILS = 0.006
const LOSES_ITS_ANSWER = 0.006

export class SimulatedProcess {
  readonly world: World
  readonly name: string
  isAlive = true
  /** Asked to flush and return. */
  isStopping = false
  /** None of its calls is picked before this step. */
  frozenUntil = 0

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
  }

  /** Resolves with what `run` answers in the step that the scheduler chose for it; never when the process was killed before. */
  call<T>(what: string, run: () => T | Promise<T>, options: CallOptions = {}): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const { delaySteps = 0, failure = lostAnswer } = options
    const take = async (fate: Fate): Promise<void> => {
      try {
        if (fate === 'fails') throw failure?.()
        const answer = await run()
        if (fate === 'loses its answer') throw failure?.()
        resolve(answer)
      } catch (error) {
        reject(error)
      }
    }
    if (this.isAlive)
      this.world.wait({ process: this, what, notBefore: this.world.step + delaySteps, mayFail: failure !== null, take })
    return promise
  }

  /** Lets some steps pass. */
  rest(steps: number): Promise<void> {
    return this.call('rest', () => undefined, { delaySteps: steps, failure: null })
  }
}

function lostAnswer(): Error {
  return new RetryableError('store-unavailable', 'the simulated store did not answer')
}

export class World {
  readonly random: Random
  readonly stepMs: number
  readonly processes: SimulatedProcess[] = []
  /** What was found wrong on the way. */
  readonly wrong: string[] = []
  /** Called when a process is gone: what its sessions held is freed. */
  readonly onEnd: ((process: SimulatedProcess) => void)[] = []
  readonly #tell: ((line: string) => void) | null
  step = 0
  /** While it lasts, stores fail now and then. */
  isChaos = true
  /** Milliseconds since the epoch. */
  now: number
  #calls: Call[] = []

  constructor(options: { random: Random; startMs: number; stepMs: number; tell: ((line: string) => void) | null }) {
    this.random = options.random
    this.stepMs = options.stepMs
    this.now = options.startMs
    this.#tell = options.tell
  }

  /** Starts a process, which lives until its loop returns or it is ended. */
  start(name: string, loop: (process: SimulatedProcess) => Promise<void>): SimulatedProcess {
    const process = new SimulatedProcess(this, name)
    this.processes.push(process)
    loop(process).then(
      () => this.end(process),
      (error: unknown) => {
        this.wrong.push(`${name} threw ${error instanceof Error ? error.stack : String(error)}`)
        this.end(process)
      }
    )
    return process
  }

  /** kill -9: no call of it takes effect any more, and none resolves. */
  end(process: SimulatedProcess): void {
    if (!process.isAlive) return
    process.isAlive = false
    this.processes.splice(this.processes.indexOf(process), 1)
    this.#calls = this.#calls.filter((call) => call.process !== process)
    for (const listener of this.onEnd) listener(process)
  }

  wait(call: Call): void {
    this.#calls.push(call)
  }

  tell(line: string): void {
    this.#tell?.(`${this.step} ${line}`)
  }

  /** One step: one call takes effect, and its process runs on to its next calls. */
  async advance(): Promise<void> {
    this.step++
    this.now += this.stepMs
    const ready = this.#calls.filter(
      ({ notBefore, process }) => notBefore <= this.step && process.frozenUntil <= this.step
    )
    if (ready.length === 0) return
    const call = this.random.pick(ready)
    this.#calls.splice(this.#calls.indexOf(call), 1)
    const fate = this.#fateOf(call)
    if (call.what !== 'rest') this.tell(`${call.process.name}: ${call.what}${fate === 'answers' ? '' : ` ${fate}`}`)
    await call.take(fate)
    await settled()
  }

  #fateOf({ mayFail }: Call): Fate {
    if (!this.isChaos || !mayFail) return 'answers'
    const dice = this.random.next()
    if (dice < FAILS) return 'fails'
    return dice < FAILS + LOSES_ITS_ANSWER ? 'loses its answer' : 'answers'
  }
}

/** Resolves when every promise that could be settled is: the event loop turns only then. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
