/** For tests: the registries of all kinds of process, made as the processes make them, with every metric moved once. */
import type { Registry } from 'prom-client'
import { countAudit, createAuditMetrics } from './audit-metrics.ts'
import {
  countBoundaries,
  countCollected,
  countJob,
  createBillingMetrics,
  setBillingStatus
} from './billing/billing-metrics.ts'
import {
  countInFlight,
  countTokens,
  countUncounted,
  createApiMetrics,
  createIngestMetrics,
  createRegistry,
  observeAnswer,
  setActiveUsers
} from './metrics.ts'
import { observePools } from './observe-pools.ts'
import { countPublished, createOutboxMetrics, setBacklog } from './outbox-metrics.ts'
import { countsAttempts } from './webhooks/webhook-metrics.ts'

const POOL = { open: 3, idle: 1, waiting: 2, max: 8 }
const TOKENS = { input: 5, cacheRead: 4, cacheWrite: 3, output: 2, reasoning: 1 }
const TAKEN_BACK = { input: -5, cacheRead: 0, cacheWrite: 0, output: 0, reasoning: 0 }

export function movedRegistries(): readonly Registry[] {
  return [movedApi(), movedIngest(), movedBilling()]
}

function movedApi(): Registry {
  const registry = createRegistry('api')
  const metrics = createApiMetrics(registry)
  observePools(registry, { entities: () => POOL })
  observeAnswer(metrics, { method: 'POST', route: '/v1/quota/check', status: 200, elapsedMs: 3 })
  countInFlight(metrics, { once: () => undefined })
  metrics.checks.inc({ outcome: 'allowed' })
  metrics.holds.inc({ outcome: 'held' })
  setActiveUsers(metrics, { '15m': 2, '1d': 7 })
  return registry
}

function movedIngest(): Registry {
  const registry = createRegistry('ingest-meter-analytics-audit-relay')
  const metrics = createIngestMetrics(registry)
  observePools(registry, { ledger: () => POOL, reading: () => POOL })
  metrics.counted.inc(2)
  countTokens(metrics, { used: TOKENS, voided: TAKEN_BACK })
  countUncounted(metrics, ['duplicate', 'conflict', 'not-json'])
  metrics.fenced.inc({ store: 'redis' })
  metrics.repairs.inc({ mode: 'build' })
  for (const histogram of [metrics.batchRecords, metrics.blockEvents]) histogram.observe(500)
  for (const histogram of [metrics.applySeconds, metrics.flushSeconds]) histogram.observe(0.02)
  for (const gauge of [metrics.lagRecords, metrics.freshnessSeconds, metrics.paused]) gauge.set({ partition: '3' }, 1)
  countAudit(createAuditMetrics(registry), { kind: 'appended', appended: 2, duplicates: 1 })
  countsAttempts(registry)({ delivered: true, status: 200 })
  const outbox = createOutboxMetrics(registry)
  countPublished(outbox, [{ type: 'customer.created' }])
  setBacklog(outbox, { waiting: 4, oldestAt: 1_000 }, 3_000)
  return registry
}

function movedBilling(): Registry {
  const registry = createRegistry('billing')
  const metrics = createBillingMetrics(registry)
  observePools(registry, { rounds: () => POOL, gate: () => POOL })
  countBoundaries(metrics, { invoiced: 7, empty: 2, parked: 1 })
  countJob(metrics, { kind: 'run', outcome: 'completed', seconds: 12, isOfAll: true }, 60_000)
  countJob(metrics, { kind: 'collect', outcome: 'failed', seconds: 1, isOfAll: true }, 60_000)
  const none = { reminded: 0, givenUp: 0, skipped: 0, unanswered: 0, faulty: 0 }
  countCollected(metrics, { ...none, succeeded: 3, pending: 1, failed: 1 })
  const parkedByReason = new Map([['unrated-usage', 1]] as const)
  setBillingStatus(metrics, { due: 3, parked: 1, parkedByReason, oldestDueAt: 1_000 }, 3_000)
  return registry
}
