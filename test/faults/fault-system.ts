/** Tokenmeter on real services, for tests that kill: two meter consumers, an analytics consumer, and whatever store is to suffer. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Kafka } from 'kafkajs'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { Database } from '../../sql/connect.ts'
import { awaitDrained } from '../../stack/installation/await-drained.ts'
import { type Installation, makeInstallation } from '../../stack/installation/make-installation.ts'
import { findFreePort } from '../../stack/machine/ports.ts'
import { serviceUrls } from '../../stack/service-urls.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import { silentLogger } from '../topics.ts'
import { Load } from './load.ts'
import { type Finding, judge } from './oracle.ts'

interface Test {
  teardown(handler: () => Promise<void>): void
}

export interface FaultSystemOptions {
  readonly services?: Partial<ReturnType<typeof serviceUrls>>
  readonly environment?: Readonly<Record<string, string>>
  readonly meters?: number
  readonly eventsPerSecond?: number
}

const STANDSTILL_MAX_MS = 60_000
const ENDED = /^ended \((.+)\)$/

export class FaultSystem {
  readonly installation: Installation
  readonly environment: Readonly<Record<string, string>>
  readonly load: Load
  readonly supervisor: Supervisor
  readonly meters: readonly string[]
  /** How each process ended, in order, such as `meter-1 SIGKILL` and `meter-1 code 0`. */
  readonly ends: string[] = []
  readonly database: Database
  readonly admin: Admin
  readonly kafka: Kafka
  readonly #environments: ReadonlyMap<string, Record<string, string>>
  readonly #ports: ReadonlyMap<string, string>
  readonly #lines: string[] = []
  /** Points at which the next life of a process ends. */
  readonly #crashAt = new Map<string, string>()
  #restarts = true

  private constructor(parts: Parts) {
    this.installation = parts.installation
    this.environment = parts.environment
    this.meters = parts.meters
    this.#environments = parts.environments
    this.#ports = parts.ports
    this.kafka = createKafka(
      { brokers: (parts.environment.KAFKA_BROKERS ?? '').split(','), clientId: 'faults' },
      silentLogger
    )
    this.admin = this.kafka.admin()
    const databaseUrl = parts.environment.DATABASE_URL ?? ''
    this.database = new Database({
      databaseUrl,
      applicationName: 'tokenmeter-faults',
      connectionsMax: 2,
      role: 'login'
    })
    this.load = new Load(this.kafka, parts.installation.usageTopic, parts.eventsPerSecond)
    this.supervisor = new Supervisor({
      definitions: parts.definitions,
      restarts: false,
      onLine: (name, line) => this.#hear(name, line)
    })
  }

  static async start(t: Test, options: FaultSystemOptions = {}): Promise<FaultSystem> {
    const system = new FaultSystem(await plan(options))
    t.teardown(() => system.#close())
    for (const name of system.supervisor.names) system.supervisor.start(name)
    await Promise.all(system.supervisor.names.map((name) => system.supervisor.waitReady(name)))
    await system.admin.connect()
    await system.load.connect()
    return system
  }

  /** The process dies at once and is started again at once. */
  kill(name: string): void {
    this.supervisor.kill(name, 'SIGKILL')
  }

  /** The process dies now, and once more at the named point of its next life. */
  killAtPoint(name: string, crashAt: string): void {
    this.#crashAt.set(name, crashAt)
    this.supervisor.kill(name, 'SIGKILL')
  }

  kills(): number {
    return this.ends.filter((end) => end.endsWith('SIGKILL')).length
  }

  saw(pattern: RegExp): number {
    return this.#lines.filter((line) => pattern.test(line)).length
  }

  /** Writes that were refused to a process because another had moved on, by its own metrics. */
  fenced(name: string): Promise<number> {
    return this.#metric(name, 'tokenmeter_fenced_total')
  }

  /** Events that a process has counted since its start. */
  counted(name: string): Promise<number> {
    return this.#metric(name, 'tokenmeter_events_counted_total')
  }

  async #metric(name: string, metric: string): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.#ports.get(name)}/metrics`)
    const text = await answer.text()
    const values = text.matchAll(new RegExp(`^${metric}(?:\\{.*\\})? (\\d+)$`, 'gm'))
    return [...values].reduce((sum, [, value]) => sum + Number(value), 0)
  }

  /** Ends the load, waits until everything has its effect, and holds the stores against a replay of the log. */
  async verdict(): Promise<readonly Finding[]> {
    await this.load.pause()
    await awaitDrained({
      admin: this.admin,
      topic: this.installation.usageTopic,
      database: this.database,
      onProgress: () => undefined,
      standstillMaxMs: STANDSTILL_MAX_MS
    })
    return judge(this)
  }

  /** The last lines that the processes wrote, for a failing test. */
  lastLines(): readonly string[] {
    return this.#lines.filter((line) => /WARN|ERROR|warn|error|rror:/.test(line)).slice(-30)
  }

  #hear(name: string, line: string): void {
    this.#lines.push(`${name}: ${line}`)
    const how = ENDED.exec(line)?.[1]
    if (how === undefined) return
    this.ends.push(`${name} ${how}`)
    if (!this.#restarts || how === 'code 0') return
    // The next life ends at the point; the one after it does not.
    const environment = this.#environments.get(name)
    const crashAt = this.#crashAt.get(name)
    this.#crashAt.delete(name)
    if (environment !== undefined && crashAt !== undefined) environment.CRASH_AT = crashAt
    else delete environment?.CRASH_AT
    this.supervisor.start(name)
  }

  async #close(): Promise<void> {
    this.#restarts = false
    await this.load.close()
    for (const name of this.supervisor.names) this.supervisor.kill(name, 'SIGCONT')
    await this.supervisor.stopAll()
    await Promise.all([this.admin.disconnect(), this.database.close()])
    await this.installation.remove()
  }
}

interface Parts {
  readonly installation: Installation
  readonly environment: Readonly<Record<string, string>>
  readonly environments: ReadonlyMap<string, Record<string, string>>
  readonly ports: ReadonlyMap<string, string>
  readonly definitions: readonly ProcessDefinition[]
  readonly meters: readonly string[]
  readonly eventsPerSecond: number
}

async function plan(options: FaultSystemOptions): Promise<Parts> {
  const installation = await makeInstallation({ ...serviceUrls(), ...options.services }, 'faults')
  const environment = { ...installation.environment, FLUSH_INTERVAL_MS: '300', ...options.environment }
  const meters = Array.from({ length: options.meters ?? 2 }, (_, i) => `meter-${i + 1}`)
  const environments = new Map<string, Record<string, string>>()
  const ports = new Map<string, string>()
  const definitions: ProcessDefinition[] = []
  for (const name of [...meters, 'analytics']) {
    const port = String(await findFreePort())
    const own = { ...environment, CONSUMERS: name === 'analytics' ? 'analytics' : 'meter', METRICS_PORT: port }
    environments.set(name, own)
    ports.set(name, port)
    definitions.push({ name, entry: 'ingest/main.ts', environment: own, readyUrl: `http://127.0.0.1:${port}/livez` })
  }
  return {
    installation,
    environment,
    environments,
    ports,
    definitions,
    meters,
    eventsPerSecond: options.eventsPerSecond ?? 400
  }
}

/** Resolves when the condition holds; throws when it does not in time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await sleep(20)
  }
}
