/** Connections of the meter to Redis: one server or a cluster, with stated time-outs and the scripts loaded. */
import { Cluster, Redis } from 'ioredis'
import { RetryableError } from '../domain/errors.ts'
import { loadScripts, type MeterRedis } from './scripts.ts'

export interface RedisOptions {
  /** `redis://host:port/db` or `rediss://…`; several, separated by commas, are nodes of one cluster. */
  readonly url: string
  /** Milliseconds until a command that got no answer fails as retryable. */
  readonly commandTimeoutMs: number
  /** True pools the commands of one turn of the event loop into one write: right for many small checks at once. */
  readonly autoPipelining: boolean
}

const CONNECT_TIMEOUT_MS = 2_000
const RECONNECT_MAX_MS = 1_000

/** Connects lazily: a command while Redis is away fails at once as retryable instead of queueing. */
export function connectRedis(options: RedisOptions): MeterRedis {
  const urls = options.url.split(',')
  const shared = {
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: options.commandTimeoutMs,
    maxRetriesPerRequest: 0,
    enableAutoPipelining: options.autoPipelining,
    scripts: loadScripts()
  }
  const retryStrategy = (attempt: number): number => Math.min(50 * attempt, RECONNECT_MAX_MS)
  const [first, ...others] = urls
  if (first === undefined || first === '') throw new Error('REDIS_URL is empty')
  const redis =
    others.length > 0
      ? new Cluster(urls, {
          redisOptions: { connectTimeout: CONNECT_TIMEOUT_MS, commandTimeout: options.commandTimeoutMs },
          enableAutoPipelining: options.autoPipelining,
          // Without a node that answers, its queue would grow without bound and run long after its callers gave up.
          enableOfflineQueue: false,
          clusterRetryStrategy: retryStrategy,
          scripts: shared.scripts
        })
      : new Redis(first, { ...shared, retryStrategy })
  // ioredis reconnects by itself and fails each command meanwhile: the failing command is what is told and counted.
  redis.on('error', ignoreConnectionError)
  return redis
}

/** Each command fails with its own error, which `asRetryable` translates; the event says the same once more. */
function ignoreConnectionError(): undefined {
  return undefined
}

const RETRYABLE_REPLY =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|MISCONF|BUSY|NOREPLICAS|UNBLOCKED|MOVED|ASK)\b/
const RETRYABLE_FAILURE =
  /Connection is closed|Command timed out|max retries|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|Stream isn't writeable|Cluster isn't|None of startup nodes|Failed to refresh slots|All nodes failed/i

/**
 * What Redis answers; rejects as retryable when it is away. A cluster whose commands are pooled waits for a node to come back
 * however long that takes, so there the time-out is kept here.
 */
export async function answerOf<T>(redis: MeterRedis, answer: Promise<T>): Promise<T> {
  const timeoutMs = redis instanceof Cluster ? redis.options.redisOptions?.commandTimeout : undefined
  const timer = Promise.withResolvers<never>()
  const timeout =
    timeoutMs === undefined ? undefined : setTimeout(() => timer.reject(new Error('Command timed out')), timeoutMs)
  try {
    return await (timeout === undefined ? answer : Promise.race([answer, timer.promise]))
  } catch (error) {
    throw asRetryable(error)
  } finally {
    clearTimeout(timeout)
  }
}

/** Redis away, slow, loading or full: the same call may be made again. Anything else is a defect and passes as it is. */
export function asRetryable(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  if (RETRYABLE_REPLY.test(error.message) || RETRYABLE_FAILURE.test(`${error.name} ${error.message}`)) {
    return new RetryableError('meter-unavailable', `Redis did not answer: ${error.message}`, { cause: error })
  }
  return error
}
