/**
 * How long it takes until a check knows of a call. Steady traffic keeps the pipeline at half of what it can; among it, single events of
 * customers of our own are sent, and each is timed from just before it is handed to its producer:
 *
 * - `product` until `check` of the product's own quota meter, which is what the API asks, says that the customer has used it. Meter and
 *   analytics run, the customers that call most have limits, and checks are asked all the while.
 * - `stock` until kafkajs's `eachBatch` has parsed it, with nothing else to do, and `maxWaitTimeInMs` as low as the product has it.
 * - `stockDefaults` the same with every default. Under load the two are alike: a broker that has a record holds no answer back.
 *
 * All three get the same events in a round, by the same producers. A round takes some twenty seconds, all of them two minutes.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka, Message, Producer } from 'kafkajs'
import { compileLimits } from '../../domain/tokens/compile-limits.ts'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import { NO_TOKENS } from '../../domain/tokens/token-pools.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { FETCH_TUNING } from '../../ingest/kafkajs/fetch-tuning.ts'
import { partitionByCustomer } from '../../ingest/usage-producer.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisQuotaMeter } from '../../meter/quota-meter.ts'
import { installationOf, Shards } from '../../meter/shards.ts'
import { eventVariables, meterVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { Database } from '../../sql/connect.ts'
import { Random } from '../../stack/demo/random.ts'
import { awaitDrained } from '../../stack/installation/await-drained.ts'
import { type Installation, makeInstallation } from '../../stack/installation/make-installation.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { deleteGroups, planConsumers, planStock, startAll, superviseAll } from '../harness/consumers.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { customerName, usageEvents } from '../harness/usage-records.ts'
import { benchKafka, deleteTopic, fillTopic, PARTITIONS } from '../harness/usage-topic.ts'
import { LatencyHistogram } from '../http/latency-histogram.ts'
import { poisson } from '../http/schedule.ts'
import { underTraffic } from '../soak/under-traffic.ts'

const SEED = 20_261_128
/** Half of what the whole pipeline gets through on two cores that it shares with its stores, its producer and us. */
const EVENTS_PER_SECOND = 15_000
const CUSTOMERS = 1_000
/** Those who call most have a limit, two thirds of the traffic are theirs. Open cuts slow each other, so that all at once would take long. */
const LIMITED_CUSTOMERS = 100
/** So many probes that the slowest in a hundred are several, and so few that they are no load. */
const PROBES_PER_SECOND = 100
const PROBE_SECONDS = 4
const QUICK_PROBE_SECONDS = 1
/** Two for each partition, so that none is left out and few probes wait behind one of the same customer. */
const PROBE_CUSTOMERS = 2 * PARTITIONS
const PROBES = 'probe-'
/**
 * Between two looks, whoever waits: asking more of them at once would be load that grows with what it measures. A latency of the product
 * is told too long by as many looks as customers wait at a time, usually two or three.
 */
const LOOK_INTERVAL_MS = 1
const SEEN_TIMEOUT_MS = 30_000
const LIMIT: Limit = {
  id: 'month',
  scope: { kind: 'customer' },
  measure: { kind: 'total' },
  window: { kind: 'month' },
  max: 2 ** 50,
  mode: 'hard',
  whenUnknown: 'deny'
}

export const visibility: Scenario = {
  name: 'visibility',
  ratios: [
    {
      id: 'R10',
      title: 'produce → visible to a check ÷ raw produce → kafkajs eachBatch (maxWaitTimeInMs 100), p99 at half load',
      goal: { atMost: 2 },
      of: (round) => round.figure('product', 'p99Ms') / round.figure('stock', 'p99Ms')
    },
    {
      id: 'R10ms',
      title: 'produce → visible to a check, p99 at half load, ms',
      goal: { atMost: 250 },
      of: (round) => round.figure('product', 'p99Ms')
    }
  ],
  open: openVisibility
}

async function openVisibility(bench: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const installation = await makeInstallation(bench.urls, 'bench')
  opened.defer(() => installation.remove())
  const definitions = await planConsumers(installation.environment, ['meter', 'analytics'])
  const supervisor = superviseAll({ definitions, progress: bench.progress })
  opened.defer(() => supervisor.stopAll())
  await startAll(supervisor)
  const product = new ProductSide(bench, installation)
  opened.defer(() => product.close())
  await product.setLimits()
  const kept = opened.move()
  return {
    sides: [
      { name: 'stockDefaults', run: (round) => runStock(bench, round) },
      { name: 'stock', run: (round) => runStock(bench, round, FETCH_TUNING.fetchWaitMs) },
      { name: 'product', run: (round) => product.run(round) }
    ],
    close: () => kept.disposeAsync()
  }
}

