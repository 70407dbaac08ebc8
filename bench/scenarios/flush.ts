/**
 * What it takes to bring a second of usage from the meter to Postgres. Ours sums what was counted in the consumer's memory and writes
 * those sums by one statement: it costs by what was used. The usual way keeps the sums in Redis alone and copies them from there:
 * SCAN over the customers' counters, HGETALL of each, one upsert of all of them. It costs by how many customers there are.
 *
 * The usual way is spared most of what ours does: it keeps a total per customer, model and month, where the ledger tells users and
 * quarter-hours apart, and it moves no cursor. What Redis lost before a copy is lost for it. `scanChanged` is the same with more care:
 * Postgres leaves totals alone that have not changed.
 */
import { Redis } from 'ioredis'
import { totalTokens } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { PendingUsage } from '../../ingest/ledger/pending-usage.ts'
import type { Database, Statement } from '../../sql/connect.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { makeLedgerDatabase } from '../harness/stores/ledger-database.ts'
import { startOwnRedis } from '../harness/stores/own-redis.ts'
import { customerName, usageEvents } from '../harness/usage-records.ts'
import { WorkClock } from '../harness/work-clock.ts'

const SEED = 20_261_129
/** The two minutes before it, in which events lie, are within one quarter-hour. */
const NOW = Date.UTC(2026, 10, 26, 12, 10)
const MONTH = '2026-11'
const CUSTOMERS = 20_000
/** Those who use anything while it is measured: a tenth. */
const ACTIVE_CUSTOMERS = 2_000
/** What a second brings: ten of an active customer, by far more of the first ones and none of some. */
const SECOND_EVENTS = 20_000
/** What each customer has used this month before; what active ones use besides comes on top. */
const IDLE_MODELS = ['gpt-5.1', 'gpt-5.1-mini'] as const
const FLUSHES = 4
const QUICK_FLUSHES = 2
const SCAN_COUNT = 1_000
const PIPELINE_COMMANDS = 1_000
const PARTITION = 0

export const flush: Scenario = {
  name: 'flush',
  ratios: [
    {
      id: 'X1',
      title: `a second's sums to Postgres ÷ SCAN, HGETALL and upsert of ${CUSTOMERS} customers' counters, flushes/s`,
      goal: { atLeast: 5 },
      of: (round) => round.figure('sums', 'flushesPerSecond') / round.figure('scan', 'flushesPerSecond')
    }
  ],
  open: openFlush
}

interface Flushing {
  readonly owner: Database
  readonly pipeline: Database
  readonly redis: Redis
  readonly redisPid: number | null
  /** Events by second. */
  readonly seconds: readonly (readonly UsageEvent[])[]
}

async function openFlush({ urls, isQuick }: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const server = opened.use(await startOwnRedis())
  const redis = new Redis(server.url)
  opened.defer(() => redis.disconnect())
  const { owner, pipeline } = opened.use(await makeLedgerDatabase(urls.DATABASE_URL, 1))
  await owner.query('make the table of totals', { text: TOTAL_TABLE })
  const shape = { events: SECOND_EVENTS, customers: ACTIVE_CUSTOMERS, now: NOW, repeats: 0 }
  // The first is flushed before the clock starts: rows that a flush finds there are the rule.
  const seconds = Array.from({ length: 1 + (isQuick ? QUICK_FLUSHES : FLUSHES) }, (_, second) => [
    ...usageEvents({ seed: SEED + second, ...shape })
  ])
  const flushing = { owner, pipeline, redis, redisPid: server.pid, seconds }
  const kept = opened.move()
  return {
    sides: [
      { name: 'sums', run: () => emptying(flushing, flushSums) },
      { name: 'scan', run: () => emptying(flushing, (all) => flushScans(all, UPSERT_TOTALS)) },
      { name: 'scanChanged', run: () => emptying(flushing, (all) => flushScans(all, UPSERT_CHANGED)) }
    ],
    close: () => kept.disposeAsync()
  }
}

async function emptying(flushing: Flushing, work: (flushing: Flushing) => Promise<Reading>): Promise<Reading> {
  await flushing.redis.flushall('SYNC')
  await flushing.owner.query('empty the tables', { text: 'truncate usage_ledger, usage_partition, usage_total' })
  return work(flushing)
}

/** Summing is a part of it, though the consumer does that all along and not when it flushes. */
async function flushSums({ owner, pipeline, redisPid, seconds }: Flushing): Promise<Reading> {
  const clock = new WorkClock({ services: ['postgres'], pids: { redis: redisPid } })
  const ledger = new PostgresUsageLedger(pipeline, 1)
  let position = await ledger.open(PARTITION)
  let rows = 0
  const flushSecond = async (events: readonly UsageEvent[]): Promise<void> => {
    const pending = new PendingUsage()
    for (const event of events) pending.add(event)
    const summed = pending.rows()
    const cursor = position.cursor + events.length
    const to = { ...position, cursor, previousArrivedAt: NOW, shardCursors: [cursor] }
    const outcome = await ledger.flush({ partition: PARTITION, from: position, to, rows: summed, uncounted: [] })
    if (outcome === 'fenced') throw new Error('the ledger did not take a flush')
    position = to
    rows = summed.length
  }
  for (const [second, events] of seconds.entries()) {
    if (second === 0) await flushSecond(events)
    else await clock.time(() => flushSecond(events))
  }
  const text = 'select sum(input + cache_read + cache_write + output + reasoning) as tokens from usage_ledger'
  await expectTokens(owner, { text, tokens: tokensOf(seconds.flat()) })
  return readingOfFlushes(clock, { flushes: seconds.length - 1, rows })
}

