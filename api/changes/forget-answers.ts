/** Removes answers that nobody repeats any more. Every API process runs one: what another has removed is no longer there. */
import type { FastifyBaseLogger } from 'fastify'
import type { IdempotencyStore } from '../../domain/change.ts'
import { Rounds } from '../rounds.ts'

/** A client that has not tried again within a day asks anew. */
const KEPT_MS = 86_400_000
const INTERVAL_MS = 600_000

export interface ForgettingDependencies {
  readonly idempotencyStore: Pick<IdempotencyStore, 'forget'>
  readonly now: () => number
  readonly logger: FastifyBaseLogger
}

export function answerForgetting(dependencies: ForgettingDependencies): Rounds {
  const { logger } = dependencies
  const work = async (isStopped: () => boolean): Promise<void> => {
    const forgotten = await forgetOld(dependencies, isStopped)
    if (forgotten > 0) logger.info({ answers: forgotten }, 'forgot old answers')
  }
  return new Rounds({ intervalMs: INTERVAL_MS, work, waiting: 'old answers stay for now', logger })
}

/** Statement after statement until one finds nothing. Answers how many went. */
export async function forgetOld(
  { idempotencyStore, now }: Omit<ForgettingDependencies, 'logger'>,
  isStopped: () => boolean
): Promise<number> {
  let forgotten = 0
  while (!isStopped()) {
    const removed = await idempotencyStore.forget(now() - KEPT_MS)
    if (removed === 0) break
    forgotten += removed
  }
  return forgotten
}
