/**
 * One server process of this machine: started apart from its parent (it survives it), known by a record on disk, killed
 * and brought back on the same port with the same data. Kafka, Redis, PostgreSQL and ClickHouse each say how they are
 * launched, how they are asked whether they are ready, and what must stand on disk before.
 */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { findFreePort, isPortFree } from './ports.ts'
import {
  endProcess,
  findProcess,
  isRunning,
  type ProcessIdentity,
  signalProcess,
  waitForExit
} from './process-identity.ts'
import { HopelessError, waitUntil } from './wait-until.ts'

export interface ServerOptions {
  /** Where the server's data, log and record go, under names of their own. */
  folder: string
  /** Chosen among the free ones when absent, and kept from one start to the next. */
  port?: number
  /** Tells two servers of one kind in one folder apart. */
  name?: string
}

export interface Launch {
  command: string
  args: readonly string[]
  environment?: Readonly<Record<string, string>>
  user?: { uid: number; gid: number }
}

interface ServerRecord {
  process: ProcessIdentity | null
  port: number
  dataFolder: string
  kept: Record<string, string>
}

/** A broker is up in 4 s on an idle machine, in 20 s on two busy cores. */
const START_TIMEOUT_MS = 120_000
const STOP_GRACE_MS = 20_000
const LOG_TAIL_LINES = 15

export abstract class NativeServer {
  readonly name: string
  readonly logFile: string
  readonly #recordFile: string
  #process: ProcessIdentity | null = null
  #port: number | undefined
  #dataFolder: string
  #kept: Record<string, string> = {}
  #startedHere = false

  constructor({ folder, port, name }: ServerOptions, kind: string) {
    this.name = name ?? kind
    this.#port = port
    this.#dataFolder = resolve(folder, this.name)
    this.logFile = resolve(folder, 'logs', `${this.name}.log`)
    this.#recordFile = resolve(folder, `${this.name}.json`)
    this.#loadRecord()
  }

  protected abstract launch(): Launch
  /** Throws until the server does its work, not merely listens. */
  protected abstract probe(): Promise<void>
  abstract get url(): string

  /** What must stand on disk before a launch. */
  protected abstract prepare(): Promise<void>
  protected get stopSignal(): NodeJS.Signals {
    return 'SIGTERM'
  }
  /** True for a server that may have to be launched again while a killed predecessor's children let go of its data. */
  protected get retriesLaunch(): boolean {
    return false
  }

  get dataFolder(): string {
    return this.#dataFolder
  }

  /** Null when no process of ours runs. */
  get pid(): number | null {
    return this.#process !== null && isRunning(this.#process) ? this.#process.pid : null
  }

