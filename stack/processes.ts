import { createHash, randomBytes } from 'node:crypto'
import { findFreePort } from './machine/ports.ts'
import { billingRedisUrl } from './service-urls.ts'
import type { ServiceUrls } from './services.ts'
import type { ProcessDefinition } from './supervisor.ts'

export interface ProcessPlan {
  definitions: ProcessDefinition[]
  apiUrl: string
  /** A key that the API takes; null when the environment brought keys of its own, of which only hashes are known. */
  apiKey: string | null
}

/**
 * Our processes in the order of their start: who reads the log is there before the API writes to it. `extra` goes to
 * each of them, above what this process's own environment says.
 */
export async function planProcesses(urls: ServiceUrls, extra: Record<string, string> = {}): Promise<ProcessPlan> {
  const { apiKey, keys } = chooseApiKeys()
  const apiPort = process.env.API_PORT ?? String(await findFreePort())
  const apiUrl = `http://127.0.0.1:${apiPort}`
  const shared = { ...urls, BILLING_REDIS_URL: billingRedisUrl(urls.REDIS_URL), ...extra }
  const api: ProcessDefinition = {
    name: 'api',
    entry: 'api/main.ts',
    environment: { API_KEYS: keys, ...shared, API_PORT: apiPort },
    readyUrl: `${apiUrl}/readyz`
  }
  const definitions = [
    await planConsumer('meter', shared),
    await planConsumer('analytics', shared, ['analytics', ...RUN_WITH_ANALYTICS]),
    await planBilling(shared),
    api
  ]
  return { definitions, apiUrl, apiKey }
}

/** Consumers that have little to do share a process. */
const RUN_WITH_ANALYTICS = ['audit', 'relay', 'webhooks']

/** A process of ingest/. Several may run the same consumers: they share the partitions. */
export async function planConsumer(
  name: string,
  shared: Readonly<Record<string, string>>,
  consumers: readonly string[] = [name]
): Promise<ProcessDefinition> {
  const port = String(await findFreePort())
  return {
    name,
    entry: 'ingest/main.ts',
    environment: { ...shared, CONSUMERS: consumers.join(','), METRICS_PORT: port },
    readyUrl: `http://127.0.0.1:${port}/readyz`
  }
}

async function planBilling(shared: Readonly<Record<string, string>>): Promise<ProcessDefinition> {
  const port = String(await findFreePort())
  return {
    name: 'billing',
    entry: 'billing-job/main.ts',
    environment: { ...shared, METRICS_PORT: port },
    readyUrl: `http://127.0.0.1:${port}/readyz`
  }
}

function chooseApiKeys(): { apiKey: string | null; keys: string } {
  const given = process.env.API_KEYS
  if (given) return { apiKey: null, keys: given }
  const apiKey = randomBytes(24).toString('hex')
  return { apiKey, keys: `local:${createHash('sha256').update(apiKey).digest('hex')}` }
}
