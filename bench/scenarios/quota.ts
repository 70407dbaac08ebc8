/**
 * A quota check against what a route of Fastify takes that asks Redis for one key: how much of a check is the check. Both are asked the
 * same bodies over as many connections by one load generator, a process of its own. What a side can do at most is measured in a closed
 * loop; how long an answer takes, at the half of what the slower of both can do, on one timetable for both.
 */
import { availableParallelism } from 'node:os'
import { totalTokens } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { encodeUsageEvent } from '../../ingest/encode-usage-event.ts'
import { KafkaUsageEventLog } from '../../ingest/usage-producer.ts'
import { limit } from '../../stack/demo/limits.ts'
import { Random } from '../../stack/demo/random.ts'
import { findFreePort } from '../../stack/machine/ports.ts'
import { Supervisor } from '../../stack/supervisor.ts'
import type { Bench, OpenScenario, Ratio, Reading, Scenario, Side } from '../harness/scenario.ts'
import { customerName, usageEvents } from '../harness/usage-records.ts'
import { benchKafka } from '../harness/usage-topic.ts'
import { type ApiInstallation, awaitUsed, putLimits, redisPids, setKeys, startApis } from '../http/api-installation.ts'
import { LoadGenerator } from '../http/load-generator.ts'
import type { LoadJob, LoadReport } from '../http/load-job.ts'

const SEED = 20_261_127
/** With two limits each: enough that no answer is the one before. */
const CUSTOMERS = 100
const USERS = 5
const BODIES = 1_000
/** Counted before the load, so that counters of customers and users stand at something. */
const EVENTS = 2_000
/** No check is refused: a refusal would be another, shorter way. */
const MAX = 1_000_000_000_000
/** To each API process. Some dozens of AI services' processes, each with a call or two on its way. */
const CONNECTIONS = 64
const APIS = 3
/** Two API processes, the load generator and Redis at once; with fewer, what is told is that a check costs no more. */
const PROCESSORS_MIN = 4
/** Answers that fail make a rate of something else. */
const FAILED_SHARE_MAX = 0.001

interface Lengths {
  /** Once for each process: a check's code is compiled to its end after 10,000 or so, and takes three times as long before. */
  readonly coldRequests: number
  /** In front of each measure. */
  readonly warmUpRequests: number
  readonly capacityMs: number
  readonly timetableSeconds: number
}

/** The slowest in a thousand of a timetable are a handful at some thousand requests a second: the spread over the rounds tells. */
const LENGTHS: Lengths = { coldRequests: 15_000, warmUpRequests: 1_500, capacityMs: 1_500, timetableSeconds: 2 }
/** Ends before the code is compiled: its ratio is too low. */
const QUICK_LENGTHS: Lengths = { coldRequests: 1_000, warmUpRequests: 200, capacityMs: 500, timetableSeconds: 0.6 }
const TIMETABLE_WARM_UP_SECONDS = 0.2

const byTime: Ratio = {
  id: 'X3',
  title: `quota checks by 2 API processes ÷ 1, requests/s (of ${availableParallelism()} processors)`,
  goal: { atLeast: 1.8 },
  of: (round) => round.figure('check by 2', 'requestsPerSecond') / round.figure('check', 'requestsPerSecond')
}

const byCost: Ratio = {
  id: 'X3',
  title: `quota checks by 2 API processes ÷ 1, CPU per request of API and Redis (only ${availableParallelism()} processors)`,
  goal: { atMost: 1.1 },
  of: (round) => round.figure('check by 2', 'cpuMicrosPerRequest') / round.figure('check', 'cpuMicrosPerRequest')
}

export const quota: Scenario = {
  name: 'quota',
  ratios: [
    {
      id: 'R5',
      title: 'quota check (two limits, key, schemas, metrics) ÷ bare Fastify route with one Redis GET, requests/s',
      goal: { atLeast: 0.9 },
      of: (round) => round.figure('check', 'requestsPerSecond') / round.figure('bare', 'requestsPerSecond')
    },
    availableParallelism() >= PROCESSORS_MIN ? byTime : byCost
  ],
  open: openQuota
}

