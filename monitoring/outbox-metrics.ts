/** Publishing, as the process that relays tells it: what left, what waits, and since when. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { PUBLISHED_EVENT_TYPES } from '../domain/published-event.ts'

export interface Backlog {
  readonly waiting: number
  /** When the oldest of them happened, ms; null when none waits. */
  readonly oldestAt: number | null
}

export interface OutboxMetrics {
  readonly published: Counter<'type'>
  readonly waiting: Gauge
  readonly oldestAgeSeconds: Gauge
}

/** A type that only a newer version of the service knows. */
const OTHER = 'other'
const TYPES: ReadonlySet<string> = new Set(PUBLISHED_EVENT_TYPES)

export function createOutboxMetrics(registry: Registry): OutboxMetrics {
  const registers = [registry]
  const published = new Counter({
    name: 'tokenmeter_events_published_total',
    help: 'Events that the broker acknowledged, by type. A repeat after a failure counts again.',
    labelNames: ['type'],
    registers
  })
  for (const type of [...TYPES, OTHER]) published.labels(type).inc(0)
  return {
    published,
    waiting: new Gauge({
      name: 'tokenmeter_outbox_events',
      help: 'Events that wait to be published, told up to 100000. Every relaying process tells the same figure: take the largest.',
      registers
    }),
    oldestAgeSeconds: new Gauge({
      name: 'tokenmeter_outbox_oldest_seconds',
      help: 'Age of the event that has waited longest, 0 when none waits. It grows while the broker is away or nobody relays.',
      registers
    })
  }
}

export function countPublished({ published }: OutboxMetrics, events: readonly { readonly type: string }[]): void {
  for (const { type } of events) published.inc({ type: TYPES.has(type) ? type : OTHER })
}

/** Null: it could not be read, so that no figure is told: an old one would pass for true. */
export function setBacklog(metrics: OutboxMetrics, backlog: Backlog | null, nowMs: number): void {
  const { waiting, oldestAgeSeconds } = metrics
  if (backlog === null) {
    waiting.set(Number.NaN)
    oldestAgeSeconds.set(Number.NaN)
    return
  }
  waiting.set(backlog.waiting)
  oldestAgeSeconds.set(backlog.oldestAt === null ? 0 : Math.max(0, nowMs - backlog.oldestAt) / 1_000)
}
