/**
 * What an event costs when many more customers share the traffic: the same number of events by the same law, whose rank r calls about as
 * often as 1 / (r + 1). Of a million, some hundred thousand turn up in them; of a thousand, all. Takes about three minutes.
 */
import { randomBytes } from 'node:crypto'
import { microsOf } from '../harness/micros-of.ts'
import { runProduct } from '../harness/product-run.ts'
import type { Bench, OpenScenario, Round, Scenario, Side } from '../harness/scenario.ts'
import { usageMessages } from '../harness/usage-records.ts'
import { benchKafka, deleteTopic, fillTopic } from '../harness/usage-topic.ts'

const SEED = 20_261_127
/** Some seconds of one consumer. */
const EVENTS = 300_000
const QUICK_EVENTS = 60_000
/** Of them, before the clock starts: compiling, which costs both sides the same, would bring them closer together. */
const WARM_UP_SHARE = 0.2
const CROWDS = { thousand: 1_000, million: 1_000_000 } as const

export const customers: Scenario = {
  name: 'customers',
  ratios: [
    {
      id: 'R7',
      title: 'an event among 1,000,000 customers ÷ among 1,000, CPU of meter and Redis',
      goal: { atMost: 1.5 },
      of: (round) => meteringMicros(round, 'million') / meteringMicros(round, 'thousand')
    }
  ],
  open: openCustomers
}

function meteringMicros(round: Round, side: keyof typeof CROWDS): number {
  return microsOf(round, side, ['meter', 'redis'])
}

async function openCustomers(bench: Bench): Promise<OpenScenario> {
  const kafka = benchKafka(bench.urls.KAFKA_BROKERS)
  const events = bench.isQuick ? QUICK_EVENTS : EVENTS
  const topics: string[] = []
  const close = async (): Promise<void> => {
    for (const topic of topics.splice(0)) await deleteTopic(kafka, topic)
  }
  try {
    const sides: Side[] = []
    for (const [name, customers] of Object.entries(CROWDS)) {
      const topic = `bench-${randomBytes(4).toString('hex')}`
      topics.push(topic)
      bench.progress(`customers: writing ${events} events of ${customers} customers to ${topic}`)
      const records = await fillTopic(kafka, topic, usageMessages({ seed: SEED, events, customers, now: Date.now() }))
      const warmUpRecords = Math.floor(records * WARM_UP_SHARE)
      const run = { topic, records, processes: { meter: 'meter' }, until: 'counted', warmUpRecords } as const
      sides.push({ name, run: () => runProduct(bench, run) })
    }
    return { sides, close }
  } catch (error) {
    await close()
    throw error
  }
}