/** What is asked, and of whom. */
type Asked = Pick<LoadJob, 'targets' | 'path' | 'headers' | 'bodies' | 'processes'>

async function openQuota(bench: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const sides = await openSides(bench, opened)
  const kept = opened.move()
  return { sides, close: () => kept.disposeAsync() }
}

async function openSides(bench: Bench, opened: AsyncDisposableStack): Promise<readonly Side[]> {
  bench.progress(`quota: starting ${APIS} API processes and the bare one`)
  const apis = await startApis(bench, APIS)
  opened.defer(() => apis.close())
  await countUsage(bench, apis)
  const bare = await startBare(bench, apis, opened)
  const generator = new LoadGenerator()
  opened.defer(() => generator.close())
  const lengths = bench.isQuick ? QUICK_LENGTHS : LENGTHS
  const check = checksBy(apis, 1)
  const capacityOf = (asked: Asked): Promise<Reading> => readCapacity(generator, asked, lengths)
  bench.progress('quota: warming up')
  const cold = { ...lengths, warmUpRequests: lengths.coldRequests }
  await readCapacity(generator, checksBy(apis, APIS), { ...cold, warmUpRequests: APIS * cold.warmUpRequests })
  const most = [await readCapacity(generator, bare, cold), await readCapacity(generator, check, lengths)]
  const perSecond = Math.min(...most.map(({ requestsPerSecond }) => requestsPerSecond)) / 2
  bench.progress(`quota: latencies at ${Math.round(perSecond)} requests/s`)
  const both = async (asked: Asked, round: number): Promise<Reading> => ({
    ...(await capacityOf(asked)),
    ...(await readLatency(generator, asked, { ...lengths, perSecond, seed: SEED + round }))
  })
  return [
    { name: 'bare', run: (round) => both(bare, round) },
    { name: 'check', run: (round) => both(check, round) },
    { name: 'check by 2', run: () => capacityOf(checksBy(apis, 2)) },
    { name: 'check by 3', run: () => capacityOf(checksBy(apis, 3)) }
  ]
}

/** Gives the customers their limits, counts some usage, and waits until the meter has it: from then on nobody is told "can't know". */
async function countUsage({ urls }: Bench, { api, installation }: ApiInstallation): Promise<void> {
  const customers = Array.from({ length: CUSTOMERS }, (_, rank) => customerName(rank))
  await putLimits(api, customers, [
    limit('month', { max: MAX, window: { kind: 'month' } }),
    limit('user-day', { max: MAX, scope: { kind: 'each-user' }, window: { kind: 'day' } })
  ])
  const used = new Map<string, number>()
  const events: UsageEvent[] = []
  const now = Date.now()
  for (const event of usageEvents({ seed: SEED, events: EVENTS, customers: CUSTOMERS, now, repeats: 0 })) {
    // All at one instant: a month that begins while this runs leaves none of them behind.
    events.push({ ...event, occurredAt: now })
    used.set(event.customerId, (used.get(event.customerId) ?? 0) + totalTokens(event.tokens))
  }
  const log = await KafkaUsageEventLog.connect({
    kafka: benchKafka(urls.KAFKA_BROKERS),
    topic: installation.usageTopic,
    encode: encodeUsageEvent
  })
  await log.append(events)
  await log.close()
  for (const id of customers) await awaitUsed(api, id, { limit: 'month', used: used.get(id) ?? 0 })
  const prefix = barePrefix(installation)
  const keys = customers.map((id) => [`${prefix}:used:${id}`, String(used.get(id) ?? 0)] as const)
  await setKeys(urls.REDIS_URL, new Map(keys))
}

/** Below the installation's own prefix, so that its keys go with the others. */
function barePrefix({ environment }: ApiInstallation['installation']): string {
  return `${environment.METER_KEY_PREFIX}:bare`
}

