/**
 * Runs our processes as an orchestrator would: each is started with this Node, restarted with a growing delay when it
 * ends unasked, and stopped in the reverse of the order of the starts. The demo and the fault tests kill through it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { projectFolder } from './machine/native-server.ts'
import { HopelessError, waitUntil } from './machine/wait-until.ts'

export interface ProcessDefinition {
  name: string
  /** Relative to the project, `api/main.ts` for instance. */
  entry: string
  environment: Readonly<Record<string, string>>
  /** Answers 200 once the process does its work. Without one, `readyLine` in the log says it. */
  readyUrl?: string
  readyLine?: RegExp
}

export interface SupervisorOptions {
  definitions: readonly ProcessDefinition[]
  /** One line that a process wrote, or that the supervisor says about it. */
  onLine: (name: string, line: string) => void
  /** False leaves a process that ended unasked down, for tests that look at what is left. */
  restarts?: boolean
  /** Starts each process again when a file that it imports changes, for whoever works on them. */
  watches?: boolean
}

interface Supervised {
  definition: ProcessDefinition
  child: ChildProcess | null
  /** False once the process was asked to stop: its end is then no accident. */
  isWanted: boolean
  sawReadyLine: boolean
  startedAt: number
  accidents: number
  restartTimer?: NodeJS.Timeout
}

const FIRST_RESTART_DELAY_MS = 200
const LONGEST_RESTART_DELAY_MS = 10_000
/** A process that lived this long starts over with the shortest delay. */
const STABLE_AFTER_MS = 30_000
/** A consumer drains for up to 25 s. */
const STOP_GRACE_MS = 30_000
const READY_TIMEOUT_MS = 60_000
const DEFAULT_READY_LINE = /\bready\b/i

export class Supervisor {
  readonly #supervised = new Map<string, Supervised>()
  readonly #startOrder: string[] = []
  readonly #onLine: SupervisorOptions['onLine']
  readonly #restarts: boolean
  readonly #nodeOptions: readonly string[]

  constructor({ definitions, onLine, restarts = true, watches = false }: SupervisorOptions) {
    this.#onLine = onLine
    this.#restarts = restarts
    this.#nodeOptions = ['--disable-warning=TimeoutNegativeWarning', ...(watches ? ['--watch'] : [])]
    for (const definition of definitions) {
      const fresh = { child: null, isWanted: false, sawReadyLine: false, startedAt: 0, accidents: 0 }
      this.#supervised.set(definition.name, { definition, ...fresh })
    }
  }

  get names(): string[] {
    return [...this.#supervised.keys()]
  }

  /** Null while the process is down. */
  pidOf(name: string): number | null {
    const { child } = this.#get(name)
    return isAlive(child) ? (child.pid ?? null) : null
  }

  /** Does nothing to a process that runs. */
  start(name: string): void {
    const supervised = this.#get(name)
    if (isAlive(supervised.child)) return
    clearTimeout(supervised.restartTimer)
    if (!this.#startOrder.includes(name)) this.#startOrder.push(name)
    supervised.isWanted = true
    this.#spawn(supervised)
  }

  /** An accident: whatever the signal ends is started again, unless this supervisor does not restart. */
  kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): void {
    const { child } = this.#get(name)
    if (isAlive(child)) child.kill(signal)
  }

  /** Resolves when the process does its work; rejects when it does not within a minute. */
  async waitReady(name: string): Promise<void> {
    const supervised = this.#get(name)
    await waitUntil(() => isReady(supervised), { what: `${name} to be ready`, timeoutMs: READY_TIMEOUT_MS })
  }

  /** An orderly end, awaited. Past 30 s the process is killed. */
  async stop(name: string): Promise<void> {
    const supervised = this.#get(name)
    supervised.isWanted = false
    clearTimeout(supervised.restartTimer)
    const { child } = supervised
    if (!isAlive(child)) return
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    const killer = setTimeout(() => {
      this.#onLine(name, `did not stop in ${STOP_GRACE_MS / 1000} s: killed`)
      child.kill('SIGKILL')
    }, STOP_GRACE_MS)
    await ended
    clearTimeout(killer)
  }

  /** One after the other, the last started first: the API stops taking events before the consumers drain. */
  async stopAll(): Promise<void> {
    for (const supervised of this.#supervised.values()) clearTimeout(supervised.restartTimer)
    for (const name of this.#startOrder.splice(0).reverse()) await this.stop(name)
  }

  #get(name: string): Supervised {
    const supervised = this.#supervised.get(name)
    if (supervised === undefined) throw new Error(`no process is named ${name}; there are ${this.names.join(', ')}`)
    return supervised
  }

  /** A process group of its own keeps a terminal's Ctrl-C from ending all of them at once, in no order. */
  #spawn(supervised: Supervised): void {
    const { name, entry, environment } = supervised.definition
    const child = spawn(process.execPath, [...this.#nodeOptions, entry], {
      cwd: projectFolder(),
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true
    })
    Object.assign(supervised, { child, sawReadyLine: false, startedAt: performance.now() })
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#hear(supervised, line))
    }
    child.once('error', (error) => this.#onLine(name, `could not be started: ${error.message}`))
    child.once('exit', (code, signal) => this.#noteEnd(supervised, signal ?? `code ${code}`))
  }

  #hear(supervised: Supervised, line: string): void {
    const { name, readyLine = DEFAULT_READY_LINE } = supervised.definition
    if (readyLine.test(line)) supervised.sawReadyLine = true
    this.#onLine(name, line)
  }

  #noteEnd(supervised: Supervised, how: string): void {
    const { name } = supervised.definition
    if (!supervised.isWanted || !this.#restarts) {
      this.#onLine(name, `ended (${how})`)
      return
    }
    if (performance.now() - supervised.startedAt > STABLE_AFTER_MS) supervised.accidents = 0
    const delayMs = Math.min(LONGEST_RESTART_DELAY_MS, FIRST_RESTART_DELAY_MS * 2 ** supervised.accidents++)
    this.#onLine(name, `ended unasked (${how}); starts again in ${delayMs} ms`)
    supervised.restartTimer = setTimeout(() => this.#spawn(supervised), delayMs)
  }
}

function isAlive(child: ChildProcess | null): child is ChildProcess {
  return child !== null && child.exitCode === null && child.signalCode === null
}

async function isReady({ child, definition, sawReadyLine, isWanted }: Supervised): Promise<boolean> {
  if (!isWanted) throw new HopelessError(`${definition.name} was asked to stop`)
  if (!isAlive(child)) return false
  if (definition.readyUrl === undefined) return sawReadyLine
  const answer = await fetch(definition.readyUrl, { signal: AbortSignal.timeout(2_000) })
  await answer.body?.cancel()
  return answer.status === 200
}
