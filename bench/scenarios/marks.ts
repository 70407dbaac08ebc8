/**
 * What it costs Redis to remember that an event was seen: the meter's duplicate marks, against a key for each event with an expiry.
 * Each side counts the same events on an empty server, and is read by what the memory in use there grew, all keys and buckets included.
 *
 * The two don't promise the same. A mark also tells a repeat from a conflict, and it stays for one to two duplicate windows, since
 * generations of marks go as a whole; a key goes after exactly one. Where the ratio of one event is r, that of a Redis in operation
 * therefore lies between r and 2 r. The size of a key grows with customer, source and id (here 66 characters, 80 bytes of it); that
 * of a mark does not.
 */
import { Redis } from 'ioredis'
import { DEFAULT_DECODE_LIMITS } from '../../domain/tokens/decode-cloud-event.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { connectRedis } from '../../meter/connect.ts'
import { RedisConsumerMeter } from '../../meter/consumer-meter.ts'
import { RedisMeterRepair } from '../../meter/meter-repair.ts'
import { installationOf, type MeterInstallation, Shards } from '../../meter/shards.ts'
import { consumerVariables, eventVariables, meterVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { startOwnRedis } from '../harness/stores/own-redis.ts'
import { type TrafficShape, usageEvents } from '../harness/usage-records.ts'

const SEED = 20_261_127
/** As METER_MARK_BUCKETS is to be chosen: events of a duplicate window and shard ÷ 200. */
const MARKS_PER_BUCKET = 200
/** An eighth of the default: memory for an event is the same, up to a few percent. */
const QUICK_BUCKETS = 512
/** So few that their counters weigh nothing beside the marks. */
const CUSTOMERS = 20
/** A day, as the product's own window is by default. */
const EXPIRY_SECONDS = 86_400
const PIPELINE_COMMANDS = 1_000
const COMMAND_TIMEOUT_MS = 10_000
const AT = { shard: 0, partition: 0, generation: 1 }

export const marks: Scenario = {
  name: 'marks',
  ratios: [
    {
      id: 'R4',
      title: 'memory of a duplicate mark ÷ SET NX EX per id, bytes',
      goal: { atMost: 0.125 },
      of: (round) => round.figure('marks', 'bytesPerEvent') / round.figure('keys', 'bytesPerEvent')
    }
  ],
  // The allocator's answer is the same each time.
  rounds: 2,
  open: openMarks
}

interface Filling {
  /** Asks for figures and does nothing else, so that what it takes of the server's memory stays the same. */
  readonly watch: Redis
  readonly url: string
  readonly shape: TrafficShape
  readonly installation: MeterInstallation
  readonly batchRecordsMax: number
}

async function openMarks({ isQuick }: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const { url } = opened.use(await startOwnRedis())
  const watch = new Redis(url)
  opened.defer(() => watch.disconnect())
  const { BATCH_RECORDS_MAX: batchRecordsMax, ...config } = loadConfig(
    [meterVariables, eventVariables, consumerVariables],
    { REDIS_URL: url, METER_KEY_PREFIX: 'bench', ...(isQuick && { METER_MARK_BUCKETS: String(QUICK_BUCKETS) }) }
  )
  const installation = installationOf(config, DEFAULT_DECODE_LIMITS.leadMs)
  const events = installation.markBuckets * MARKS_PER_BUCKET
  const shape = { seed: SEED, events, customers: CUSTOMERS, now: Date.now(), repeats: 0 }
  const filling = { watch, url, shape, installation, batchRecordsMax }
  const kept = opened.move()
  return {
    sides: [
      { name: 'marks', run: () => weigh(filling, fillMarks) },
      { name: 'keys', run: () => weigh(filling, fillKeys) }
    ],
    close: () => kept.disposeAsync()
  }
}

/** Of a server that was empty before; all that a side leaves there counts, its shard's state and counters too. */
async function weigh(filling: Filling, fill: (filling: Filling) => Promise<void>): Promise<Reading> {
  const { watch, shape } = filling
  await watch.flushall('SYNC')
  const before = await usedBytes(watch)
  await fill(filling)
  const bytes = (await usedBytes(watch)) - before
  await watch.flushall('SYNC')
  return { bytesPerEvent: bytes / shape.events }
}

/** Counted by the meter as its consumer does it, in a shard that was opened for it. */
async function fillMarks({ url, shape, installation, batchRecordsMax }: Filling): Promise<void> {
  const redis = connectRedis({ url, commandTimeoutMs: COMMAND_TIMEOUT_MS, autoPipelining: false })
  try {
    const shards = new Shards(redis, installation)
    const repair = new RedisMeterRepair(shards)
    await repair.begin(AT.shard, AT.generation, 1)
    await repair.finish(AT.shard, AT.generation, [0])
    const meter = new RedisConsumerMeter(shards)
    const arrivedAt = shape.now
    let cursor = 0
    for (const batch of batchesOf(usageEvents(shape), batchRecordsMax)) {
      const first = cursor
      const events = batch.map((event, i) => ({ offset: first + i, arrivedAt, event }))
      cursor += batch.length
      const reply = await meter.apply({ ...AT, expectedCursor: first, end: cursor, countedUpTo: arrivedAt, events })
      if (reply.refused || reply.verdicts.some((verdict) => verdict !== 'counted')) {
        throw new Error(`the meter did not count all events of offsets ${first} to ${cursor}`)
      }
    }
  } finally {
    redis.disconnect()
  }
}

/** The common way: the identity is the key, and Redis forgets it. */
async function fillKeys({ url, shape }: Filling): Promise<void> {
  const redis = new Redis(url)
  try {
    for (const batch of batchesOf(usageEvents(shape), PIPELINE_COMMANDS)) {
      const pipeline = redis.pipeline()
      for (const { customerId, source, id } of batch) {
        pipeline.set(`usage:${customerId}:${source}:${id}`, '1', 'EX', EXPIRY_SECONDS, 'NX')
      }
      const answers = (await pipeline.exec()) ?? []
      if (answers.length !== batch.length || answers.some(([, answer]) => answer !== 'OK')) {
        throw new Error('Redis did not set every key')
      }
    }
  } finally {
    redis.disconnect()
  }
}

function* batchesOf(events: Iterable<UsageEvent>, size: number): Generator<readonly UsageEvent[]> {
  let batch: UsageEvent[] = []
  for (const event of events) {
    batch.push(event)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

/** Once whoever filled it is gone: a connection that sent large commands keeps large buffers, of which Redis tells late. */
async function usedBytes(watch: Redis): Promise<number> {
  await waitUntil(async () => fieldOf(await watch.info('clients'), 'connected_clients') === 1, {
    what: 'the connection of the side to be gone',
    timeoutMs: COMMAND_TIMEOUT_MS
  })
  return fieldOf(await watch.info('memory'), 'used_memory')
}

function fieldOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1])
}
