/**
 * What a crash costs. The first pass counts a full topic in Redis and writes it to the ledger. The replay begins where a meter was killed
 * that had counted all of it in Redis and flushed nothing: the next one reads everything again, looks up what was found of each
 * record instead of counting it, and writes the ledger. Both are timed from the first batch that a process is done with until L stands
 * at the end of every partition; afterwards Redis and ledger are held against the generator's own account. Each run has an installation
 * of its own, and the group must miss the dead member first: a round takes some twenty seconds, all of them two minutes.
 */
import { randomBytes } from 'node:crypto'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import { totalTokens } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisMeterReport } from '../../meter/meter-report.ts'
import { installationOf, Shards } from '../../meter/shards.ts'
import { eventVariables, meterVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { Database } from '../../sql/connect.ts'
import { makeInstallation } from '../../stack/installation/make-installation.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { planConsumer } from '../../stack/processes.ts'
import { superviseAll } from '../harness/consumers.ts'
import { readDoneSoFar } from '../harness/product-run.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { timeConsumption } from '../harness/time-consumption.ts'
import { customerName, usageEvents, usageMessages } from '../harness/usage-records.ts'
import { benchKafka, deleteTopic, fillTopic } from '../harness/usage-topic.ts'

const SEED = 20_261_127
/** Some seconds of work for either side. */
const EVENTS = 200_000
const QUICK_EVENTS = 30_000
const CUSTOMERS = 1_000
/** Both sides end with a flush, which comes at the next tick: the end is seen to a part of a second that is small beside the whole. */
const FLUSH_INTERVAL_MS = 250
/** The longest there is: whoever is killed within it has flushed nothing. */
const NO_FLUSH_MS = 60_000
const CRASH_TIMEOUT_MS = 50_000

export const replay: Scenario = {
  name: 'replay',
  ratios: [
    {
      id: 'R11',
      title: 'replay after a crash ÷ first pass, until the ledger has all, events/s',
      goal: { atLeast: 1.3 },
      of: (round) => round.figure('replay', 'eventsPerSecond') / round.figure('first', 'eventsPerSecond')
    },
    {
      id: 'R11error',
      title: 'tokens by which Redis and ledger differ from the account after a replay, summed over customers',
      goal: { atMost: 0 },
      of: (round) => round.figure('replay', 'errorTokens')
    }
  ],
  open: openReplay
}

/** What both sides get to read, and what must come of it. */
interface Log {
  readonly bench: Bench
  readonly topic: string
  readonly records: number
  /** Tokens by customer, each identity once. */
  readonly account: ReadonlyMap<string, number>
}

async function openReplay(bench: Bench): Promise<OpenScenario> {
  const kafka = benchKafka(bench.urls.KAFKA_BROKERS)
  const topic = `bench-${randomBytes(4).toString('hex')}`
  const shape = { seed: SEED, events: bench.isQuick ? QUICK_EVENTS : EVENTS, customers: CUSTOMERS, now: Date.now() }
  bench.progress(`replay: writing ${shape.events} events to ${topic}`)
  try {
    const records = await fillTopic(kafka, topic, usageMessages(shape))
    const log: Log = { bench, topic, records, account: accountOf(usageEvents(shape)) }
    return {
      sides: [
        { name: 'first', run: () => inInstallation(log, async () => undefined) },
        { name: 'replay', run: () => inInstallation(log, crashWhenCounted) }
      ],
      close: () => deleteTopic(kafka, topic)
    }
  } catch (error) {
    await deleteTopic(kafka, topic)
    throw error
  }
}

function accountOf(events: Iterable<UsageEvent>): ReadonlyMap<string, number> {
  const known = new Set<string>()
  const account = new Map<string, number>()
  for (const { customerId, source, id, tokens } of events) {
    const identity = `${customerId} ${source} ${id}`
    if (known.has(identity)) continue
    known.add(identity)
    account.set(customerId, (account.get(customerId) ?? 0) + totalTokens(tokens))
  }
  return account
}

interface Run {
  readonly log: Log
  readonly environment: Readonly<Record<string, string>>
  readonly stores: Stores
}

async function inInstallation(log: Log, prepare: (run: Run) => Promise<void>): Promise<Reading> {
  const installation = await makeInstallation(log.bench.urls, 'bench')
  try {
    const environment = { ...installation.environment, USAGE_TOPIC: log.topic }
    const stores = new Stores(environment)
    try {
      await prepare({ log, environment, stores })
      return await timeToLedger({ log, environment, stores })
    } finally {
      await stores.close()
    }
  } finally {
    await installation.remove()
  }
}

/** Leaves a Redis that has counted everything, and a ledger that has nothing. */
async function crashWhenCounted({ log, environment, stores }: Run): Promise<void> {
  const { supervisor } = await planMeter(log.bench, { ...environment, FLUSH_INTERVAL_MS: String(NO_FLUSH_MS) })
  try {
    supervisor.start('meter')
    await waitUntil(async () => (await stores.countedRecords()) >= log.records, {
      what: 'Redis to have counted everything',
      timeoutMs: CRASH_TIMEOUT_MS
    })
    supervisor.kill('meter', 'SIGKILL')
  } finally {
    await supervisor.stopAll()
  }
  const flushed = await stores.ledgerRecords()
  if (flushed > 0) throw new Error(`the meter was to die before its first flush, and had flushed ${flushed} records`)
}

/** Of a meter that starts now; with `errorTokens`, what is wrong afterwards. */
async function timeToLedger({ log, environment, stores }: Run): Promise<Reading> {
  const { supervisor, metricsUrl } = await planMeter(log.bench, {
    ...environment,
    FLUSH_INTERVAL_MS: String(FLUSH_INTERVAL_MS)
  })
  try {
    supervisor.start('meter')
    const alive = async (read: Promise<number>): Promise<number> => {
      if (supervisor.pidOf('meter') === null) throw new Error('the meter has ended')
      return read
    }
    const reading = await timeConsumption({
      readBegun: () => alive(recordsDone(metricsUrl)),
      read: () => alive(stores.ledgerRecords()),
      records: log.records,
      pids: () => ({ meter: supervisor.pidOf('meter') })
    })
    return { ...reading, errorTokens: await stores.errorTokens(log.account) }
  } finally {
    await supervisor.stopAll()
  }
}

async function planMeter(bench: Bench, environment: Readonly<Record<string, string>>) {
  const definitions = [await planConsumer('meter', environment)]
  const metricsUrl = `http://127.0.0.1:${definitions[0]?.environment.METRICS_PORT}/metrics`
  return { supervisor: superviseAll({ definitions, progress: bench.progress }), metricsUrl }
}

/** By the meter's own figures, of batches that it has counted or replayed; 0 before it answers. */
async function recordsDone(metricsUrl: string): Promise<number> {
  const text = await fetch(metricsUrl).then(
    (answer) => answer.text(),
    (error: Error) => {
      if (error instanceof TypeError) return ''
      throw error
    }
  )
  return Number(/^tokenmeter_batch_records_sum(?:\{.*\})? (\d+)$/m.exec(text)?.[1] ?? 0)
}

/** Customers asked for at once: Redis stays free for others meanwhile. */
const CUSTOMERS_PER_LOOK = 200

/** What Redis and the ledger of an installation say. */
class Stores {
  readonly #redis: ReturnType<typeof connectRedis>
  readonly #meter: RedisMeterReport
  readonly #database: Database

  constructor(environment: Readonly<Record<string, string>>) {
    const config = loadConfig([meterVariables, eventVariables], { ...environment })
    const { REDIS_URL: url, REDIS_COMMAND_TIMEOUT_MS: commandTimeoutMs } = config
    this.#redis = connectRedis({ url, commandTimeoutMs, autoPipelining: true })
    this.#meter = new RedisMeterReport(new Shards(this.#redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs)))
    this.#database = new Database({
      databaseUrl: environment.DATABASE_URL ?? '',
      applicationName: 'tokenmeter-bench',
      connectionsMax: 1,
      role: 'login'
    })
  }

  /** Records that Redis has counted. Its one shard has everybody's cursors. */
  async countedRecords(): Promise<number> {
    const cursors = await this.#meter.countedThrough([customerName(0)])
    return [...cursors.values()].reduce((sum, cursor) => sum + cursor, 0)
  }

  /** Records before L. */
  async ledgerRecords(): Promise<number> {
    return (await readDoneSoFar(this.#database)).ledger
  }

  /** Sum of the differences from the account: Redis's and the ledger's, of each customer. */
  async errorTokens(account: ReadonlyMap<string, number>): Promise<number> {
    const rows = await this.#database.query<{ customer_id: string; tokens: string }>('add up the ledger by customer', {
      text: `select customer_id, sum(input + cache_read + cache_write + output + reasoning) as tokens
               from usage_ledger group by customer_id`
    })
    const ledger = new Map(rows.map(({ customer_id, tokens }) => [customer_id, Number(tokens)]))
    const customers = [...new Set([...account.keys(), ...ledger.keys()])]
    let error = 0
    for (let start = 0; start < customers.length; start += CUSTOMERS_PER_LOOK) {
      const counted = await this.#meter.customers(customers.slice(start, start + CUSTOMERS_PER_LOOK))
      for (const [customerId, meter] of counted) {
        if (meter === null) throw new Error(`the meter can't tell what ${customerId} used`)
        const expected = account.get(customerId) ?? 0
        error += Math.abs(meter.total - expected) + Math.abs((ledger.get(customerId) ?? 0) - expected)
      }
    }
    return error
  }

  async close(): Promise<void> {
    this.#redis.disconnect()
    await this.#database.close()
  }
}
