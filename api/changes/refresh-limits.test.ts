import t from 'tap'
import { RetryableError } from '../../domain/errors.ts'
import { createLogger } from '../../monitoring/logger.ts'
import { refreshLimits } from './refresh-limits.ts'

t.test('a change that is stored is never told as one that failed', async (t) => {
  const log = createLogger({ name: 'refresh-limits-test', level: 'silent' })
  for (const error of [new RetryableError('meter-unavailable', 'Redis is away'), new RangeError('no boundary')]) {
    const refreshed: string[] = []
    const limitRefresh = {
      refresh: async (customerId: string) => {
        refreshed.push(customerId)
        throw error
      }
    }
    await t.resolves(refreshLimits({ log }, limitRefresh, 'clinic-42'), error.name)
    t.same(refreshed, ['clinic-42'])
  }
})