/** On a topic of its own, which is there and empty when the consumer starts. */
async function runStock(bench: Bench, round: number, maxWaitMs?: number): Promise<Reading> {
  const kafka = benchKafka(bench.urls.KAFKA_BROKERS)
  const topic = `bench-${randomBytes(4).toString('hex')}`
  const probes = new WaitingProbes()
  const plan = { name: 'stock', topic, group: topic, probes: PROBES, ...(maxWaitMs === undefined ? {} : { maxWaitMs }) }
  const supervisor = superviseAll({
    definitions: [planStock(bench.urls, plan)],
    progress: bench.progress,
    onLine: (line) => {
      const [, customerId, at] = /^probe (\S+) (\S+)$/.exec(line) ?? []
      if (customerId !== undefined) probes.saw(customerId, Number(at))
    }
  })
  try {
    await fillTopic(kafka, topic, [])
    await startAll(supervisor)
    return await runTraffic({ bench, kafka, topic, round, probes })
  } finally {
    await supervisor.stopAll()
    await deleteTopic(kafka, topic)
    await deleteGroups(kafka, [topic])
  }
}

/** Traffic on an installation that stands from round to round, and whoever asks its meter. */
class ProductSide {
  readonly #bench: Bench
  readonly #topic: string
  readonly #redis: ReturnType<typeof connectRedis>
  readonly #quota: RedisQuotaMeter
  readonly #database: Database
  /** Tokens of the probes seen, by customer: each is one. */
  readonly #used = new Map<string, number>()

