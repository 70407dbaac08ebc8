/**
 * Every metric of the product, an object per concern: a process makes those it needs on its own registry. The values of each
 * label are few and known: no customer, user or model ever is one.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { UncountedReason } from '../domain/tokens/usage-event.ts'

/** With the numbers of the process itself (CPU, memory, event loop). `processName` is a label of every metric. */
export function createRegistry(processName: string): Registry {
  const registry = new Registry()
  registry.setDefaultLabels({ process: processName })
  collectDefaultMetrics({ register: registry, prefix: 'tokenmeter_' })
  return registry
}

const STORE_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const REQUEST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const BATCH_RECORDS = [1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000]

export type IngestMetrics = EventCounts & IngestProgress

interface EventCounts {
  readonly counted: Counter
  readonly duplicates: Counter
  readonly conflicts: Counter
  readonly rejected: Counter<'reason'>
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
  return { ...createEventCounts([registry]), ...createIngestProgress([registry]) }
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
    rejected: new Counter({
      name: 'tokenmeter_events_rejected_total',
      help: 'Events that could not be read or accepted, by reason; each is a dead letter.',
      labelNames: ['reason'],
      registers
    })
  }
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
    fenced: new Counter({
      name: 'tokenmeter_fenced_total',
      help: 'Writes refused because another consumer had moved on: each is a double count that did not happen.',
      labelNames: ['store'],
      registers
    }),
    repairs: new Counter({
      name: 'tokenmeter_repairs_total',
      help: 'Shards made usable again after a Redis restart: rolled forward or built from empty.',
      labelNames: ['mode'],
      registers
    }),
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
  readonly checks: Counter<'outcome'>
  readonly holds: Counter<'outcome'>
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
    checks: new Counter({
      name: 'tokenmeter_checks_total',
      help: 'Quota checks by outcome: allowed, refused, unknown (the meter could not know), unknown-customer.',
      labelNames: ['outcome'],
      registers
    }),
    holds: new Counter({
      name: 'tokenmeter_holds_total',
      help: 'Holds asked for, extended and ended, by outcome.',
      labelNames: ['outcome'],
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
