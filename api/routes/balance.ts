import Type from 'typebox'
import type { LimitMeter } from '../../domain/api-ports.ts'
import type { Api } from '../api-dependencies.ts'
import * as schemas from '../schemas.ts'
import { AWAY, orUnavailable, quotaUnknown, unknownCustomer } from './quota.ts'

const Balance = Type.Object(
  {
    customerId: Type.String(),
    asOf: Type.String({ description: 'Everything that arrived up to then is counted.', format: 'date-time' }),
    limits: Type.Array(schemas.Standing, { description: 'Standings, all of one moment.' })
  },
  schemas.strict
)

export function balanceRoutes(api: Api, { limitMeter }: { readonly limitMeter: Pick<LimitMeter, 'balance'> }): void {
  api.get(
    '/v1/customers/:customerId/balance',
    {
      config: { access: 'platform' },
      schema: {
        operationId: 'getBalance',
        tags: ['limits'],
        summary: 'Where every limit of a customer stands',
        description:
          'Every limit, whoever it is for, at one moment. A limit of each user or each model keeps a sum for every one of them, and is told for the user or model that the query names.',
        params: Type.Object({ customerId: schemas.CustomerId }, schemas.strict),
        querystring: Type.Object(
          { userId: Type.Optional(schemas.UserId), model: Type.Optional(schemas.Model) },
          schemas.strict
        ),
        response: {
          200: schemas.answer(Balance, 'The standings.', {
            customerId: 'clinic-42',
            asOf: '2026-03-12T09:30:00.120Z',
            limits: [schemas.STANDING_EXAMPLE]
          }),
          ...schemas.problems('validation-failed', 'unknown-customer', 'quota-unknown')
        }
      }
    },
    async ({ params: { customerId }, query: { userId = '', model = '' } }) => {
      const standing = await orUnavailable(limitMeter.balance(customerId, userId, model), AWAY)
      if (standing.limits === null) throw unknownCustomer(customerId)
      if (!standing.known) throw quotaUnknown(standing.why)
      const asOf = new Date(standing.countedUpTo).toISOString()
      return { customerId, asOf, limits: standing.limits.map(schemas.tellStanding) }
    }
  )
}
