/**
 * `npm run demo [-- --events N | --trace FILE] [--json]`: brings everything up, meters an hour of real traffic (or N made
 * events) with repeats, contradictions, late and broken records in it, kills the meter consumer on the way, shows that nothing was
 * lost or counted twice, and bills it: each invoice as the demo itself reckons it. Exit code 1 when something was not so.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import type { UncountedReason } from '../../domain/tokens/usage-event.ts'
import { reconcileStores } from '../../ingest/commands/reconcile-command.ts'
import { createKafka } from '../../ingest/kafkajs/kafka-client.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresLedgerReport } from '../../sql/ledger-report.ts'
import { billCustomers, DEMO_TAX_RATES } from '../demo/bill.ts'
import { makeCalls, readTrace } from '../demo/calls.ts'
import { type Enrolment, enrolCustomers, findPlanFaults } from '../demo/customers.ts'
import type { DemoApi } from '../demo/demo-api.ts'
import { type Account, demoRecords, newAccount } from '../demo/events.ts'
import { LIMITED_CUSTOMERS, setLimits } from '../demo/limits.ts'
import { QuotaProbe } from '../demo/probe.ts'
import { Random } from '../demo/random.ts'
import { sendAll } from '../demo/send.ts'
import { type DemoResult, toJson, toPage } from '../demo/summary.ts'
import { driftOf, findFaults } from '../demo/verdict.ts'
import { awaitDrained } from '../installation/await-drained.ts'
import { type Installation, makeInstallation } from '../installation/make-installation.ts'
import { projectFolder } from '../machine/native-server.ts'
import { createProgress } from '../machine/progress.ts'
import { planProcesses } from '../processes.ts'
import { stackFolder, startServices } from '../services.ts'
import { Supervisor } from '../supervisor.ts'
import { keepProcessLog } from './process-log.ts'

const TRACE = join(projectFolder(), 'bench/traces/azure-llm-inference-2023-conversation.csv')
const SEED = 20_231_116

interface Choice {
  readonly events?: number
  readonly trace: string
  readonly json?: boolean
}

const choice = new Command('demo')
  .option('--events <number>', 'so many made events instead of a trace', (text) => {
    if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`--events ${text}: not a number of events from 1 to 999999999`)
    return Number(text)
  })
  .option('--trace <file>', 'a CSV with TIMESTAMP, ContextTokens, GeneratedTokens', TRACE)
  .option('--json', 'print one JSON object at the end')
  .parse()
  .opts<Choice>()
const progress = createProgress()
const services = await startServices({ onProgress: progress })
try {
  const installation = await makeInstallation(services.urls, 'demo')
  try {
    const result = await runDemo(installation)
    console.log(choice.json ? JSON.stringify(toJson(result)) : toPage(result))
    process.exitCode = result.faults.length > 0 || result.drift !== 0n ? 1 : 0
  } finally {
    await installation.remove()
  }
} finally {
  await services.stop()
}

async function runDemo(installation: Installation): Promise<DemoResult> {
  const { definitions, apiUrl, apiKey } = await planProcesses(services.urls, environmentOf(installation))
  if (apiKey === null) throw new Error('API_KEYS is set, so the demo has no key of its own: unset it')
  const names = definitions.map(({ name }) => name)
  const log = keepProcessLog(names, 'demo.log')
  const supervisor = new Supervisor({ definitions, onLine: log.onLine })
  try {
    for (const { name } of definitions) supervisor.start(name)
    await Promise.all(definitions.map(({ name }) => supervisor.waitReady(name)))
    progress(`meter, analytics, billing and API run; API ${apiUrl}`)
    const api = { url: apiUrl, key: apiKey }
    const enrolment = await enrolCustomers(api)
    progress(
      `${enrolment.subscriptions} customers with ${enrolment.users} users have subscribed to ${enrolment.plans} plans`
    )
    await setLimits(api, enrolment.customers)
    progress(`${LIMITED_CUSTOMERS} of them have limits of their own`)
    return await meterTraffic({ installation, supervisor, api, enrolment })
  } finally {
    await supervisor.stopAll()
    log.end()
  }
}

function environmentOf({ environment }: Installation): Readonly<Record<string, string>> {
  return { ...environment, BILLING_TAX_RATES: DEMO_TAX_RATES }
}

interface Run {
  readonly installation: Installation
  readonly supervisor: Supervisor
  readonly api: DemoApi
  readonly enrolment: Enrolment
}

async function meterTraffic(run: Run): Promise<DemoResult> {
  const { installation, supervisor, api, enrolment } = run
  const { KAFKA_BROKERS = '', DATABASE_URL = '' } = installation.environment
  const logger = createLogger({ name: 'demo', level: 'error' })
  const kafka = createKafka({ brokers: KAFKA_BROKERS.split(','), clientId: 'demo' }, logger)
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  const admin = kafka.admin()
  const database = new Database({ databaseUrl: DATABASE_URL, applicationName: 'tokenmeter-demo', connectionsMax: 2 })
  await Promise.all([producer.connect(), admin.connect()])
  const account = newAccount()
  const random = new Random(SEED)
  const now = Date.now()
  const calls = choice.events === undefined ? await readTrace(choice.trace, now) : makeCalls(choice.events, now, random)
  const expected = choice.events ?? (Array.isArray(calls) ? calls.length : 0)
  const bar = progressBar(expected)
  const { customers } = enrolment
  const limited = customers.slice(0, LIMITED_CUSTOMERS)
  const probe = new QuotaProbe({ api, customerIds: limited.map(({ id }) => id) })
  let killed = 0
  let repeatsInBatch = 0
  const startedAt = performance.now()
  try {
    probe.start()
    repeatsInBatch = await sendAll(demoRecords({ calls, customers, random }, account), {
      producer,
      topic: installation.usageTopic,
      api,
      onSent: (records) => {
        bar.update(records / 2)
        if (killed > 0 || records < expected / 2) return
        killed++
        supervisor.kill('meter', 'SIGKILL')
      }
    })
    progress(`${account.sent} records sent, the meter consumer killed ${killed} time on the way`)
    await awaitDrained({
      admin,
      topic: installation.usageTopic,
      database,
      onProgress: (done, all) => bar.update((all + done) / 2)
    })
  } finally {
    bar.stop()
  }
  const seconds = (performance.now() - startedAt) / 1_000
  const probed = await probe.stop()
  const peakMemoryMiB = peakMemory(supervisor)
  progress('everything counted; reconciling')
  const result = await judge({ account, repeatsInBatch }, installation, new PostgresLedgerReport(database))
  const planFaults = await findPlanFaults(api, customers, account.byPeriod)
  progress('a month is over: billing it')
  const environment = environmentOf(installation)
  const billed = await billCustomers({ api, environment, customers, account, folder: join(stackFolder(), 'demo') })
  await Promise.all([producer.disconnect(), admin.disconnect(), database.close()])
  const faults = [...result.faults, ...planFaults, ...billed.faults]
  return { ...result, faults, account, billed, enrolment, killed, seconds, probe: probed, peakMemoryMiB }
}

async function judge(
  { account, repeatsInBatch }: { account: Account; repeatsInBatch: number },
  installation: Installation,
  report: PostgresLedgerReport
) {
  const reconciliation = await reconcileStores({ ...process.env, ...installation.environment })
  const uncounted = await report.countUncounted()
  const { events } = await report.totals()
  const byModel = await report.tokensByModel()
  const faults = findFaults(account, { accepted: Number(events), repeatsInBatch, uncounted, byModel }, reconciliation)
  const isLetter = ([reason]: [UncountedReason, number]): boolean => reason !== 'duplicate'
  const deadLettered = [...uncounted].filter(isLetter).reduce((sum, [, count]) => sum + count, 0)
  return { reconciliation, uncounted, deadLettered, drift: driftOf(account, reconciliation), faults }
}

/** On a terminal only: half of the way is sending, half is counting. */
function progressBar(records: number): Pick<SingleBar, 'update' | 'stop'> {
  if (process.stderr.isTTY !== true) return { update: () => undefined, stop: () => undefined }
  const bar = new SingleBar({ format: '  {bar} {percentage}% {value} of {total} records', stream: process.stderr })
  bar.start(records, 0)
  return bar
}

/** Most memory (MiB) that each process held at any time, as the kernel kept it. */
function peakMemory(supervisor: Supervisor): Record<string, number> {
  const peaks: Record<string, number> = {}
  for (const name of supervisor.names) {
    const status = readFileSync(`/proc/${supervisor.pidOf(name)}/status`, 'utf8')
    peaks[name] = Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024)
  }
  return peaks
}