  get port(): number {
    if (this.#port === undefined) throw new Error(`${this.name} has no port before its first start`)
    return this.#port
  }

  /** Whether this object launched the process, rather than found it running. */
  get startedHere(): boolean {
    return this.#startedHere
  }

  /** Resolves when the server answers; one that runs already is kept, one that runs without answering is replaced. */
  async start(): Promise<void> {
    if (this.pid !== null) {
      if (await this.answers(5_000)) return
      await this.kill()
    }
    await this.#choosePort()
    mkdirSync(dirname(this.logFile), { recursive: true })
    mkdirSync(this.#dataFolder, { recursive: true })
    await this.prepare()
    try {
      await this.#launchUntilReady()
    } catch (error) {
      await this.kill()
      throw new Error(`${this.name} did not start; the end of ${this.logFile}:\n${this.#readLogTail()}`, {
        cause: error
      })
    }
  }

  /** Asks for an orderly end and waits for it; after 20 s the process is killed. */
  async stop(): Promise<void> {
    if (this.#process !== null) await endProcess(this.#process, this.stopSignal, STOP_GRACE_MS)
    this.#forgetProcess()
  }

  /** Sends a signal. SIGKILL is waited for: when this resolves, the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#process === null) return
    signalProcess(this.#process, signal)
    if (signal !== 'SIGKILL') return
    if (!(await waitForExit(this.#process, 5_000))) throw new Error(`${this.name} outlived SIGKILL by 5 s`)
    this.#forgetProcess()
  }

  async answers(timeoutMs: number): Promise<boolean> {
    try {
      await waitUntil(() => this.#becomesReady(), { what: `${this.name} to answer`, timeoutMs })
      return true
    } catch {
      return false
    }
  }

  /** Stops the server and removes everything it kept. */
  async wipe(): Promise<void> {
    await this.stop()
    for (const path of [this.#dataFolder, this.#recordFile, this.logFile])
      rmSync(path, { recursive: true, force: true })
  }

  protected moveData(dataFolder: string): void {
    this.#dataFolder = dataFolder
    mkdirSync(dataFolder, { recursive: true })
  }

  /** A value made once and found again by every later start: a password, a second port. */
  protected recall(key: string): string | undefined {
    return this.#kept[key]
  }

  protected remember(key: string, value: string): string {
    this.#kept[key] = value
    this.#saveRecord()
    return value
  }

  async #choosePort(): Promise<void> {
    if (this.#port !== undefined) {
      const port = this.#port
      const free = await waitUntil(() => isPortFree(port), { what: `port ${port}`, timeoutMs: 3_000 }).catch(
        () => false
      )
      if (free) return
      if (this.#startedHere) throw new Error(`${this.name} must come back on port ${port}, which is in use`)
    }
    this.#port = await findFreePort()
    this.#saveRecord()
  }

  async #launchUntilReady(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS
    for (;;) {
      this.#spawn()
      try {
        const timeoutMs = Math.max(0, deadline - performance.now())
        await waitUntil(() => this.#becomesReady(), { what: `${this.name} to be ready`, timeoutMs })
        return
      } catch (error) {
        const again = this.retriesLaunch && error instanceof HopelessError && performance.now() < deadline
        if (!again) throw error
      }
    }
  }

  async #becomesReady(): Promise<true> {
    if (this.pid === null) throw new HopelessError(`${this.name} ended before it was ready`)
    await this.probe()
    return true
  }

  #spawn(): void {
    const { command, args, environment, user } = this.launch()
    const log = openSync(this.logFile, 'a')
    try {
      const child = spawn(command, args, {
        cwd: this.#dataFolder,
        detached: true,
        stdio: ['ignore', log, log],
        env: { ...process.env, ...environment },
        ...user
      })
      child.on('error', (error) => writeFileSync(this.logFile, `${String(error)}\n`, { flag: 'a' }))
      child.unref()
      this.#startedHere = true
      this.#process = child.pid === undefined ? null : findProcess(child.pid)
      this.#saveRecord()
    } finally {
      closeSync(log)
    }
  }

  #forgetProcess(): void {
    this.#process = null
    this.#saveRecord()
  }

  #loadRecord(): void {
    let text: string
    try {
      text = readFileSync(this.#recordFile, 'utf8')
    } catch {
      return
    }
    const record: ServerRecord = JSON.parse(text)
    this.#process = record.process
    this.#port ??= record.port
    this.#dataFolder = record.dataFolder
    this.#kept = record.kept
  }

  /** Readable by its owner alone: it holds the database's password. */
  #saveRecord(): void {
    if (this.#port === undefined) return
    const record: ServerRecord = {
      process: this.#process,
      port: this.#port,
      dataFolder: this.#dataFolder,
      kept: this.#kept
    }
    mkdirSync(dirname(this.#recordFile), { recursive: true })
    writeFileSync(this.#recordFile, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 })
    chmodSync(this.#recordFile, 0o600)
  }

  #readLogTail(): string {
    try {
      return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n')
    } catch {
      return '(no log was written)'
    }
  }
}

export function projectFolder(): string {
  return join(import.meta.dirname, '..', '..')
}