  constructor(bench: Bench, { environment, usageTopic }: Installation) {
    const config = loadConfig([meterVariables, eventVariables], { ...environment })
    const { REDIS_URL: url, REDIS_COMMAND_TIMEOUT_MS: commandTimeoutMs, METER_STALE_AFTER_MS: staleAfterMs } = config
    this.#bench = bench
    this.#topic = usageTopic
    this.#redis = connectRedis({ url, commandTimeoutMs, autoPipelining: true })
    const shards = new Shards(this.#redis, installationOf(config, DEFAULT_DECODE_LIMITS.leadMs))
    this.#quota = new RedisQuotaMeter(shards, { staleAfterMs })
    const { DATABASE_URL: databaseUrl = '' } = environment
    this.#database = new Database({
      databaseUrl,
      applicationName: 'tokenmeter-bench',
      connectionsMax: 1,
      role: 'login'
    })
  }

  async run(round: number): Promise<Reading> {
    const bench = this.#bench
    const kafka = benchKafka(bench.urls.KAFKA_BROKERS)
    const topic = this.#topic
    const probes = new WaitingProbes()
    const traffic = runTraffic({ bench, kafka, topic, round, probes })
    // The looks end with the traffic, and nothing is taken away from under it while it runs.
    const [, looks] = await Promise.allSettled([traffic, this.#look(probes, traffic)])
    if (looks.status === 'rejected') throw new Error('the meter could not be asked', { cause: looks.reason })
    const reading = await traffic
    await this.#awaitDrained(kafka, topic)
    return reading
  }

  /** Asks for those who wait, one after the other, as long as the traffic goes on. */
  async #look(probes: WaitingProbes, traffic: Promise<unknown>): Promise<void> {
    let isOver = false
    const end = (): void => {
      isOver = true
    }
    traffic.then(end, end)
    while (!isOver) {
      for (const customerId of probes.customers) {
        await this.#lookAt(customerId, probes)
        await sleep(LOOK_INTERVAL_MS)
      }
      if (probes.customers.length === 0) await sleep(LOOK_INTERVAL_MS)
    }
  }

  async #lookAt(customerId: string, probes: WaitingProbes): Promise<void> {
    const before = this.#used.get(customerId) ?? 0
    const used = (await this.#usedBy(customerId)) ?? before
    const at = nowMs()
    for (let seen = before; seen < used; seen++) probes.saw(customerId, at)
    this.#used.set(customerId, used)
  }

  /** Null while the meter can't know. */
  async #usedBy(customerId: string): Promise<number | null> {
    const standing = await this.#quota.check({ customerId, userId: '', model: '', tokens: null })
    const limit = standing.known ? standing.limits?.[0] : undefined
    return limit === undefined || limit.unknown !== null ? null : limit.used
  }

  /** A month's that nobody reaches; resolves when none of them waits for the ledger any more. */
  async setLimits(): Promise<void> {
    const names = [...Array.from({ length: LIMITED_CUSTOMERS }, (_, rank) => customerName(rank)), ...probeCustomers()]
    for (const customerId of names) {
      const { compiled } = compileLimits({ customerId, timeZone: 'UTC', version: 1, limits: [LIMIT] }, Date.now())
      await this.#quota.setLimits(compiled)
    }
    const inForce = async (): Promise<boolean> => {
      for (const customerId of names) if ((await this.#usedBy(customerId)) === null) return false
      return true
    }
    await waitUntil(inForce, { what: 'every limit to be in force', timeoutMs: SEEN_TIMEOUT_MS })
  }

  /** What is left to do of this round is not left to the next side. */
  async #awaitDrained(kafka: Kafka, topic: string): Promise<void> {
    const admin = kafka.admin()
    await admin.connect()
    await awaitDrained({ admin, topic, database: this.#database, onProgress: () => undefined })
    await admin.disconnect()
  }

  async close(): Promise<void> {
    this.#redis.disconnect()
    await this.#database.close()
  }
}

interface TrafficRun {
  readonly bench: Bench
  readonly kafka: Kafka
  readonly topic: string
  readonly round: number
  readonly probes: WaitingProbes
}

/** Probes among steady traffic; ends when each of them was seen. */
async function runTraffic({ bench, kafka, topic, round, probes }: TrafficRun): Promise<Reading> {
  const { KAFKA_BROKERS: brokers } = bench.urls
  const traffic = { brokers, topic, seed: SEED + round, perSecond: EVENTS_PER_SECOND, customers: CUSTOMERS }
  const producer = kafka.producer({ createPartitioner: partitionByCustomer, allowAutoTopicCreation: false })
  await producer.connect()
  try {
    const seconds = bench.isQuick ? QUICK_PROBE_SECONDS : PROBE_SECONDS
    const { eventsPerSecond } = await underTraffic(traffic, async () => {
      await sendProbes({ producer, topic, round, seconds }, probes)
      await waitUntil(async () => probes.customers.length === 0, { what: 'the last probe', timeoutMs: SEEN_TIMEOUT_MS })
    })
    return { ...probes.reading(), eventsPerSecond }
  } finally {
    await producer.disconnect()
  }
}

interface ProbePlan {
  readonly producer: Producer
  readonly topic: string
  readonly round: number
  readonly seconds: number
}

/** Each on its own, whatever became of those before it, at instants that no interval of anybody else can follow. */
async function sendProbes({ producer, topic, round, seconds }: ProbePlan, probes: WaitingProbes): Promise<void> {
  const random = new Random(SEED + round)
  const customers = probeCustomers()
  const failures: Error[] = []
  const sends: Promise<unknown>[] = []
  const startedAt = nowMs()
  for (const dueAt of poisson({ perSecond: PROBES_PER_SECOND, seconds, random })) {
    await sleep(Math.max(0, startedAt + dueAt - nowMs()))
    const customerId = customers[sends.length % customers.length] ?? ''
    const messages = [probeOf(customerId, `${round}-${sends.length}`)]
    probes.sends(customerId, nowMs())
    sends.push(producer.send({ topic, messages, acks: -1 }).catch((error: Error) => failures.push(error)))
  }
  await Promise.all(sends)
  if (failures[0] !== undefined) throw failures[0]
}

/** One token of a customer's, otherwise as any other event. */
function probeOf(customerId: string, id: string): Message {
  const tokens = { ...NO_TOKENS, output: 1 }
  const [event] = usageEvents({ seed: SEED, events: 1, customers: 1, now: Date.now() })
  if (event === undefined) throw new Error('there is no event to make a probe of')
  const { value, headers } = encodeUsageEvent({ ...event, customerId, id: `${PROBES}${id}`, tokens })
  return { key: customerId, value, headers: { ...headers } }
}

/** The first names that give each partition as many as any other. */
function probeCustomers(): readonly string[] {
  const perPartition = new Array<number>(PARTITIONS).fill(0)
  const names: string[] = []
  for (let i = 0; names.length < PROBE_CUSTOMERS; i++) {
    const partition = partitionOf(`${PROBES}${i}`, PARTITIONS)
    const there = perPartition[partition] ?? 0
    if (there >= PROBE_CUSTOMERS / PARTITIONS) continue
    perPartition[partition] = there + 1
    names.push(`${PROBES}${i}`)
  }
  return names
}

/** Milliseconds of the clock that all processes of a machine share and nobody sets. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** The probes on their way. Those of one customer are seen in the order in which they were sent: they share a partition. */
class WaitingProbes {
  readonly #sentAt = new Map<string, number[]>()
  readonly #latency = new LatencyHistogram()
  #unsent = 0

  /** Those of whom one is on its way. */
  get customers(): readonly string[] {
    return [...this.#sentAt.keys()]
  }

  sends(customerId: string, at: number): void {
    const sentAt = this.#sentAt.get(customerId)
    if (sentAt === undefined) this.#sentAt.set(customerId, [at])
    else sentAt.push(at)
  }

  /** The oldest one of the customer. */
  saw(customerId: string, at: number): void {
    const waiting = this.#sentAt.get(customerId)
    const sentAt = waiting?.shift()
    if (waiting?.length === 0) this.#sentAt.delete(customerId)
    if (sentAt === undefined) this.#unsent++
    else this.#latency.record(at - sentAt)
  }

  reading(): Reading {
    if (this.#unsent > 0)
      throw new Error(`${this.#unsent} probes were seen again: which latency is whose can't be told`)
    const { count, maxMs } = this.#latency
    return { p50Ms: this.#latency.quantileMs(0.5), p99Ms: this.#latency.quantileMs(0.99), maxMs, probes: count }
  }
}
