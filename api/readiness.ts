/**
 * When requests should be sent here. Every service the API uses is shared by all its processes: were one that goes away a reason
 * to be taken out of rotation, all would be at once, and the routes that do without it with them. So a process is ready once each
 * service has answered once, which finds a wrong address, until it stops.
 */
import type { HealthCheck } from '../monitoring/health.ts'
import { runChecks } from '../monitoring/health.ts'
import type { Readiness } from './api-dependencies.ts'

export function readinessOf(
  checks: Readonly<Record<string, HealthCheck>>,
  isStopping: () => boolean
): () => Promise<Readiness> {
  const met = new Set<string>()
  return async () => {
    const results = await runChecks(checks)
    for (const { name, ready } of results) if (ready) met.add(name)
    return { ready: !isStopping() && results.every(({ name }) => met.has(name)), checks: results }
  }
}
