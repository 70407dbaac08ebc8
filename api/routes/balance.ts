import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { EffectiveLimits, LimitMeter } from '../../domain/api-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { RaisingGrant } from '../../domain/tokens/effective/compose-limits.ts'
import { EVERY_ROLE } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { GRANT_STANDING_EXAMPLE, GrantStandingTold, tellGrantStanding } from '../schemas/grants.ts'
import * as schemas from '../schemas/shared.ts'
import { AWAY, orUnavailable, quotaUnknown, unknownCustomer } from './quota.ts'

const Balance = Type.Object(
  {
    customerId: Type.String(),
    asOf: Type.String({ description: 'Everything that arrived up to then is counted.', format: 'date-time' }),
    limits: Type.Array(schemas.Standing, { description: 'Standings, all of one moment.' }),
    grants: Type.Union([Type.Array(GrantStandingTold), Type.Null()], {
      description:
        'Grants of tokens that may still give, in the order of their creation, by the ledger, which is seconds behind; null while that can not be read.'
    })
  },
  { ...schemas.strict, title: 'Balance' }
)

interface BalanceDependencies {
  readonly limitMeter: Pick<LimitMeter, 'balance'>
  readonly effectiveLimits: Pick<EffectiveLimits, 'grants'>
  readonly now: () => number
}

export function balanceRoutes(api: Api, dependencies: BalanceDependencies): void {
  const { limitMeter } = dependencies
  api.get(
    '/v1/customers/:customerId/balance',
    {
      config: { access: { scope: 'limits:read', roles: EVERY_ROLE } },
      schema: {
        operationId: 'getBalance',
        tags: ['limits'],
        summary: 'Where every limit of a customer stands',
        description:
          'Every limit, whoever it is for, at one moment. A limit of each user or each model keeps a sum for every one of them, and is told for the user or model that the query names. Grants are already in the limits that they raise.',
        params: Type.Object({ customerId: schemas.CustomerId }, schemas.strict),
        querystring: Type.Object(
          { userId: Type.Optional(schemas.UserId), model: Type.Optional(schemas.Model) },
          schemas.strict
        ),
        response: {
          200: schemas.answer(Balance, 'The standings.', {
            customerId: 'clinic-42',
            asOf: '2026-03-12T09:30:00.120Z',
            limits: [schemas.STANDING_EXAMPLE],
            grants: [GRANT_STANDING_EXAMPLE]
          }),
          ...schemas.problems('validation-failed', 'unknown-customer', 'quota-unknown')
        }
      }
    },
    async ({ params: { customerId }, query: { userId = '', model = '' }, log }) => {
      const [standing, grants] = await Promise.all([
        orUnavailable(limitMeter.balance(customerId, userId, model), AWAY),
        findGrants(dependencies, customerId, log)
      ])
      if (standing.limits === null) throw unknownCustomer(customerId)
      if (!standing.known) throw quotaUnknown(standing.why)
      const asOf = new Date(standing.countedUpTo).toISOString()
      const limits = standing.limits.map(schemas.tellStanding)
      return { customerId, asOf, limits, grants: grants?.map(tellGrantStanding) ?? null }
    }
  )
}

/** Limits are answered from Redis alone: Postgres being away takes nothing from them. */
async function findGrants(
  { effectiveLimits, now }: BalanceDependencies,
  customerId: string,
  log: FastifyRequest['log']
): Promise<readonly RaisingGrant[] | null> {
  try {
    return await effectiveLimits.grants(customerId, now())
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error
    log.warn({ err: error, customerId }, 'a balance is told without grants')
    return null
  }
}
