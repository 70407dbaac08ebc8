/**
 * The small HTTP server beside a process that serves none: is it alive, can it work, what are its numbers. It knows no
 * credential and tells nothing of a customer; it belongs on an inner network.
 *   /livez    200 as long as the event loop turns
 *   /readyz   200 when every check passes, else 503, with each check by name
 *   /metrics  Prometheus text
 */
import { createServer, type Server, type ServerResponse } from 'node:http'

/** A check that has not answered by then has failed. */
export const CHECK_TIMEOUT_MS = 2_000

/** Resolves when it may work; rejects with the reason when not. */
export type HealthCheck = () => Promise<unknown>

export interface HealthOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly checks: Readonly<Record<string, HealthCheck>>
  readonly metrics: { readonly contentType: string; metrics(): Promise<string> }
  readonly checkTimeoutMs?: number
}

export interface HealthServer {
  readonly port: number
  close(): Promise<void>
}

export interface CheckResult {
  readonly name: string
  readonly ready: boolean
  /** The error's code or name: its message could name an address or a person. */
  readonly reason?: string
}

export async function startHealthServer(options: HealthOptions): Promise<HealthServer> {
  const server = createServer((request, response) => {
    answer(options, request.url ?? '/', response).catch((error: unknown) => {
      response.writeHead(500).end(`${error instanceof Error ? error.name : 'error'}\n`)
    })
  })
  server.requestTimeout = 5_000
  server.headersTimeout = 5_000
  const port = await listen(server, options)
  return {
    port,
    close: async () => {
      server.closeIdleConnections()
      await new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
    }
  }
}

async function listen(server: Server, { host, port }: HealthOptions): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the health server has no port')
  return address.port
}

async function answer(options: HealthOptions, url: string, response: ServerResponse): Promise<void> {
  const path = url.split('?', 1)[0]
  if (path === '/livez') {
    response.end('ok\n')
  } else if (path === '/readyz') {
    const checks = await runChecks(options.checks, options.checkTimeoutMs)
    const ready = checks.every((check) => check.ready)
    response.writeHead(ready ? 200 : 503, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify({ ready, checks })}\n`)
  } else if (path === '/metrics') {
    const text = await options.metrics.metrics()
    response.writeHead(200, { 'content-type': options.metrics.contentType }).end(text)
  } else {
    response.writeHead(404).end('not found\n')
  }
}

/** All at once, each within the timeout; never throws. */
export async function runChecks(
  checks: Readonly<Record<string, HealthCheck>>,
  timeoutMs = CHECK_TIMEOUT_MS
): Promise<readonly CheckResult[]> {
  return Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<CheckResult> => {
      const timeout = Promise.withResolvers<never>()
      const timer = setTimeout(() => timeout.reject(new Error('timeout', { cause: name })), timeoutMs)
      try {
        await Promise.race([check(), timeout.promise])
        return { name, ready: true }
      } catch (error) {
        return { name, ready: false, reason: reasonOf(error) }
      } finally {
        clearTimeout(timer)
      }
    })
  )
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'error'
  if ('code' in error && typeof error.code === 'string') return error.code
  return error.message === 'timeout' ? 'timeout' : error.name
}
