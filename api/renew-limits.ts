/**
 * Keeps what the meter holds of limits ahead of time: windows listed, grants begun and ended, and what `PUT limits` or a change of a
 * subscription could only store. Every API process runs one: the store gives each due customer to one of them, and to another when
 * nothing came of it within the lease.
 */
import type { FastifyBaseLogger } from 'fastify'
import type { EffectiveLimits, LimitMeter, LimitStore } from '../domain/api-ports.ts'
import { RetryableError } from '../domain/errors.ts'
import { compileLimits } from '../domain/tokens/compile-limits.ts'
import type { LimitRefresh } from '../domain/tokens/effective/limit-refresh.ts'
import { Rounds } from './rounds.ts'

const INTERVAL_MS = 1_000
/** After this long a customer whose renewal failed is due again. */
const LEASE_MS = 10_000

export interface RenewalDependencies {
  readonly limitStore: Pick<LimitStore, 'takeDue'>
  readonly limitRefresh: LimitRefresh
  readonly now: () => number
  readonly logger: FastifyBaseLogger
}

export function limitRenewal(dependencies: RenewalDependencies): Rounds {
  const { logger } = dependencies
  const work = async (isStopped: () => boolean): Promise<void> => {
    const { renewed, failed } = await renewDue(dependencies, isStopped)
    if (renewed > 0) logger.info({ customers: renewed }, 'renewed limits')
    for (const { customerId, error } of failed) logger.error({ err: error, customerId }, 'a renewal of limits failed')
  }
  return new Rounds({ intervalMs: INTERVAL_MS, work, waiting: 'limits wait for their renewal', logger })
}

export interface LimitRound {
  readonly renewed: number
  /** The lease brings them back. */
  readonly failed: readonly { readonly customerId: string; readonly error: unknown }[]
}

/**
 * Puts the limits of every customer that is due in force. One whose limits can't be composed does not keep the others waiting; a
 * store or a meter that is away ends the round.
 */
export async function renewDue(
  { limitStore, limitRefresh, now }: Omit<RenewalDependencies, 'logger'>,
  isStopped: () => boolean
): Promise<LimitRound> {
  const failed: { customerId: string; error: unknown }[] = []
  let renewed = 0
  for (const customerId of await limitStore.takeDue(now(), LEASE_MS)) {
    if (isStopped()) break
    try {
      await limitRefresh.refresh(customerId)
      renewed += 1
    } catch (error) {
      if (error instanceof RetryableError) throw error
      failed.push({ customerId, error })
    }
  }
  return { renewed, failed }
}

export interface RefreshDependencies {
  readonly effectiveLimits: Pick<EffectiveLimits, 'reckon'>
  readonly limitMeter: Pick<LimitMeter, 'setLimits'>
  readonly limitStore: Pick<LimitStore, 'setRenewal'>
  readonly now: () => number
}

/** Composes, compiles, tells the meter, and only then says when the customer is due next: whatever dies in between is done again. */
export function limitRefresh({ effectiveLimits, limitMeter, limitStore, now }: RefreshDependencies): LimitRefresh {
  return {
    refresh: async (customerId) => {
      const reckoned = await effectiveLimits.reckon(customerId, now)
      if (reckoned === null) return
      const { effective, nextAt } = reckoned
      const { compiled, renewAt } = compileLimits(effective, now())
      await limitMeter.setLimits(compiled)
      await limitStore.setRenewal(customerId, effective.version, Math.min(renewAt, nextAt ?? renewAt))
    }
  }
}
