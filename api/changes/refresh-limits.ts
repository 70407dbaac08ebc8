import type { FastifyRequest } from 'fastify'
import { RetryableError } from '../../domain/errors.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'

/**
 * After a change that has marked the customer's limits due. A meter that is away gets them from the renewal of limits. Whatever
 * fails here, the change is stored and its answer says so: a caller who was told otherwise would make it twice.
 */
export async function refreshLimits(
  { log }: Pick<FastifyRequest, 'log'>,
  limitRefresh: LimitRefresh,
  customerId: string
): Promise<void> {
  try {
    await limitRefresh.refresh(customerId)
  } catch (error) {
    const level = error instanceof RetryableError ? 'warn' : 'error'
    log[level]({ err: error, customerId }, 'a change is stored; the limits that follow from it wait for their renewal')
  }
}
