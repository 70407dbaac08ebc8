/**
 * What reaches the stores behind the meter, each against the way that comes to mind first: ClickHouse in blocks against small
 * batches, the ledger's sums in Postgres against a row for each event. Both sides of a pair have one loop for each partition, as
 * consumers have, and all loops run at once.
 */
import { randomBytes } from 'node:crypto'
import { connectClickHouse } from '../../clickhouse/connect.ts'
import { migrate } from '../../clickhouse/migrate.ts'
import { ClickHouseUsageLog } from '../../clickhouse/usage-log.ts'
import type { LedgerPosition, MeteredEvent } from '../../domain/ports.ts'
import { partitionOf } from '../../domain/tokens/shard.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { PendingUsage } from '../../ingest/ledger/pending-usage.ts'
import { consumerVariables } from '../../monitoring/config.ts'
import { loadConfig } from '../../monitoring/load-config.ts'
import type { Database, Statement } from '../../sql/connect.ts'
import { PostgresUsageLedger } from '../../sql/usage-ledger.ts'
import type { Bench, OpenScenario, Reading, Scenario } from '../harness/scenario.ts'
import { makeLedgerDatabase } from '../harness/stores/ledger-database.ts'
import { usageEvents } from '../harness/usage-records.ts'
import { WorkClock } from '../harness/work-clock.ts'

const SEED = 20_261_128
/** Events lie in the two minutes before it, hence in one quarter-hour and one month, as a busy day's traffic does. */
const NOW = Date.UTC(2026, 10, 26, 12, 10)
const CUSTOMERS = 1_000

// ---- ClickHouse

/** A block of each. As many statements at once as the stack's ClickHouse runs; small batches of more would take minutes. */
const PARTITIONS = 4
const QUICK_PARTITIONS = 1
const SMALL_BATCH_EVENTS = 500
/** A slow machine is no failure: longer than a consumer waits. */
const REQUEST_TIMEOUT_MS = 60_000

export const blocks: Scenario = {
  name: 'blocks',
  ratios: [
    {
      id: 'R8',
      title: `ClickHouse in blocks of BLOCK_EVENTS_MAX ÷ in batches of ${SMALL_BATCH_EVENTS}, roll-up included, rows/s`,
      goal: { atLeast: 10 },
      of: (round) => round.figure('blocks', 'rowsPerSecond') / round.figure('batches', 'rowsPerSecond')
    }
  ],
  open: openBlocks
}

async function openBlocks({ urls, isQuick }: Bench): Promise<OpenScenario> {
  const { BLOCK_EVENTS_MAX: blockEventsMax } = loadConfig([consumerVariables], {})
  const partitions = isQuick ? QUICK_PARTITIONS : PARTITIONS
  const logs = Array.from({ length: partitions }, (_, partition) => partitionLog(partition, blockEventsMax))
  return {
    sides: [
      { name: 'blocks', run: () => appendAll(urls.CLICKHOUSE_URL, { logs, blockEvents: blockEventsMax }) },
      { name: 'batches', run: () => appendAll(urls.CLICKHOUSE_URL, { logs, blockEvents: SMALL_BATCH_EVENTS }) }
    ],
    close: async () => undefined
  }
}

function partitionLog(partition: number, events: number): readonly MeteredEvent[] {
  const shape = { seed: SEED + partition, events, customers: CUSTOMERS, now: NOW, repeats: 0 }
  return Array.from(usageEvents(shape), (event, offset) => ({ offset, arrivedAt: NOW, event }))
}

interface Appending {
  /** Events by partition. */
  readonly logs: readonly (readonly MeteredEvent[])[]
  readonly blockEvents: number
}

