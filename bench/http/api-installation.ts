/** The product's API in several processes beside its meter consumer, as an installation of their own: what load is put on. */
import { connectRedis } from '../../meter/connect.ts'
import { type DemoApi, send } from '../../stack/demo/demo-api.ts'
import { type Installation, makeInstallation } from '../../stack/installation/make-installation.ts'
import { findFreePort } from '../../stack/machine/ports.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { planProcesses } from '../../stack/processes.ts'
import { readStackRecord, stackFolder } from '../../stack/services.ts'
import { type ProcessDefinition, Supervisor } from '../../stack/supervisor.ts'
import type { Bench } from '../harness/scenario.ts'

export interface ApiInstallation {
  readonly installation: Installation
  /** Of each API process, in the order of `pids`. */
  readonly urls: readonly string[]
  readonly pids: readonly number[]
  /** A configured key, which opens everything. */
  readonly key: string
  /** The first API, for what is prepared before the load. */
  readonly api: DemoApi
  /** Stops the processes and removes what they made. */
  close(): Promise<void>
}

/**
 * A credential may send 1,000 requests a second unless told otherwise, which is what would be measured. They go on being counted: a
 * billion a minute is a limit that nobody reaches, 0 would be another way through the code.
 */
const RATE_LIMIT = { API_RATE_LIMIT_PER_MINUTE: '1000000000' }
const LIMITS_AT_ONCE = 10
const KNOWN_TIMEOUT_MS = 60_000

/** Resolves when all of them do their work. */
export async function startApis(bench: Bench, count: number): Promise<ApiInstallation> {
  await using opened = new AsyncDisposableStack()
  const installation = await makeInstallation(bench.urls, 'bench')
  opened.defer(() => installation.remove())
  const { definitions, urls, key } = await planApis(bench, installation, count)
  const lines: string[] = []
  const supervisor = new Supervisor({
    definitions,
    restarts: false,
    onLine: (name, line) => {
      if (!line.startsWith('{') || /"level":"(warn|error|fatal)"/.test(line)) lines.push(`${name}: ${line}`)
    }
  })
  opened.defer(() => supervisor.stopAll())
  for (const { name } of definitions) supervisor.start(name)
  try {
    await Promise.all(definitions.map(({ name }) => supervisor.waitReady(name)))
  } catch (error) {
    throw new Error(`the API was not to be had; its processes said:\n${lines.join('\n')}`, { cause: error })
  }
  const pids = definitions.slice(1).map(({ name }) => supervisor.pidOf(name) ?? 0)
  const kept = opened.move()
  return { installation, urls, pids, key, api: { url: urls[0] ?? '', key }, close: () => kept.disposeAsync() }
}

/** The meter consumer, and after it so many API processes. */
async function planApis(bench: Bench, { environment }: Installation, count: number) {
  const plan = await planProcesses(bench.urls, { ...environment, ...RATE_LIMIT })
  if (plan.apiKey === null) throw new Error('API_KEYS is set, so the bench has no key of its own: unset it')
  const meter = plan.definitions.find(({ name }) => name === 'meter')
  const first = plan.definitions.find(({ name }) => name === 'api')
  if (meter === undefined || first === undefined) throw new Error('the plan of processes has no meter or no API')
  const apis: ProcessDefinition[] = [first]
  const urls = [plan.apiUrl]
  while (apis.length < count) {
    const port = String(await findFreePort())
    const url = `http://127.0.0.1:${port}`
    apis.push({
      ...first,
      name: `api-${apis.length + 1}`,
      environment: { ...first.environment, API_PORT: port },
      readyUrl: `${url}/readyz`
    })
    urls.push(url)
  }
  return { definitions: [meter, ...apis], urls, key: plan.apiKey }
}

/** The same limits for each customer. */
export async function putLimits(
  api: DemoApi,
  customerIds: readonly string[],
  limits: readonly object[]
): Promise<void> {
  for (let from = 0; from < customerIds.length; from += LIMITS_AT_ONCE) {
    const some = customerIds.slice(from, from + LIMITS_AT_ONCE)
    await Promise.all(some.map((id) => send(api, `PUT /v1/customers/${id}/limits`, { timeZone: 'UTC', limits })))
  }
}

export interface LimitTold {
  readonly id: string
  readonly used: number
  readonly held: number
  readonly unknown: string | null
}

/** Resolves when a limit of the customer is known and stands at so many tokens, with none held. */
export async function awaitUsed(
  api: DemoApi,
  customerId: string,
  expected: { readonly limit: string; readonly used: number }
) {
  let last: LimitTold | undefined
  try {
    await waitUntil(
      async () => {
        const balance = await send<{ limits: readonly LimitTold[] }>(api, `GET /v1/customers/${customerId}/balance`)
        last = balance.limits.find(({ id }) => id === expected.limit)
        return last?.unknown === null && last.used === expected.used && last.held === 0
      },
      { what: `${customerId} to have used ${expected.used} tokens`, timeoutMs: KNOWN_TIMEOUT_MS }
    )
  } catch (error) {
    throw new Error(`of ${customerId} the meter told ${JSON.stringify(last)}`, { cause: error })
  }
}

/** The process of Redis when this machine runs it for the stack; of one in a container nothing is known. */
export function redisPids(): readonly number[] {
  const redis = readStackRecord(stackFolder())?.services.find(({ name }) => name === 'redis')
  return typeof redis?.pid === 'number' ? [redis.pid] : []
}

/** Sets keys beside the meter's own; they go with the installation when they begin with its prefix. */
export async function setKeys(url: string, values: ReadonlyMap<string, string>): Promise<void> {
  const redis = connectRedis({ url, commandTimeoutMs: 10_000, autoPipelining: false })
  await redis.mset(values)
  redis.disconnect()
}