async function startBare(bench: Bench, apis: ApiInstallation, opened: AsyncDisposableStack): Promise<Asked> {
  const port = String(await findFreePort())
  const { environment } = apis.installation
  const supervisor = new Supervisor({
    definitions: [
      {
        name: 'bare',
        entry: 'bench/members/bare-check.ts',
        environment: {
          ...environment,
          BENCH_PORT: port,
          BENCH_PREFIX: barePrefix(apis.installation),
          BENCH_MAX: String(MAX)
        }
      }
    ],
    restarts: false,
    onLine: (name, line) => bench.progress(`quota: ${name}: ${line}`)
  })
  opened.defer(() => supervisor.stopAll())
  supervisor.start('bare')
  await supervisor.waitReady('bare')
  const check = checksBy(apis, 1)
  const processes = { ...check.processes, server: [supervisor.pidOf('bare') ?? 0] }
  return { ...check, targets: [`http://127.0.0.1:${port}`], path: '/check', processes }
}

/** Of the first so many API processes. The key goes to the bare route as well: the same bytes arrive. */
function checksBy({ urls, pids, key }: ApiInstallation, count: number): Asked {
  return {
    targets: urls.slice(0, count),
    path: '/v1/quota/check',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    bodies: makeBodies(),
    processes: { server: pids.slice(0, count), redis: redisPids() }
  }
}

function makeBodies(): readonly string[] {
  const random = new Random(SEED)
  return Array.from({ length: BODIES }, () =>
    JSON.stringify({
      customerId: customerName(random.skewed(CUSTOMERS)),
      userId: `user-${random.skewed(USERS)}`,
      model: 'gpt-5.1',
      tokens: { input: random.below(8_000), output: random.below(1_500) }
    })
  )
}

async function readCapacity(
  generator: LoadGenerator,
  asked: Asked,
  { warmUpRequests, capacityMs }: Lengths
): Promise<Reading & { readonly requestsPerSecond: number }> {
  const callers = CONNECTIONS * asked.targets.length
  const load = { kind: 'capacity', callers, warmUpRequests, forMs: capacityMs } as const
  const report = answered(await generator.run({ ...asked, load, connections: CONNECTIONS, pipelining: 1 }))
  const micros = (name: string): number => (report.cpuMicros[name] ?? 0) / report.requests
  return {
    requestsPerSecond: report.requestsPerSecond,
    cpuMicrosPerRequest: micros('server') + micros('redis'),
    serverMicrosPerRequest: micros('server'),
    redisMicrosPerRequest: micros('redis'),
    clientMicrosPerRequest: micros('client'),
    // One server process is at its end when this is 1; below, somebody else was.
    serverCores: (report.cpuMicros.server ?? 0) / 1_000_000 / report.seconds
  }
}

interface Timetable extends Lengths {
  readonly perSecond: number
  readonly seed: number
}

async function readLatency(generator: LoadGenerator, asked: Asked, timetable: Timetable): Promise<Reading> {
  const { perSecond, seed, timetableSeconds: seconds } = timetable
  const load = {
    kind: 'timetable',
    perSecond,
    warmUpSeconds: TIMETABLE_WARM_UP_SECONDS,
    seconds,
    seed,
    inFlightMax: CONNECTIONS
  } as const
  const report = answered(await generator.run({ ...asked, load, connections: CONNECTIONS, pipelining: 1 }))
  const { p50Ms, p99Ms, p999Ms, startDelayP99Ms } = report
  return { timetablePerSecond: perSecond, p50Ms, p99Ms, p999Ms, startDelayP99Ms }
}

function answered(report: LoadReport): LoadReport {
  const failed = Object.values(report.failures).reduce((sum, count) => sum + count, 0)
  if (failed <= FAILED_SHARE_MAX * report.requests) return report
  throw new Error(`of ${report.requests} requests ${failed} failed: ${JSON.stringify(report.failures)}`)
}
