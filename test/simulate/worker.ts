/**
 * One worker of a simulation: a process of its own with a Redis of its own. It is forked by stack/simulate.ts, runs the seeds
 * that it is told, a few at a time so that none waits for another's answer from Redis, and tells each result.
 */
import { plantDefect } from './defects.ts'

/** What a worker is told. */
export interface Order {
  /** Path of the Redis server's socket. */
  readonly socket: string
  readonly defect: string | null
  readonly firstSeed: number
  /** From one seed of this worker to its next. */
  readonly stride: number
  readonly endSeed: number
  /** Prints every step. */
  readonly tells: boolean
}

export interface Result {
  readonly seed: number
  readonly wrong: readonly string[]
}

const HISTORIES_AT_ONCE = 3

async function work(order: Order): Promise<void> {
  if (order.defect !== null) plantDefect(order.defect)
  // What may be defective is loaded only now.
  const { connectRedis } = await import('../../meter/connect.ts')
  const { runHistory } = await import('./run-history.ts')
  const { Redis } = await import('ioredis')
  const redis = connectRedis({ url: order.socket, commandTimeoutMs: 30_000, autoPipelining: false })
  if (!(redis instanceof Redis)) throw new TypeError('a simulation needs one server, no cluster')
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()))
  let next = order.firstSeed
  const runSome = async (): Promise<void> => {
    while (next < order.endSeed) {
      const seed = next
      next += order.stride
      const wrong = await runHistory(seed, redis, order.tells ? (line) => process.stdout.write(`${line}\n`) : null)
      tell({ seed, wrong })
    }
  }
  const orphaned = (): void => {
    void redis.shutdown('NOSAVE').finally(() => process.exit(1))
  }
  process.once('disconnect', orphaned)
  await Promise.all(Array.from({ length: HISTORIES_AT_ONCE }, runSome))
  process.off('disconnect', orphaned)
  redis.disconnect()
  process.disconnect()
}

function tell(result: Result): void {
  if (process.connected) process.send?.(result)
}

process.once('message', (order: Order) => {
  work(order).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
    process.exit(1)
  })
})