/** Into a database of its own. Merges that the last insert leaves to do are on nobody's account, though small batches leave more. */
async function appendAll(url: string, { logs, blockEvents }: Appending): Promise<Reading> {
  const database = `bench_${randomBytes(4).toString('hex')}`
  const client = connectClickHouse({ url, database, requestTimeoutMs: REQUEST_TIMEOUT_MS })
  try {
    await migrate(url, database)
    const log = new ClickHouseUsageLog({ client, topic: database })
    const clock = new WorkClock({ services: ['clickhouse'] })
    await clock.time(() =>
      Promise.all(
        logs.map(async (events, partition) => {
          for (let from = 0; from < events.length; from += blockEvents) {
            const to = Math.min(from + blockEvents, events.length)
            await log.append(partition, { from, to }, events.slice(from, to))
          }
        })
      )
    )
    const rows = logs.reduce((sum, events) => sum + events.length, 0)
    const answer = await client.query({
      query: `select toString((select count() from usage_event)) as written, toString((select sum(events) from usage_quarter_hour)) as summed`,
      format: 'JSONEachRow'
    })
    const [found] = await answer.json<{ written: string; summed: string }>()
    if (Number(found?.written) !== rows || Number(found?.summed) !== rows) {
      throw new Error(`ClickHouse was given ${rows} rows and has ${JSON.stringify(found)}`)
    }
    return rowsReading(clock, rows)
  } finally {
    await client.command({ query: 'drop database if exists {database:Identifier}', query_params: { database } })
    await client.close()
  }
}

function rowsReading({ seconds, micros }: WorkClock, rows: number): Reading {
  const each = Object.entries(micros).map(([name, taken]) => [`${name}MicrosPerRow`, taken / rows] as const)
  return { rowsPerSecond: rows / seconds, ...Object.fromEntries(each) }
}

// ---- the ledger

const LEDGER_PARTITIONS = 4
/** Events between two flushes of a partition: a second of traffic at 80,000 events/s. Of fewer, fewer share a row. */
const FLUSH_EVENTS = 20_000
/** The first flush inserts rows; those that follow within a quarter-hour find them there. */
const FLUSHES_EACH = 5
const QUICK_FLUSHES_EACH = 2
const STATEMENT_ROWS = 1_000

export const ledger: Scenario = {
  name: 'ledger',
  ratios: [
    {
      id: 'R9',
      title: `ledger (sums and cursor, one statement a second) ÷ upsert of single events, ${STATEMENT_ROWS} rows a statement, events/s`,
      goal: { atLeast: 2 },
      of: (round) => round.figure('ledger', 'eventsPerSecond') / round.figure('events', 'eventsPerSecond')
    }
  ],
  open: openLedger
}

async function openLedger({ urls, isQuick }: Bench): Promise<OpenScenario> {
  await using opened = new AsyncDisposableStack()
  const { owner, pipeline } = opened.use(await makeLedgerDatabase(urls.DATABASE_URL, LEDGER_PARTITIONS))
  await owner.query('make the table of single events', { text: EVENT_TABLE })
  const flushes = flushesOf(isQuick ? QUICK_FLUSHES_EACH : FLUSHES_EACH)
  const kept = opened.move()
  return {
    sides: [
      { name: 'ledger', run: () => emptying(owner, () => flushAll(pipeline, flushes)) },
      { name: 'events', run: () => emptying(owner, () => upsertAll(owner, flushes)) }
    ],
    close: () => kept.disposeAsync()
  }
}

/** Events by partition, then by flush. */
type Flushes = readonly (readonly (readonly UsageEvent[])[])[]

/** Repeats were found by the meter before: there are none. */
function flushesOf(count: number): Flushes {
  const byPartition: UsageEvent[][][] = Array.from({ length: LEDGER_PARTITIONS }, () => [])
  const events = count * FLUSH_EVENTS * LEDGER_PARTITIONS
  let number = 0
  for (const event of usageEvents({ seed: SEED, events, customers: CUSTOMERS, now: NOW, repeats: 0 })) {
    const flushes = byPartition[partitionOf(event.customerId, LEDGER_PARTITIONS)] ?? []
    const flush = Math.floor(number++ / (FLUSH_EVENTS * LEDGER_PARTITIONS))
    const found = flushes[flush]
    if (found === undefined) flushes[flush] = [event]
    else found.push(event)
  }
  return byPartition
}

async function emptying(owner: Database, work: () => Promise<Reading>): Promise<Reading> {
  await owner.query('empty the tables', { text: 'truncate usage_ledger, usage_partition, single_event' })
  return work()
}

