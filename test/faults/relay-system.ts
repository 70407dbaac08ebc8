/** Relays that are killed while changes are committed, and what other services must have heard of those changes afterwards. */
import { randomUUIDv7 } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { PLATFORM } from '../../domain/change.ts'
import type { PublishedEvent } from '../../domain/published-event.ts'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { PostgresOutbox } from '../../sql/change/outbox-store.ts'
import { Database } from '../../sql/connect.ts'
import { EntityDatabase } from '../../sql/connect-slonik.ts'
import { migrate } from '../../sql/migrate.ts'
import { Random } from '../../stack/demo/random.ts'
import { type Installation, makeInstallation } from '../../stack/installation/make-installation.ts'
import { projectFolder } from '../../stack/machine/native-server.ts'
import { findFreePort } from '../../stack/machine/ports.ts'
import { serviceUrls } from '../../stack/service-urls.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import { silentLogger } from '../topics.ts'
import { until } from './fault-system.ts'

interface Test {
  teardown(handler: () => Promise<void>): void
}

const CUSTOMERS = 20
/** At once: changes of one customer meet on its chain. */
const WRITERS = 6
const PAUSE_MS = 20
const COMPILE_CACHE = join(projectFolder(), '.stack', 'compile-cache')
const ENDED = /^ended \((.+)\)$/

export class RelaySystem {
  readonly supervisor: Supervisor
  readonly writer: ChangeWriter
  readonly kafka: Kafka
  readonly outbox: PostgresOutbox
  readonly #installation: Installation
  readonly #database: Database
  readonly #environments: ReadonlyMap<string, Record<string, string>>
  /** By process: where its next lives end. */
  readonly #points = new Map<string, string[]>()
  readonly #lines: string[] = []
  #kills = 0
  #restarts = true
  /** Who last said that it has its turn. */
  #active: string | null = null

  private constructor(installation: Installation, definitions: readonly ProcessDefinition[]) {
    const { DATABASE_URL: databaseUrl = '', KAFKA_BROKERS = '' } = installation.environment
    this.#installation = installation
    this.#environments = new Map(definitions.map(({ name, environment }) => [name, environment]))
    this.#database = new Database({ databaseUrl, applicationName: 'tokenmeter-faults', connectionsMax: 2 })
    this.outbox = new PostgresOutbox(this.#database)
    this.writer = new ChangeWriter(databaseUrl)
    this.kafka = createKafka({ brokers: KAFKA_BROKERS.split(','), clientId: 'faults' }, silentLogger)
    this.supervisor = new Supervisor({
      definitions: [...definitions],
      restarts: false,
      onLine: (name, line) => this.#hear(name, line)
    })
  }

  /** The relays are planned, and started by whoever asks for them. */
  static async start(t: Test, relays: readonly string[]): Promise<RelaySystem> {
    const installation = await makeInstallation(serviceUrls(), 'relay')
    const definitions = await Promise.all(relays.map((name) => planRelay(name, installation)))
    const system = new RelaySystem(installation, definitions)
    t.teardown(() => system.#close())
    await migrate(installation.environment.DATABASE_URL ?? '', () => undefined)
    return system
  }

  get kills(): number {
    return this.#kills
  }

  /** Null while no relay has its turn, as far as they said. */
  get active(): string | null {
    return this.#active
  }

  /** The process dies at once and is started again at once. */
  kill(name: string): void {
    this.supervisor.kill(name, 'SIGKILL')
  }

  /** The process dies now, and once more at each of the named points, a life for each. */
  killAtPoints(name: string, points: readonly string[]): void {
    this.#points.set(name, [...points])
    this.supervisor.kill(name, 'SIGKILL')
  }

  lastLines(): readonly string[] {
    return this.#lines.slice(-30)
  }

  /** What other services hear, in the order of the topic: its events as they stand there, repeats too. */
  async heard(): Promise<readonly HeardEvent[]> {
    const topic = this.#installation.environment.EVENTS_TOPIC ?? ''
    const admin = this.kafka.admin()
    await admin.connect()
    const ends = await admin.fetchTopicOffsets(topic)
    await admin.disconnect()
    const total = ends.reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0)
    const heard: HeardEvent[] = []
    const consumer = this.kafka.consumer({ groupId: `${this.#installation.environment.KAFKA_GROUP_PREFIX}-listener` })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ message }) => {
        const { id, data } = JSON.parse(String(message.value))
        heard.push({ id, customerId: String(message.key), what: `${data.change}/${data.part}` })
      }
    })
    await until('the listener to have heard everything', () => heard.length >= total)
    await consumer.disconnect()
    return heard
  }

  /** Every event that was committed, in the order of commits, by the customers' audit trails. */
  async committed(): Promise<ReadonlyMap<string, readonly string[]>> {
    const rows = await this.#database.query<{ customer_id: string; id: string; parts: number }>('read the trails', {
      text: 'select customer_id, id, entity_id::integer as parts from audit_event order by customer_id, sequence'
    })
    const trails = Map.groupBy(rows, (row) => row.customer_id)
    return new Map(
      [...trails].map(([customerId, records]) => [
        customerId,
        records.flatMap(({ id, parts }) => Array.from({ length: parts }, (_, part) => `${id}/${part}`))
      ])
    )
  }

  #hear(name: string, line: string): void {
    this.#lines.push(`${name}: ${line}`)
    if (line.includes('the relay has its turn')) this.#active = name
    const how = ENDED.exec(line)?.[1]
    if (how === undefined) return
    if (this.#active === name) this.#active = null
    if (how === 'SIGKILL') this.#kills += 1
    if (!this.#restarts) return
    const environment = this.#environments.get(name)
    const crashAt = this.#points.get(name)?.shift()
    if (environment !== undefined && crashAt !== undefined) environment.CRASH_AT = crashAt
    else delete environment?.CRASH_AT
    this.supervisor.start(name)
  }

  async #close(): Promise<void> {
    this.#restarts = false
    await this.writer.close()
    await this.supervisor.stopAll()
    await this.#database.close()
    await this.#installation.remove()
  }
}

