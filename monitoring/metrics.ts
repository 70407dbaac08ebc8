/**
 * Every metric of the product, an object per concern: a process makes those it needs on its own registry. The values of each
 * label are few and known: no customer, user or model ever is one.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { HoldOutcome } from '../domain/api-ports.ts'
import { NO_TOKENS, TOKEN_POOLS, type TokenPools } from '../domain/tokens/token-pools.ts'
import type { RejectionCode, UncountedReason, UsageEvent } from '../domain/tokens/usage-event.ts'

const PREFIX = 'tokenmeter_'
/** Named against Prometheus's rules: a gauge called total, a type in a name. The first three are sums of what stands beside them. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
  'nodejs_eventloop_utilization_histogram',
  'nodejs_eventloop_utilization_summary'
]

/** With the numbers of the process itself (CPU, memory, event loop). `processName` is a label of every metric. */
export function createRegistry(processName: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ process: processName })
  collectDefaultMetrics({ register: registry, prefix: PREFIX })
  for (const name of MISNAMED) registry.removeSingleMetric(PREFIX + name)
  return registry
}

const STORE_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const REQUEST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const BATCH_RECORDS = [1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000]

const REJECTIONS = {
  'too-large': 0,
  'not-json': 0,
  'forbidden-key': 0,
  'invalid-envelope': 0,
  'invalid-data': 0,
  'unknown-type': 0,
  'usage-does-not-add-up': 0,
  'too-late': 0,
  'too-early': 0
} as const satisfies Record<RejectionCode, 0>
const CHECK_OUTCOMES = { allowed: 0, refused: 0, unknown: 0, 'unknown-customer': 0 }
const HOLD_OUTCOMES = {
  held: 0,
  again: 0,
  ended: 0,
  refused: 0,
  conflict: 0,
  'not-found': 0,
  'unknown-customer': 0,
  unknown: 0
} as const satisfies Record<HoldOutcome['outcome'], 0>
const FENCING_STORES = { redis: 0, postgres: 0, clickhouse: 0 }
const REPAIR_MODES = { 'roll-forward': 0, build: 0 }

export type IngestMetrics = EventCounts & IngestProgress

interface EventCounts {
  readonly counted: Counter
  readonly duplicates: Counter
  readonly conflicts: Counter
  readonly rejected: Counter<'reason'>
  readonly tokens: Counter<'kind' | 'pool'>
}

interface IngestProgress {
  readonly batchRecords: Histogram
  readonly applySeconds: Histogram
  readonly flushSeconds: Histogram
  readonly blockEvents: Histogram
  readonly fenced: Counter<'store'>
  readonly repairs: Counter<'mode'>
  readonly lagRecords: Gauge<'partition'>
  readonly freshnessSeconds: Gauge<'partition'>
  readonly paused: Gauge<'partition'>
}

export function createIngestMetrics(registry: Registry): IngestMetrics {
  const metrics = { ...createEventCounts([registry]), ...createIngestProgress([registry]) }
  countTokens(metrics, { used: NO_TOKENS, voided: NO_TOKENS })
  return metrics
}

function createEventCounts(registers: Registry[]): EventCounts {
  return {
    counted: new Counter({ name: 'tokenmeter_events_counted_total', help: 'Usage events counted.', registers }),
    duplicates: new Counter({
      name: 'tokenmeter_events_duplicate_total',
      help: 'Repeats of an event that was counted before.',
      registers
    }),
    conflicts: new Counter({
      name: 'tokenmeter_events_conflict_total',
      help: 'Events under the identity of another event, with other content. Someone reuses ids.',
      registers
    }),
    rejected: fromZero(
      new Counter({
        name: 'tokenmeter_events_rejected_total',
        help: 'Events that could not be read or accepted, by reason; each is a dead letter.',
        labelNames: ['reason'],
        registers
      }),
      REJECTIONS
    ),
    tokens: new Counter({
      name: 'tokenmeter_tokens_total',
      help: 'Tokens of the events counted, by pool: used, and taken back by corrections (voided).',
      labelNames: ['kind', 'pool'],
      registers
    })
  }
}

/** A counter of one label that tells all its values from the start: one that first appears as 1 has, to Prometheus, not grown. */
function fromZero<Label extends string>(
  counter: Counter<Label>,
  values: Readonly<Record<string, number>>
): Counter<Label> {
  for (const [value, start] of Object.entries(values)) counter.labels(value).inc(start)
  return counter
}

function createIngestProgress(registers: Registry[]): IngestProgress {
  return {
    batchRecords: new Histogram({
      name: 'tokenmeter_batch_records',
      help: 'Records of one batch.',
      buckets: BATCH_RECORDS,
      registers
    }),
    applySeconds: new Histogram({
      name: 'tokenmeter_apply_seconds',
      help: 'Time to count one batch in Redis.',
      buckets: STORE_SECONDS,
      registers
    }),
    flushSeconds: new Histogram({
      name: 'tokenmeter_flush_seconds',
      help: 'Time of one flush to the ledger.',
      buckets: STORE_SECONDS,
      registers
    }),
    blockEvents: new Histogram({
      name: 'tokenmeter_block_events',
      help: 'Events of one block inserted into ClickHouse.',
      buckets: BATCH_RECORDS,
      registers
    }),
    fenced: fromZero(
      new Counter({
        name: 'tokenmeter_fenced_total',
        help: 'Writes refused because another consumer had moved on: each is a double count that did not happen.',
        labelNames: ['store'],
        registers
      }),
      FENCING_STORES
    ),
    repairs: fromZero(
      new Counter({
        name: 'tokenmeter_repairs_total',
        help: 'Shards made usable again after a Redis restart: rolled forward or built from empty.',
        labelNames: ['mode'],
        registers
      }),
      REPAIR_MODES
    ),
    lagRecords: new Gauge({
      name: 'tokenmeter_lag_records',
      help: 'Records of the partition that are not in the ledger yet.',
      labelNames: ['partition'],
      registers
    }),
    freshnessSeconds: new Gauge({
      name: 'tokenmeter_freshness_seconds',
      help: 'Age, when it was counted, of the last record counted.',
      labelNames: ['partition'],
      registers
    }),
    paused: new Gauge({
      name: 'tokenmeter_paused',
      help: '1 while the partition waits for a store that is away.',
      labelNames: ['partition'],
      registers
    })
  }
}

