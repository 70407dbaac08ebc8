/** The whole of tokenmeter for one test file: an installation of its own on the running services, its real processes, and clients. */
import type { Producer } from 'kafkajs'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { Database } from '../../sql/connect.ts'
import { awaitDrained } from '../../stack/installation/await-drained.ts'
import { makeInstallation } from '../../stack/installation/make-installation.ts'
import { findFreePort } from '../../stack/machine/ports.ts'
import { planProcesses } from '../../stack/processes.ts'
import { serviceUrls } from '../../stack/service-urls.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import { silentLogger } from '../topics.ts'
import { ApiCaller } from './api-caller.ts'
import { LedgerReader } from './ledger-reader.ts'

/** What a test hands over so that it can be cleaned up after. */
interface Test {
  teardown(handler: () => Promise<void>): void
  passing(): boolean
  comment(text: string): void
}

export interface SystemOptions {
  /** Above the installation's own, for every process. */
  readonly environment?: Readonly<Record<string, string>>
  /** Where the services are, when not where the stack has them. */
  readonly services?: Partial<ReturnType<typeof serviceUrls>>
  /** How many API processes run side by side. */
  readonly apis?: number
}

export interface System {
  /** Of every process and command of this installation. */
  readonly environment: Readonly<Record<string, string>>
  readonly usageTopic: string
  readonly supervisor: Supervisor
  readonly api: ApiCaller
  /** All of them; `api` is the first. */
  readonly apis: readonly ApiCaller[]
  /** To run another one beside them. */
  readonly apiProcess: ProcessDefinition
  readonly producer: Producer
  readonly ledger: LedgerReader
  /** Resolves when the ledger and ClickHouse have every record that the log has now. */
  drained(): Promise<void>
}

const STANDSTILL_MAX_MS = 30_000
const LINES_TOLD = 40

export async function startSystem(t: Test, options: SystemOptions = {}): Promise<System> {
  const urls = { ...serviceUrls(), ...options.services }
  const installation = await makeInstallation(urls, 'e2e')
  t.teardown(() => installation.remove())
  const faster = { FLUSH_INTERVAL_MS: '250' }
  const environment: Readonly<Record<string, string>> = {
    ...installation.environment,
    ...faster,
    ...options.environment
  }
  const { supervisor, apis, apiProcess } = await startProcesses(t, environment, options.apis ?? 1)
  const [api] = apis
  if (api === undefined) throw new Error('a system has at least one API')
  const kafka = createKafka({ brokers: urls.KAFKA_BROKERS.split(','), clientId: 'tokenmeter-e2e' }, silentLogger)
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  const admin = kafka.admin()
  const database = new Database({
    databaseUrl: environment.DATABASE_URL ?? '',
    applicationName: 'tokenmeter-e2e',
    connectionsMax: 2
  })
  t.teardown(async () => {
    await Promise.all([producer.disconnect(), admin.disconnect(), database.close()])
  })
  await Promise.all([producer.connect(), admin.connect()])
  const topic = installation.usageTopic
  const drain = { admin, topic, database, onProgress: () => undefined, standstillMaxMs: STANDSTILL_MAX_MS }
  const drained = (): Promise<void> => awaitDrained(drain)
  const ledger = new LedgerReader(database)
  return { environment, usageTopic: topic, supervisor, api, apis, apiProcess, producer, ledger, drained }
}

async function startProcesses(
  t: Test,
  environment: Readonly<Record<string, string>>,
  apiCount: number
): Promise<{ supervisor: Supervisor; apis: ApiCaller[]; apiProcess: ProcessDefinition }> {
  const plan = await planProcesses(serviceUrls(), environment)
  const key = plan.apiKey
  if (key === null) throw new Error('API_KEYS is set, so the tests have no key of their own: unset it')
  const definitions = [...plan.definitions]
  const urls = [plan.apiUrl]
  const first = definitions.find(({ name }) => name === 'api')
  if (first === undefined) throw new Error('the plan of processes has no API')
  while (urls.length < apiCount) {
    const { definition, url } = await anotherApi(first, urls.length + 1)
    definitions.push(definition)
    urls.push(url)
  }
  const told: string[] = []
  const supervisor = new Supervisor({ definitions, onLine: (name, line) => told.push(`${name}: ${line}`) })
  t.teardown(async () => {
    await supervisor.stopAll()
    if (!t.passing()) for (const line of told.filter(isTrouble).slice(-LINES_TOLD)) t.comment(line)
  })
  // A test file that throws outside of its tests ends without a teardown: nothing may outlive it.
  process.once('exit', () => {
    for (const { name } of definitions) supervisor.kill(name, 'SIGKILL')
  })
  for (const { name } of definitions) supervisor.start(name)
  await Promise.all(definitions.map(({ name }) => supervisor.waitReady(name)))
  return { supervisor, apis: urls.map((url) => new ApiCaller(url, key)), apiProcess: first }
}

/** As `api` but on a port of its own. */
export async function anotherApi(
  api: ProcessDefinition,
  number: number
): Promise<{ definition: ProcessDefinition; url: string }> {
  const port = String(await findFreePort())
  const url = `http://127.0.0.1:${port}`
  const environment = { ...api.environment, API_PORT: port }
  return { definition: { ...api, name: `api-${number}`, environment, readyUrl: `${url}/readyz` }, url }
}

/** What a process said that was no plain log line of everyday work. */
function isTrouble(line: string): boolean {
  return !line.includes('{"') || /"level":"(warn|error|fatal)"/.test(line)
}