export interface HeardEvent {
  readonly id: string
  readonly customerId: string
  /** Change and part, as `committed` has them. */
  readonly what: string
}

async function planRelay(
  name: string,
  { environment }: Installation
): Promise<ProcessDefinition & { readonly environment: Record<string, string> }> {
  const port = String(await findFreePort())
  return {
    name,
    entry: 'ingest/main.ts',
    // Compiled once for all lives: half of what a start costs.
    environment: { ...environment, CONSUMERS: 'relay', METRICS_PORT: port, NODE_COMPILE_CACHE: COMPILE_CACHE },
    readyUrl: `http://127.0.0.1:${port}/livez`
  }
}

/** Commits changes of a few customers, some with two events, and rolls some back. */
class ChangeWriter {
  readonly #database: EntityDatabase
  readonly #random = new Random(11)
  #running: Promise<unknown> | null = null
  #isWanted = false
  /** Changes whose COMMIT was answered. */
  committed = 0
  rolledBack = 0

  constructor(databaseUrl: string) {
    this.#database = new EntityDatabase({ databaseUrl, applicationName: 'tokenmeter-writer', connectionsMax: WRITERS })
  }

  start(): void {
    this.#isWanted = true
    this.#running = Promise.all(Array.from({ length: WRITERS }, () => this.#run()))
  }

  /** Resolves when every change in hand was committed or rolled back. */
  async stop(): Promise<void> {
    this.#isWanted = false
    await this.#running
    this.#running = null
  }

  async close(): Promise<void> {
    await this.stop()
    await this.#database.close()
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      await this.#change(`customer-${this.#random.below(CUSTOMERS)}`)
      await sleep(this.#random.below(2 * PAUSE_MS))
    }
  }

  async #change(customerId: string): Promise<void> {
    const change = randomUUIDv7()
    const at = Date.now()
    const isRolledBack = this.#random.next() < 0.1
    const parts = this.#random.next() < 0.2 ? 2 : 1
    const audit = {
      id: change,
      customerId,
      actor: { kind: 'service', id: 'faults', address: null, requestId: null },
      action: 'customer.updated',
      entity: { kind: 'parts', id: String(parts) },
      before: null,
      after: null,
      at
    } as const
    const events: PublishedEvent[] = Array.from({ length: parts }, (_, part) => ({
      id: randomUUIDv7(),
      type: 'customer.updated',
      customerId,
      at,
      data: { change, part }
    }))
    // An id twice is refused once the audit record and the first event are written: all of it is rolled back.
    if (isRolledBack) events.push(...events.slice(0, 1))
    try {
      await this.#database.change({ reach: PLATFORM, audit: [audit], events, request: null }, 'change', nothingElse)
      this.committed += 1
    } catch (error) {
      if (!isRolledBack) throw error
      this.rolledBack += 1
    }
  }
}

async function nothingElse(): Promise<undefined> {
  return undefined
}