/** As the consumer of each partition does it: summed in memory, then written with the cursor by one statement. */
async function flushAll(database: Database, partitions: Flushes): Promise<Reading> {
  const store = new PostgresUsageLedger(database, 1)
  const positions = await Promise.all(partitions.map((_, partition) => store.open(partition)))
  const clock = new WorkClock({ services: ['postgres'] })
  const rows = await clock.time(() =>
    Promise.all(
      partitions.map(async (flushes, partition) => {
        let position = positions[partition]
        let written = 0
        for (const events of flushes) {
          if (position === undefined) throw new Error(`partition ${partition} was not opened`)
          const pending = new PendingUsage()
          for (const event of events) pending.add(event)
          const sums = pending.rows()
          const cursor = position.cursor + events.length
          const to: LedgerPosition = { ...position, cursor, previousArrivedAt: NOW, shardCursors: [cursor] }
          const outcome = await store.flush({ partition, from: position, to, rows: sums, uncounted: [] })
          if (outcome === 'fenced') throw new Error(`the ledger did not take a flush of partition ${partition}`)
          position = to
          written += sums.length
        }
        return written
      })
    )
  )
  const events = countOf(partitions)
  await expectSum(database, { text: 'select sum(events) as events from usage_ledger', events })
  return { ...clock.reading(events), eventsPerRow: events / rows.reduce((sum, count) => sum + count, 0) }
}

/**
 * The way without sums: each event a row under its identity, so that a repeat changes nothing. Whoever asks what was used adds up
 * then. A consumer that commits its offset afterwards loses nothing and doubles nothing either; the table grows by every event.
 */
const EVENT_TABLE = `
  create table single_event (
    customer_id text collate "C" not null,
    source text collate "C" not null,
    id text collate "C" not null,
    user_id text not null,
    model text not null,
    occurred_at timestamptz not null,
    input bigint not null,
    cache_read bigint not null,
    cache_write bigint not null,
    output bigint not null,
    reasoning bigint not null,
    primary key (customer_id, source, id)
  )`
const EVENT_COLUMNS = 11

async function upsertAll(database: Database, partitions: Flushes): Promise<Reading> {
  const clock = new WorkClock({ services: ['postgres'] })
  await clock.time(() =>
    Promise.all(
      partitions.map(async (flushes) => {
        const events = flushes.flat()
        for (let from = 0; from < events.length; from += STATEMENT_ROWS) {
          await database.query('insert events', upsertOf(events.slice(from, from + STATEMENT_ROWS)))
        }
      })
    )
  )
  const events = countOf(partitions)
  await expectSum(database, { text: 'select count(*) as events from single_event', events })
  return clock.reading(events)
}

function insertOf(rows: number): string {
  const parameters = Array.from({ length: rows * EVENT_COLUMNS }, (_, i) => `$${i + 1}`)
  const lists = Array.from(
    { length: rows },
    (_, row) => `(${parameters.slice(row * EVENT_COLUMNS, (row + 1) * EVENT_COLUMNS).join()})`
  )
  return `insert into single_event (customer_id, source, id, user_id, model, occurred_at, input, cache_read, cache_write, output, reasoning)
          values ${lists.join()} on conflict do nothing`
}

const FULL_INSERT = insertOf(STATEMENT_ROWS)

/** Under a name, so that the server parses a full statement once for each connection. */
function upsertOf(events: readonly UsageEvent[]): Statement {
  return {
    name: `insert-${events.length}-events`,
    text: events.length === STATEMENT_ROWS ? FULL_INSERT : insertOf(events.length),
    values: events.flatMap(({ customerId, source, id, userId, model, occurredAt, tokens }) => [
      customerId,
      source,
      id,
      userId,
      model,
      new Date(occurredAt),
      tokens.input,
      tokens.cacheRead,
      tokens.cacheWrite,
      tokens.output,
      tokens.reasoning
    ])
  }
}

function countOf(partitions: Flushes): number {
  return partitions.reduce((sum, flushes) => sum + flushes.reduce((count, events) => count + events.length, 0), 0)
}

async function expectSum(database: Database, { text, events }: { text: string; events: number }): Promise<void> {
  const [found] = await database.query<{ events: string }>('count what was written', { text })
  if (Number(found?.events) !== events) throw new Error(`${events} events were written and ${found?.events} are there`)
}
