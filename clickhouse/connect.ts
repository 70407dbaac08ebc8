import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client'

/** Longer than any statement we send may run (reads stop after 10 s), shorter than a consumer's drain at its end (25 s). */
const REQUEST_TIMEOUT_MS = 20_000
/** ClickHouse closes idle connections after 3 s (servers before 23.11) or 10 s: ours are gone sooner. */
const IDLE_SOCKET_TTL_MS = 2_000

export interface ClickHouseAddress {
  /** `http(s)://user:password@host:port`; https verifies the server. */
  readonly url: string
  readonly database: string
  /** Requests at once; further ones wait. */
  readonly connectionsMax?: number
  /** How long to wait for an answer; a request may still be carried out after that. */
  readonly requestTimeoutMs?: number
}

/** A client connects with its first request: this never fails on a server that is away. */
export function connectClickHouse({
  url,
  database,
  connectionsMax = 10,
  requestTimeoutMs = REQUEST_TIMEOUT_MS
}: ClickHouseAddress): ClickHouseClient {
  return createClient({
    url,
    database,
    application: 'tokenmeter',
    request_timeout: requestTimeoutMs,
    max_open_connections: connectionsMax,
    keep_alive: { enabled: true, idle_socket_ttl: IDLE_SOCKET_TTL_MS },
    // Each failure reaches the caller as an error; the client's own log would say it twice, to the console.
    log: { level: ClickHouseLogLevel.OFF }
  })
}
