/** Variables of webhooks, the same in the API, which judges URLs, and in the process that posts. The rules of config.ts apply. */
import Type from 'typebox'
import { ATTEMPTS_DEFAULT } from '../../domain/webhooks/retry-schedule.ts'

export const webhookVariables = Type.Object({
  WEBHOOK_ALLOW_PRIVATE: Type.Boolean({
    default: false,
    description:
      'For development and tests alone: webhooks may go to http and to private addresses. In production customers would reach the internal network with it.'
  }),
  WEBHOOK_ATTEMPTS_MAX: Type.Integer({
    minimum: 1,
    maximum: 30,
    default: ATTEMPTS_DEFAULT,
    description:
      'Attempts after which a delivery is given up; 10 last about three days, each more another day. Fewer: a receiver that is down for long misses events.'
  })
})
