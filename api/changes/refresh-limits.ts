import type { FastifyRequest } from 'fastify'
import { RetryableError } from '../../domain/errors.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'

/** After a change that has marked the customer's limits due. A meter that is away gets them from the renewal of limits. */
export async function refreshLimits(
  { log }: Pick<FastifyRequest, 'log'>,
  limitRefresh: LimitRefresh,
  customerId: string
): Promise<void> {
  try {
    await limitRefresh.refresh(customerId)
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error
    log.warn({ err: error, customerId }, 'a change is stored; the limits that follow from it wait for their renewal')
  }
}
