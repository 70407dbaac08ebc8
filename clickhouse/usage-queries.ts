// Answers usage queries. Statements are put together from fixed pieces of text; every value travels as a parameter.

import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client'
import type { UsageGrain, UsageGroup, UsageQueries, UsageQuery, UsageRow } from '../domain/api-ports.ts'
import { QUARTER_HOUR_MS } from '../domain/tokens/quarter-hour.ts'
import { TOKEN_POOLS } from '../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../domain/tokens/usage-event.ts'
import { decodeEventRow, EVENT_SELECT, type EventRow } from './event-row.ts'
import { translatingErrors } from './store-error.ts'

/** The most rows one query answers; a `limit` above it is a mistake of the caller. */
export const USAGE_ROWS_MAX = 10_000
/** A read that takes longer is stopped by the server. */
export const READ_SECONDS_MAX = 10
/** The most of the server's memory one read may take. */
const READ_MEMORY_BYTES_MAX = 2 * 1024 ** 3

const READ_SETTINGS: ClickHouseSettings = {
  max_execution_time: READ_SECONDS_MAX,
  max_result_rows: String(USAGE_ROWS_MAX),
  result_overflow_mode: 'throw',
  max_memory_usage: String(READ_MEMORY_BYTES_MAX)
}

/** What a DateTime can hold, in seconds since the epoch: 1970 to 2106. */
const INSTANT_SECONDS_MAX = 2 ** 32 - 1

/**
 * Start of the window that holds the instant `at`, in seconds since the epoch. A local midnight that doesn't exist is the
 * first instant of its day. The hour is reckoned by hand, as the time on the local clock less its minutes:
 * `toStartOfHour` errs for the rest of the day in zones whose clock moves by less than an hour (Lord Howe).
 */
const WINDOW_START: Readonly<Record<UsageGrain, string>> = {
  'quarter-hour': 'intDiv(toUnixTimestamp(at), 900) * 900',
  hour: 'toUnixTimestamp(at) - toMinute(at, {timeZone:String}) * 60 - toSecond(at, {timeZone:String})',
  day: 'toUnixTimestamp(toStartOfDay(at, {timeZone:String}))',
  week: 'toUnixTimestamp(toDateTime(toStartOfWeek(at, 1, {timeZone:String}), {timeZone:String}))',
  month: 'toUnixTimestamp(toDateTime(toStartOfMonth(at, {timeZone:String}), {timeZone:String}))',
  all: 'null'
}

/** In the order of the answer, whatever the order of the question. */
const GROUP_COLUMNS: readonly (readonly [UsageGroup, string])[] = [
  ['customer', 'customer_id'],
  ['user', 'user_id'],
  ['model', 'model']
]

const POOL_NAMES = `[${TOKEN_POOLS.map((pool) => `'${pool}'`).join(', ')}]`
const POOL_RANKS = `[${TOKEN_POOLS.map((_, rank) => rank).join(', ')}]`

interface AnsweredRow {
  readonly start: number | null
  readonly customer_id?: string
  readonly user_id?: string
  readonly model?: string
  readonly pool?: string
  readonly tokens_text: string
  readonly events_text: string
}

export class ClickHouseUsageQueries implements UsageQueries {
  readonly #client: ClickHouseClient

  constructor(client: ClickHouseClient) {
    this.#client = client
  }

