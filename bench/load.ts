/**
 * `npm run load -- --rate 5000 --minutes 10 [--checks 50] [--customers 1000] [--json]`: a soak of the real stack by an operator. Our
 * processes as `npm start` runs them, in an installation of their own; customers with limits; usage events and quota checks, each on a
 * timetable that no slow answer holds up. A line a second, a summary, and every store held against what was sent: exit code 1 when
 * one of them differs, or when a process ended unasked. Ctrl-C ends the sending early; what was sent is judged all the same.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import { Database } from '../sql/connect.ts'
import { keepProcessLog } from '../stack/commands/process-log.ts'
import type { DemoApi } from '../stack/demo/demo-api.ts'
import { awaitDrained } from '../stack/installation/await-drained.ts'
import { type Installation, makeInstallation } from '../stack/installation/make-installation.ts'
import { createProgress } from '../stack/machine/progress.ts'
import { planProcesses } from '../stack/processes.ts'
import { type ServiceUrls, startServices } from '../stack/services.ts'
import { Supervisor } from '../stack/supervisor.ts'
import { serviceCpuMicros, serviceCpuSince } from './harness/cpu-time.ts'
import { benchKafka } from './harness/usage-topic.ts'
import { ConsumerLag } from './soak/consumer-lag.ts'
import { judgeSoak } from './soak/judge-soak.ts'
import { ProcessVitals } from './soak/process-vitals.ts'
import { QuotaChecks } from './soak/quota-checks.ts'
import { setSoakLimits } from './soak/set-limits.ts'
import { momentLine, type SoakResult, soakJson, soakPage } from './soak/soak-page.ts'
import { SoakProducer } from './soak/soak-producer.ts'
import type { SoakAccount } from './soak/soak-traffic.ts'

const SEED = 20_261_130
const LOOK_INTERVAL_MS = 1_000
/** What one producing process can make on a fast machine; more would only be behind. */
const RATE_MAX = 200_000
/** Below the API's default for one address, 60,000 a minute: what it refuses says nothing of its speed. */
const CHECKS_MAX = 900

interface Choice {
  readonly rate: number
  readonly minutes: number
  readonly checks: number
  readonly customers: number
  readonly json?: boolean
}

type Progress = (line: string) => void

export async function runLoad(args: readonly string[]): Promise<void> {
  const choice = new Command('load')
    .description('a steady load on the real stack, judged to the token')
    .option('--rate <number>', `usage events a second, to ${RATE_MAX}`, between(1, RATE_MAX), 5_000)
    .option('--minutes <number>', 'how long, to a week', between(0.1, 7 * 24 * 60), 10)
    .option('--checks <number>', `quota checks a second, to ${CHECKS_MAX}`, between(1, CHECKS_MAX), 50)
    .option('--customers <number>', 'with limits each', between(1, 100_000), 1_000)
    .option('--json', 'print the summary as one JSON object')
    .parse([...args], { from: 'user' })
    .opts<Choice>()
  const progress = createProgress()
  const services = await startServices({ onProgress: progress })
  try {
    const installation = await makeInstallation(services.urls, 'load')
    try {
      const result = await runProcesses({ choice, installation, urls: services.urls, progress })
      console.log(choice.json ? soakJson(result) : soakPage(result))
      if (result.faults.length > 0) process.exitCode = 1
    } finally {
      await installation.remove()
    }
  } finally {
    await services.stop()
  }
}

interface Soak {
  readonly choice: Choice
  readonly installation: Installation
  readonly urls: ServiceUrls
  readonly progress: Progress
}

async function runProcesses(soak: Soak): Promise<SoakResult> {
  const { choice, installation, urls, progress } = soak
  const { definitions, apiUrl, apiKey } = await planProcesses(urls, installation.environment)
  if (apiKey === null) throw new Error('API_KEYS is set, so the soak has no key of its own: unset it')
  const names = definitions.map(({ name }) => name)
  const log = keepProcessLog(names, 'load.log')
  const supervisor = new Supervisor({ definitions, onLine: log.onLine })
  try {
    for (const { name } of definitions) supervisor.start(name)
    await Promise.all(names.map((name) => supervisor.waitReady(name)))
    const api = { url: apiUrl, key: apiKey }
    progress(`${names.join(', ')} run, their log in ${log.file}; setting limits for ${choice.customers} customers`)
    await setSoakLimits(api, choice.customers)
    return await runTraffic({ ...soak, supervisor, api })
  } finally {
    await supervisor.stopAll()
    log.end()
  }
}

interface Traffic extends Soak {
  readonly supervisor: Supervisor
  readonly api: DemoApi
}