async function flushScans({ owner, redis, redisPid, seconds }: Flushing, upsert: Statement): Promise<Reading> {
  const clock = new WorkClock({ services: ['postgres'], pids: { redis: redisPid } })
  await fillCounters(redis)
  let rows = 0
  for (const [second, events] of seconds.entries()) {
    await countInRedis(redis, events)
    if (second === 0) rows = await copyCounters(redis, owner, upsert)
    else rows = await clock.time(() => copyCounters(redis, owner, upsert))
  }
  const text = 'select sum(tokens) as tokens from usage_total'
  await expectTokens(owner, { text, tokens: tokensOf(seconds.flat()) + CUSTOMERS * IDLE_MODELS.length })
  return readingOfFlushes(clock, { flushes: seconds.length - 1, rows })
}

const TOTAL_TABLE = `
  create table usage_total (
    customer_id text collate "C" not null,
    month text collate "C" not null,
    model text collate "C" not null,
    tokens bigint not null,
    primary key (customer_id, month, model)
  ) with (fillfactor = 80)`

const COPY = `
  insert into usage_total as kept (customer_id, month, model, tokens)
  select customer_id, month, model, tokens
    from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) as counted (customer_id, month, model, tokens)
  on conflict (customer_id, month, model) do update set tokens = excluded.tokens`
const UPSERT_TOTALS: Statement = { name: 'copy-all', text: COPY }
const UPSERT_CHANGED: Statement = { name: 'copy-changed', text: `${COPY} where kept.tokens <> excluded.tokens` }

/** A copy of everything. A parameter for each value of so many rows is more than a statement may have, hence arrays. */
async function copyCounters(redis: Redis, database: Database, upsert: Statement): Promise<number> {
  const columns: [customers: string[], months: string[], models: string[], tokens: string[]] = [[], [], [], []]
  let cursor = '0'
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', 'used:*', 'COUNT', SCAN_COUNT)
    cursor = next
    const pipeline = redis.pipeline()
    for (const key of keys) pipeline.hgetall(key)
    const answers = (await pipeline.exec()) ?? []
    for (const [i, [error, counters]] of answers.entries()) {
      if (error !== null) throw error
      const [, customerId = '', month = ''] = (keys[i] ?? '').split(':')
      for (const [model, tokens] of Object.entries(counters ?? {})) {
        columns[0].push(customerId)
        columns[1].push(month)
        columns[2].push(model)
        columns[3].push(String(tokens))
      }
    }
  } while (cursor !== '0')
  await database.query('copy the counters', { ...upsert, values: columns })
  return columns[0].length
}

/** A token of each. */
async function fillCounters(redis: Redis): Promise<void> {
  for (let from = 0; from < CUSTOMERS; from += PIPELINE_COMMANDS) {
    const pipeline = redis.pipeline()
    for (let rank = from; rank < Math.min(from + PIPELINE_COMMANDS, CUSTOMERS); rank++) {
      pipeline.hset(keyOf(customerName(rank)), Object.fromEntries(IDLE_MODELS.map((model) => [model, 1])))
    }
    await pipeline.exec()
  }
}

async function countInRedis(redis: Redis, events: readonly UsageEvent[]): Promise<void> {
  for (let from = 0; from < events.length; from += PIPELINE_COMMANDS) {
    const pipeline = redis.pipeline()
    for (const { customerId, model, tokens } of events.slice(from, from + PIPELINE_COMMANDS)) {
      pipeline.hincrby(keyOf(customerId), model, totalTokens(tokens))
    }
    await pipeline.exec()
  }
}

function keyOf(customerId: string): string {
  return `used:${customerId}:${MONTH}`
}

function tokensOf(events: readonly UsageEvent[]): number {
  return events.reduce((sum, { tokens }) => sum + totalTokens(tokens), 0)
}

async function expectTokens(database: Database, { text, tokens }: { text: string; tokens: number }): Promise<void> {
  const [found] = await database.query<{ tokens: string }>('add up what was written', { text })
  if (Number(found?.tokens) !== tokens) throw new Error(`${tokens} tokens were used and ${found?.tokens} are there`)
}

/** `rows`: of the last flush, those that the statement was given. */
function readingOfFlushes({ seconds, micros }: WorkClock, of: { flushes: number; rows: number }): Reading {
  const each = Object.entries(micros).map(([name, taken]) => [`${name}MicrosPerFlush`, taken / of.flushes] as const)
  return {
    flushesPerSecond: of.flushes / seconds,
    secondsPerFlush: seconds / of.flushes,
    cpuMicrosPerFlush: each.reduce((sum, [, taken]) => sum + taken, 0),
    ...Object.fromEntries(each),
    rowsPerFlush: of.rows
  }
}