/** Counts records that were not counted, each under its reason. */
export function countUncounted(metrics: IngestMetrics, reasons: readonly UncountedReason[]): void {
  for (const reason of reasons) {
    if (reason === 'duplicate') metrics.duplicates.inc()
    else if (reason === 'conflict') metrics.conflicts.inc()
    else metrics.rejected.inc({ reason })
  }
}

/** Adds the sums of a batch as its events have them: a correction's pools are negated, a counter never goes down. */
export function countTokens({ tokens }: IngestMetrics, sums: Readonly<Record<UsageEvent['kind'], TokenPools>>): void {
  for (const kind of ['used', 'voided'] as const) {
    for (const pool of TOKEN_POOLS) tokens.inc({ kind, pool }, Math.abs(sums[kind][pool]))
  }
}

/** A partition that was taken away must not look as if it stood still. */
export function forgetPartition(metrics: IngestMetrics, partition: number): void {
  for (const gauge of [metrics.lagRecords, metrics.freshnessSeconds, metrics.paused]) {
    gauge.remove({ partition: String(partition) })
  }
}

/** The port with one method timed. On the port itself: a proxy has none of its private fields. */
export function withTimer<T extends object>(port: T, method: keyof T & string, seconds: Histogram): T {
  const act: unknown = Reflect.get(port, method)
  if (typeof act !== 'function') throw new Error(`there is no method ${method} to time`)
  const timed = async (...args: unknown[]): Promise<unknown> => {
    const end = seconds.startTimer()
    try {
      return await Reflect.apply(act, port, args)
    } finally {
      end()
    }
  }
  return new Proxy(port, {
    get(target, property) {
      if (property === method) return timed
      const value: unknown = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

export interface ApiMetrics {
  readonly requestSeconds: Histogram<'route' | 'method' | 'status'>
  readonly requestsInFlight: Gauge
  readonly checks: Counter<'outcome'>
  readonly holds: Counter<'outcome'>
  readonly usersActive: Gauge<'window'>
}

export function createApiMetrics(registry: Registry): ApiMetrics {
  const registers = [registry]
  return {
    requestSeconds: new Histogram({
      name: 'tokenmeter_request_seconds',
      help: 'Time to answer an HTTP request, by route pattern, method and class of status.',
      labelNames: ['route', 'method', 'status'],
      buckets: REQUEST_SECONDS,
      registers
    }),
    requestsInFlight: new Gauge({
      name: 'tokenmeter_requests_in_flight',
      help: 'HTTP requests that have come and are not answered yet.',
      registers
    }),
    checks: fromZero(
      new Counter({
        name: 'tokenmeter_checks_total',
        help: 'Quota checks by outcome: allowed, refused, unknown (the meter could not know), unknown-customer.',
        labelNames: ['outcome'],
        registers
      }),
      CHECK_OUTCOMES
    ),
    holds: fromZero(
      new Counter({
        name: 'tokenmeter_holds_total',
        help: 'Holds asked for, extended and ended, by outcome.',
        labelNames: ['outcome'],
        registers
      }),
      HOLD_OUTCOMES
    ),
    usersActive: new Gauge({
      name: 'tokenmeter_users_active',
      help: 'Users last seen within the window, of all customers. Every API process tells the same figure: take the largest.',
      labelNames: ['window'],
      registers
    })
  }
}

export interface Answer {
  readonly method: string
  /** The pattern, never the address. */
  readonly route: string
  readonly status: number
  readonly elapsedMs: number
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

export function observeAnswer(metrics: ApiMetrics, { method, route, status, elapsedMs }: Answer): void {
  const labels = { route, method: METHODS.has(method) ? method : 'other', status: `${Math.floor(status / 100)}xx` }
  metrics.requestSeconds.observe(labels, elapsedMs / 1_000)
}

/** Counts a request until its answer is out or its caller has gone; the framework tells of the first alone. */
export function countInFlight(
  { requestsInFlight }: ApiMetrics,
  response: { once(event: 'close', heard: () => void): unknown }
): void {
  requestsInFlight.inc()
  response.once('close', () => requestsInFlight.dec())
}

/** The windows over which active users are counted, back from now, ms. */
export const ACTIVITY_WINDOWS_MS = { '15m': 900_000, '1d': 86_400_000 } as const

export type ActiveUsers = Readonly<Record<keyof typeof ACTIVITY_WINDOWS_MS, number>>

/** Null: they could not be counted, so that no figure is told: an old one would pass for true. */
export function setActiveUsers({ usersActive }: ApiMetrics, users: ActiveUsers | null): void {
  usersActive.reset()
  for (const [window, count] of Object.entries(users ?? {})) usersActive.set({ window }, count)
}