async function runTraffic(traffic: Traffic): Promise<SoakResult> {
  const { choice, installation, supervisor, api, progress } = traffic
  const { KAFKA_BROKERS: brokers = '', DATABASE_URL: databaseUrl = '' } = installation.environment
  const database = new Database({ databaseUrl, applicationName: 'tokenmeter-load', connectionsMax: 2 })
  const admin = benchKafka(brokers).admin()
  await admin.connect()
  const topic = installation.usageTopic
  const { customers, checks: checksPerSecond, rate } = choice
  const seconds = choice.minutes * 60
  const vitals = new ProcessVitals(supervisor.names, (name) => supervisor.pidOf(name))
  const lag = new ConsumerLag({ admin, topic, database })
  const cpu = { services: serviceCpuMicros(), load: process.cpuUsage() }
  const order = { brokers, topic, perSecond: rate, seconds, customers, seed: SEED }
  const producer = new SoakProducer(order, (failure) =>
    progress(`a request to Kafka failed and goes again: ${failure}`)
  )
  const checks = new QuotaChecks({ api, customers, perSecond: checksPerSecond, seconds, seed: SEED })
  const stop = (): void => {
    progress('stopping early; what was sent is judged. Again stops now and leaves the installation behind')
    producer.stop()
    checks.stop()
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    const [account, checked] = await Promise.all([watch({ producer, checks, vitals, lag, progress }), checks.run()])
    const lagAtEnd = lag.last
    progress(`sent; ${lagAtEnd} records to go`)
    const drainedFrom = performance.now()
    await awaitDrained({ admin, topic, database, onProgress: () => undefined })
    const drainSeconds = (performance.now() - drainedFrom) / 1_000
    vitals.look()
    const cpuMicros = {
      ...vitals.cpuMicros(),
      ...serviceCpuSince(cpu.services),
      load: micros(process.cpuUsage(cpu.load))
    }
    progress('everything counted; holding every store against what was sent')
    const judged = await judgeSoak(account, installation.environment, database)
    return resultOf({
      choice,
      producer,
      judged,
      checks: checked,
      vitals,
      drainSeconds,
      cpuMicros,
      lag: { most: lag.most, end: lagAtEnd }
    })
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
    checks.stop()
    await producer.close()
    await Promise.all([admin.disconnect(), database.close()])
  }
}

interface Watching {
  readonly producer: SoakProducer
  readonly checks: QuotaChecks
  readonly vitals: ProcessVitals
  readonly lag: ConsumerLag
  readonly progress: Progress
}

/** A line a second until the producer has ended. A store that does not answer for a moment is told and costs that line. */
async function watch({ producer, checks, vitals, lag, progress }: Watching): Promise<SoakAccount> {
  let isOver = false
  const ended = producer.ended().finally(() => {
    isOver = true
  })
  let before = { sent: 0, counted: 0, at: performance.now() }
  while (!isOver) {
    await Promise.race([sleep(LOOK_INTERVAL_MS), ended])
    vitals.look()
    try {
      const { counted, records } = await lag.look()
      const { sent, elapsedMs, behindMs } = producer.report
      const at = performance.now()
      const since = (at - before.at) / 1_000
      const line = momentLine({
        seconds: elapsedMs / 1_000,
        sentPerSecond: (sent - before.sent) / since,
        countedPerSecond: (counted - before.counted) / since,
        lag: records,
        behindMs,
        checkMs: checks.recentMs(),
        memoryMiB: vitals.memoryNowMiB()
      })
      process.stderr.write(`${line}\n`)
      before = { sent, counted, at }
    } catch (error) {
      progress(`could not look: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return await ended
}

function resultOf(of: {
  readonly choice: Choice
  readonly producer: SoakProducer
  readonly judged: Awaited<ReturnType<typeof judgeSoak>>
  readonly checks: SoakResult['checks']
  readonly vitals: ProcessVitals
  readonly drainSeconds: number
  readonly cpuMicros: Readonly<Record<string, number>>
  readonly lag: SoakResult['lag']
}): SoakResult {
  const { choice, producer, judged, vitals, cpuMicros } = of
  const { sent, elapsedMs, behindMs } = producer.report
  const restarts = vitals.restarts()
  const crashed = Object.entries(restarts).filter(([, times]) => times > 0)
  return {
    askedPerSecond: choice.rate,
    customers: choice.customers,
    seconds: elapsedMs / 1_000,
    sent,
    eventsPerSecond: sent / (elapsedMs / 1_000),
    behindMs: { most: producer.mostBehindMs, end: behindMs },
    resent: producer.failures,
    counted: judged.counted,
    uncounted: judged.uncounted,
    lag: of.lag,
    drainSeconds: of.drainSeconds,
    checks: of.checks,
    memoryMiB: vitals.memoryMiB(),
    restarts,
    cpuMicrosPerEvent: Object.fromEntries(Object.entries(cpuMicros).map(([name, took]) => [name, took / sent])),
    drift: judged.drift,
    faults: [...judged.faults, ...crashed.map(([name, times]) => `${name} ended unasked, ${times} times`)]
  }
}

function micros({ user, system }: NodeJS.CpuUsage): number {
  return user + system
}

function between(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (text.trim() === '' || !(number >= least && number <= most)) {
      throw new InvalidArgumentError(`It is a number from ${least} to ${most}.`)
    }
    return number
  }
}
