/** Consumers as processes that stay: the product's and those of kafkajs alone, for scenarios that watch them while something else happens. */
import type { Kafka } from 'kafkajs'
import { planConsumer } from '../../stack/processes.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import type { Bench } from './scenario.ts'

/** The product's consumers, each a process of its own. */
export async function planConsumers(
  environment: Readonly<Record<string, string>>,
  names: readonly string[]
): Promise<readonly ProcessDefinition[]> {
  return Promise.all(names.map((name) => planConsumer(name, environment)))
}

export interface StockPlan {
  readonly name: string
  readonly topic: string
  readonly group: string
  /** Begins the names of the customers whose events are told. */
  readonly probes?: string
  /** The library's default unless given. */
  readonly maxWaitMs?: number
}

export function planStock({ KAFKA_BROKERS }: Bench['urls'], plan: StockPlan): ProcessDefinition {
  return {
    name: plan.name,
    entry: 'bench/members/stock-watcher.ts',
    environment: {
      KAFKA_BROKERS,
      BENCH_TOPIC: plan.topic,
      BENCH_GROUP: plan.group,
      BENCH_PROBES: plan.probes ?? '',
      BENCH_MAX_WAIT_MS: String(plan.maxWaitMs ?? '')
    },
    readyLine: /^ready$/
  }
}

/** A process that ends unasked stays down, and tells why. */
export function superviseAll(of: {
  readonly definitions: readonly ProcessDefinition[]
  readonly progress: Bench['progress']
  readonly onLine?: (line: string) => void
}): Supervisor {
  return new Supervisor({
    definitions: of.definitions,
    restarts: false,
    onLine: (name, line) => {
      of.onLine?.(line)
      if (/"level":"(error|fatal)"|^ended \((?!code 0\))|Error: /.test(line)) of.progress(`${name}: ${line}`)
    }
  })
}

/** Resolves when each of them does its work. */
export async function startAll(supervisor: Supervisor): Promise<void> {
  for (const name of supervisor.names) supervisor.start(name)
  await Promise.all(supervisor.names.map((name) => supervisor.waitReady(name)))
}

/** Of consumers that have left them. */
export async function deleteGroups(kafka: Kafka, groups: readonly string[]): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  const { groups: there } = await admin.listGroups()
  await admin.deleteGroups(there.map(({ groupId }) => groupId).filter((groupId) => groups.includes(groupId)))
  await admin.disconnect()
}
