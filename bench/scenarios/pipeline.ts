/** The way of an event, against what kafkajs takes alone and against the design that comes to mind first. */
import { randomBytes } from 'node:crypto'
import { deleteKeys } from '../../stack/installation/make-installation.ts'
import { runProduct } from '../harness/product-run.ts'
import { runMember } from '../harness/run-member.ts'
import type { Bench, OpenScenario, Scenario } from '../harness/scenario.ts'
import { usageMessages } from '../harness/usage-records.ts'
import { benchKafka, deleteTopic, fillTopic } from '../harness/usage-topic.ts'

const SEED = 20_261_126
const EVENTS = 400_000
const QUICK_EVENTS = 60_000
const CUSTOMERS = 1_000

export const pipeline: Scenario = {
  name: 'pipeline',
  ratios: [
    {
      id: 'R1',
      title: 'meter (exactly once, marks, counters, ledger) ÷ stock kafkajs eachBatch + JSON.parse, events/s',
      goal: { atLeast: 0.75 },
      of: (round) => round.figure('meter', 'eventsPerSecond') / round.figure('stock', 'eventsPerSecond')
    },
    {
      id: 'R2',
      title: 'meter ÷ one script per event in pipelines of 1,000, events/s',
      goal: { atLeast: 4 },
      of: (round) => round.figure('meter', 'eventsPerSecond') / round.figure('naive', 'eventsPerSecond')
    },
    {
      id: 'R3',
      title: 'everything (Redis, ledger, ClickHouse) ÷ meter, events/s',
      goal: { atLeast: 0.6 },
      of: (round) => round.figure('everything', 'eventsPerSecond') / round.figure('meter', 'eventsPerSecond')
    }
  ],
  open: openPipeline
}

async function openPipeline(bench: Bench): Promise<OpenScenario> {
  const { urls, isQuick } = bench
  const kafka = benchKafka(urls.KAFKA_BROKERS)
  const topic = `bench-${randomBytes(4).toString('hex')}`
  const events = isQuick ? QUICK_EVENTS : EVENTS
  bench.progress(`pipeline: writing ${events} events to ${topic}`)
  const messages = usageMessages({ seed: SEED, events, customers: CUSTOMERS, now: Date.now() })
  const records = await fillTopic(kafka, topic, messages)
  const product = { topic, records }
  return {
    sides: [
      { name: 'stock', run: () => runMember('stock-consumer', memberEnvironment(bench, product)) },
      { name: 'meter', run: () => runProduct(bench, { ...product, processes: { meter: 'meter' }, until: 'counted' }) },
      { name: 'naive', run: () => runNaive(bench, { topic, records: Math.floor(records / 4) }) },
      {
        name: 'everything',
        run: () =>
          runProduct(bench, { ...product, processes: { meter: 'meter', analytics: 'analytics' }, until: 'everywhere' })
      }
    ],
    close: () => deleteTopic(kafka, topic)
  }
}

/** It takes so long that a part of the records has to do. */
async function runNaive(bench: Bench, part: { topic: string; records: number }) {
  const environment = memberEnvironment(bench, part)
  try {
    return await runMember('naive-meter', environment)
  } finally {
    await deleteKeys(bench.urls.REDIS_URL, `${environment.BENCH_PREFIX}:*`)
  }
}

function memberEnvironment({ urls }: Bench, { topic, records }: { topic: string; records: number }) {
  const name = `bench-${randomBytes(4).toString('hex')}`
  return { ...urls, BENCH_TOPIC: topic, BENCH_RECORDS: String(records), BENCH_GROUP: name, BENCH_PREFIX: name }
}
