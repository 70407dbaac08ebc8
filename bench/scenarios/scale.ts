/**
 * The same events counted by one meter process, by two and by four of one group, and by one whose shards lie on a Redis Cluster of three
 * nodes. More processes are faster only where there are processors for them, for Redis and for Kafka: with four processors or fewer
 * what is told is that they cost no more. A round takes about a minute, so there are three.
 */
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { type RedisClusterForTest, startRedisCluster } from '../../test/redis-cluster.ts'
import { microsOf } from '../harness/micros-of.ts'
import { type ProductRun, runProduct } from '../harness/product-run.ts'
import type { Bench, OpenScenario, Ratio, Reading, Scenario } from '../harness/scenario.ts'
import { usageMessages } from '../harness/usage-records.ts'
import { benchKafka, deleteTopic, fillTopic } from '../harness/usage-topic.ts'

const SEED = 20_261_128
/** Some seconds of two processes: members that wait for the one that opens a shard do so for a fifth of a second. */
const EVENTS = 300_000
const QUICK_EVENTS = 80_000
/** Of them, before the clock starts: of four processes each has compiled its code by then. */
const WARM_UP_SHARE = 0.25
const CUSTOMERS = 1_000
/** Divides the partitions, and lies on all three nodes, though not evenly: by their slots two on the first, two on the second, four on the third. */
const CLUSTER_SHARDS = 8
/** Two meters, Redis, Kafka and Postgres at once. */
const PROCESSORS_MIN = 5

const byTime: Ratio = {
  id: 'R14',
  title: `2 meter processes ÷ 1, events/s (of ${availableParallelism()} processors)`,
  goal: { atLeast: 1.8 },
  of: (round) => round.figure('two', 'eventsPerSecond') / round.figure('one', 'eventsPerSecond')
}

const byCost: Ratio = {
  id: 'R14',
  title: `2 meter processes ÷ 1, CPU per event of everything (only ${availableParallelism()} processors)`,
  goal: { atMost: 1.1 },
  of: (round) => round.figure('two', 'cpuMicrosPerEvent') / round.figure('one', 'cpuMicrosPerEvent')
}

export const scale: Scenario = {
  name: 'scale',
  rounds: 3,
  ratios: [
    availableParallelism() >= PROCESSORS_MIN ? byTime : byCost,
    {
      id: 'X2',
      title: `${CLUSTER_SHARDS} shards on a Redis Cluster of 3 nodes ÷ 1 on one Redis, CPU per event of meter and Redis`,
      goal: { atMost: 1.3 },
      of: (round) => microsOf(round, 'cluster', ['meter', 'redisNode']) / microsOf(round, 'one', ['meter', 'redis'])
    }
  ],
  open: openScale
}

async function openScale(bench: Bench): Promise<OpenScenario> {
  const kafka = benchKafka(bench.urls.KAFKA_BROKERS)
  const topic = `bench-${randomBytes(4).toString('hex')}`
  const events = bench.isQuick ? QUICK_EVENTS : EVENTS
  const closing: (() => Promise<void>)[] = [() => deleteTopic(kafka, topic)]
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).reverse()) await step()
  }
  try {
    bench.progress(`scale: writing ${events} events to ${topic}`)
    const traffic = { seed: SEED, events, customers: CUSTOMERS, now: Date.now() }
    const records = await fillTopic(kafka, topic, usageMessages(traffic))
    const cluster = await startRedisCluster({ teardown: (step) => closing.push(step) })
    const warmUpRecords = Math.floor(records * WARM_UP_SHARE)
    const product = { topic, records, until: 'counted', startsSettled: true, warmUpRecords } as const
    return {
      sides: [
        { name: 'one', run: () => runProduct(bench, { ...product, processes: meters(1) }) },
        { name: 'two', run: () => runProduct(bench, { ...product, processes: meters(2) }) },
        { name: 'four', run: () => runProduct(bench, { ...product, processes: meters(4) }) },
        { name: 'cluster', run: () => runOnCluster(bench, { ...product, processes: meters(1) }, cluster) }
      ],
      close
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** `meter`, `meter2`, …, each a process. */
function meters(count: number): Readonly<Record<string, string>> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [i === 0 ? 'meter' : `meter${i + 1}`, 'meter']))
}

async function runOnCluster(bench: Bench, run: ProductRun, cluster: RedisClusterForTest): Promise<Reading> {
  try {
    return await runProduct(bench, {
      ...run,
      environment: { REDIS_URL: cluster.url, METER_SHARDS: String(CLUSTER_SHARDS) },
      beside: Object.fromEntries(cluster.nodes.map(({ pid }, i) => [`redisNode${i + 1}`, pid]))
    })
  } finally {
    for (const i of cluster.nodes.keys()) await cluster.onNode(i, 'FLUSHALL')
  }
}