  /**
   * Rows in the order of window, customer, user, model, pool. A window is named by its start, which may lie before `from`.
   * Grouped by pool, a group has a row for each of the five, zeros too, and each repeats the events of the group.
   */
  async usage(query: UsageQuery): Promise<readonly UsageRow[]> {
    if (!Number.isInteger(query.limit) || query.limit < 1 || query.limit > USAGE_ROWS_MAX) {
      throw new RangeError(`a usage query may ask for 1 to ${USAGE_ROWS_MAX} rows, not ${query.limit}`)
    }
    const rows = await this.#read<AnsweredRow>('answer a usage query', usageStatement(query), {
      from: query.from,
      to: query.to,
      fromSeconds: clampSeconds(query.from),
      toSeconds: clampSeconds(query.to),
      timeZone: query.timeZone,
      customerId: query.customerId ?? '',
      userId: query.userId ?? '',
      model: query.model ?? '',
      limit: query.limit
    })
    return rows.map(decodeUsageRow)
  }

  /** Of several events under one identity (their marks had been forgotten in between) the one that arrived last. */
  async findEvent(customerId: string, source: string, id: string): Promise<UsageEvent | null> {
    const statement = `select ${EVENT_SELECT} from usage_event
      where customer_id = {customerId:String} and source = {source:String} and id = {id:String} and kind = 'used'
      order by arrived_at desc, record_offset desc limit 1`
    const [row] = await this.#read<EventRow>('find an event', statement, { customerId, source, id })
    return row === undefined ? null : decodeEventRow(row).event
  }

  async #read<T>(what: string, query: string, params: Record<string, string | number>): Promise<T[]> {
    return translatingErrors(what, async () => {
      const answer = await this.#client.query({
        query,
        query_params: params,
        format: 'JSONEachRow',
        clickhouse_settings: READ_SETTINGS
      })
      return answer.json<T>()
    })
  }
}

/** Sums per group first, then, when asked for, takes the five sums apart: one row is touched once, not five times. */
function usageStatement(query: UsageQuery): string {
  const columns = GROUP_COLUMNS.filter(([group]) => query.groupBy.includes(group)).map(([, column]) => column)
  const keys = ['start', ...columns]
  const byPool = query.groupBy.includes('pool')
  const tokens = byPool ? 'pool, toString(sum_of_pool) as tokens_text' : 'toString(arraySum(sums)) as tokens_text'
  return `select ${keys.join(', ')}, ${tokens}, toString(event_count) as events_text
    from (
      select ${[`${WINDOW_START[query.grain]} as start`, ...columns].join(', ')},
        sumForEach([input, cache_read, cache_write, output, reasoning]) as sums, sum(events) as event_count
      from (${sourceOf(query)})
      group by ${keys.join(', ')}
    )
    ${byPool ? `array join ${POOL_NAMES} as pool, ${POOL_RANKS} as pool_rank, sums as sum_of_pool` : ''}
    order by ${[...keys, ...(byPool ? ['pool_rank'] : [])].join(', ')}
    limit {limit:UInt32}`
}

/** The roll-up, unless an end of the query lies within a quarter-hour, of which only the events themselves can tell a part. */
function sourceOf(query: UsageQuery): string {
  const conditions = [
    ...(query.customerId === null ? [] : ['customer_id = {customerId:String}']),
    ...(query.userId === null ? [] : ['user_id = {userId:String}']),
    ...(query.model === null ? [] : ['model = {model:String}'])
  ].map((condition) => ` and ${condition}`)
  if (query.from % QUARTER_HOUR_MS === 0 && query.to % QUARTER_HOUR_MS === 0) {
    return `select quarter_start as at, customer_id, user_id, model, input, cache_read, cache_write, output, reasoning, events
      from usage_quarter_hour
      where quarter_start >= fromUnixTimestamp({fromSeconds:Int64}) and quarter_start < fromUnixTimestamp({toSeconds:Int64})${conditions.join('')}`
  }
  return `select toDateTime(occurred_at, 'UTC') as at, customer_id, user_id, model, toInt128(input) as input,
      toInt128(cache_read) as cache_read, toInt128(cache_write) as cache_write, toInt128(output) as output,
      toInt128(reasoning) as reasoning, toUInt64(1) as events
    from usage_event
    where occurred_at >= fromUnixTimestamp64Milli({from:Int64}) and occurred_at < fromUnixTimestamp64Milli({to:Int64})${conditions.join('')}`
}

function clampSeconds(instantMs: number): number {
  return Math.min(Math.max(Math.floor(instantMs / 1_000), 0), INSTANT_SECONDS_MAX)
}

function decodeUsageRow(row: AnsweredRow): UsageRow {
  return {
    start: row.start === null ? null : row.start * 1_000,
    customerId: row.customer_id ?? null,
    userId: row.user_id ?? null,
    model: row.model ?? null,
    pool: row.pool ?? null,
    tokens: row.tokens_text,
    events: row.events_text
  }
}
