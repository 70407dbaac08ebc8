import { ClickHouseError } from '@clickhouse/client'
import { RetryableError } from '../domain/errors.ts'

/** ClickHouse's own errors after which the same statement may succeed: the server is busy, full, short of something. */
const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  '3', // UNEXPECTED_END_OF_FILE: the body was cut on its way
  '159', // TIMEOUT_EXCEEDED
  '160', // TOO_SLOW
  '202', // TOO_MANY_SIMULTANEOUS_QUERIES
  '203', // NO_FREE_CONNECTION
  '209', // SOCKET_TIMEOUT
  '210', // NETWORK_ERROR
  '225', // NO_ZOOKEEPER
  '236', // ABORTED: the server shuts down
  '241', // MEMORY_LIMIT_EXCEEDED
  '242', // TABLE_IS_READ_ONLY
  '243', // NOT_ENOUGH_SPACE
  '252', // TOO_MANY_PARTS
  '285', // TOO_FEW_LIVE_REPLICAS
  '286', // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
  '319', // UNKNOWN_STATUS_OF_INSERT
  '394', // QUERY_WAS_CANCELLED
  '473', // DEADLOCK_AVOIDED
  '999' // KEEPER_EXCEPTION
])

/**
 * Runs a request and translates its failure. What ClickHouse says of the statement itself (a missing table, a wrong type,
 * a refused password) passes as it is: a second try would fail alike. What never reached it or was answered by something in
 * between (a refused or broken connection, the request timeout, a proxy's 502) the client throws as a plain `Error`.
 */
export async function translatingErrors<T>(what: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (error) {
    if (!isRetryable(error)) throw error
    const why = error instanceof Error ? error.message.slice(0, 500) : String(error)
    throw new RetryableError('clickhouse-unavailable', `ClickHouse could not ${what}: ${why}`, { cause: error })
  }
}

function isRetryable(error: unknown): boolean {
  if (error instanceof ClickHouseError) return RETRYABLE_CODES.has(error.code)
  // A TypeError, an AssertionError and their like are our own mistakes.
  return error instanceof Error && error.name === 'Error'
}
