/**
 * What consumers take when nothing comes: the product's meter and analytics, and as many of kafkajs alone, each a process of its own.
 * All of them stand from the beginning to the end, so that nobody is measured while it starts; the warm-up is where they settle.
 * The product asks the broker four times a second, writes a sign of life for each partition each second and asks where the log ends;
 * kafkajs by its defaults asks once in five seconds, and looks after a timer a thousand times a second. Three rounds and the warm-up
 * take eighty seconds.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeInstallation } from '../../stack/installation/make-installation.ts'
import type { Supervisor } from '../../stack/supervisor.ts'
import { deleteGroups, planConsumers, planStock, startAll, superviseAll } from '../harness/consumers.ts'
import { cpuMicros } from '../harness/cpu-time.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { benchKafka, deleteTopic, fillTopic } from '../harness/usage-topic.ts'

/** The kernel counts in steps of 10 ms: a consumer that takes a hundredth of a core is told to a tenth. */
const WINDOW_MS = 10_000
const QUICK_WINDOW_MS = 3_000
/** An installation of the bench has short sessions, which heartbeats must keep up with; nobody else does. */
const DEFAULTS = { KAFKA_SESSION_TIMEOUT_MS: '' }
const PRODUCT = ['meter', 'analytics'] as const
const STOCK = ['stock-1', 'stock-2'] as const

export const idle: Scenario = {
  name: 'idle',
  rounds: 3,
  ratios: [
    {
      id: 'R12',
      title: 'meter and analytics consumers ÷ as many kafkajs consumers, CPU when nothing comes',
      goal: { atMost: 0.3 },
      of: (round) => round.figure('product', 'cpuMicrosPerSecond') / round.figure('stock', 'cpuMicrosPerSecond')
    }
  ],
  open: openIdle
}

async function openIdle(bench: Bench): Promise<OpenScenario> {
  const { urls, isQuick, progress } = bench
  await using opened = new AsyncDisposableStack()
  const kafka = benchKafka(urls.KAFKA_BROKERS)
  const topic = `bench-${randomBytes(4).toString('hex')}`
  const groups = STOCK.map((name) => `${topic}-${name}`)
  opened.defer(() => deleteGroups(kafka, groups))
  opened.defer(() => deleteTopic(kafka, topic))
  await fillTopic(kafka, topic, [])
  const installation = await makeInstallation(urls, 'bench')
  opened.defer(() => installation.remove())
  const definitions = [
    ...(await planConsumers({ ...installation.environment, ...DEFAULTS }, PRODUCT)),
    ...STOCK.map((name, i) => planStock(urls, { name, topic, group: groups[i] ?? '' }))
  ]
  const supervisor = superviseAll({ definitions, progress })
  opened.defer(() => supervisor.stopAll())
  await startAll(supervisor)
  const windowMs = isQuick ? QUICK_WINDOW_MS : WINDOW_MS
  const kept = opened.move()
  return {
    sides: [
      { name: 'stock', run: () => watch(supervisor, STOCK, windowMs) },
      { name: 'product', run: () => watch(supervisor, PRODUCT, windowMs) }
    ],
    close: () => kept.disposeAsync()
  }
}

/** `cpuMicrosPerSecond` of all of them, and of each by its name. */
async function watch(supervisor: Supervisor, names: readonly string[], windowMs: number): Promise<Reading> {
  const startedAt = performance.now()
  const before = names.map((name) => cpuOf(supervisor, name))
  await sleep(windowMs)
  const seconds = (performance.now() - startedAt) / 1_000
  const each = names.map((name, i) => [name, (cpuOf(supervisor, name) - (before[i] ?? 0)) / seconds] as const)
  return {
    cpuMicrosPerSecond: each.reduce((sum, [, micros]) => sum + micros, 0),
    ...Object.fromEntries(each.map(([name, micros]) => [`${name}MicrosPerSecond`, micros]))
  }
}

function cpuOf(supervisor: Supervisor, name: string): number {
  const pid = supervisor.pidOf(name)
  if (pid === null) throw new Error(`${name} does not run any more`)
  return cpuMicros(pid)
}
