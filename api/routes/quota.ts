import Type from 'typebox'
import type { Standing } from '../../domain/api-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import { EVERY_ROLE } from '../access/access-rule.ts'
import type { Api, ApiDependencies, ApiObserver } from '../api-dependencies.ts'
import { decideQuota, type QuotaDecision, RETRY_AFTER_UNKNOWN_SECONDS, type UnknownReason } from '../decide-quota.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'

const Check = Type.Object(
  {
    customerId: schemas.CustomerId,
    userId: Type.Optional(schemas.UserId),
    model: schemas.Model,
    tokens: Type.Optional(schemas.TokensAsked)
  },
  {
    ...schemas.strict,
    title: 'QuotaCheck',
    description:
      'Whose call it would be. Without `userId`, limits of users do not apply; without `tokens`, one token must fit.',
    examples: [
      { customerId: 'clinic-42', userId: 'dr-amina', model: 'claude-sonnet-4-5', tokens: { input: 1200, output: 800 } }
    ]
  }
)

const CheckAnswer = Type.Object(
  {
    allowed: Type.Boolean({ description: 'Whether the call may go ahead.' }),
    binding: schemas.NullableString(
      'When not allowed: the hard limit that refuses, of several the first in the order in which they were put. When allowed: the hard limit with the smallest share left. Null when no known hard limit applies.'
    ),
    limits: Type.Array(schemas.Standing, { description: 'Every limit that applies, at one moment.' }),
    asOf: schemas.NullableInstant('Everything that arrived up to then is counted. Null when that can not be known.'),
    source: schemas.oneOf(
      ['meter', 'unknown-allowed'],
      '`unknown-allowed`: a hard limit could not be known, and says that calls go ahead meanwhile.'
    )
  },
  { ...schemas.strict, title: 'QuotaAnswer' }
)

/** The check and nothing else: it touches the meter only, so that a call to a model never waits for a database. */
export function quotaRoutes(
  api: Api,
  { quotaMeter, observer }: Pick<ApiDependencies, 'quotaMeter' | 'observer'>
): void {
  api.post(
    '/v1/quota/check',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'checkQuota',
        tags: ['quota'],
        summary: 'May this call go ahead?',
        description:
          'Answers 200 whether or not the call is allowed: a check is a question, and `allowed` is its answer. It reserves nothing; only a hold makes "never above the limit" a promise. When the meter can not know, the answer is 503, unless every hard limit concerned allows calls meanwhile: then it is 200 with `source` `unknown-allowed`. It is never 429.',
        body: Check,
        response: {
          200: schemas.answer(CheckAnswer, 'The answer.', {
            allowed: true,
            binding: 'month-total',
            limits: [schemas.STANDING_EXAMPLE],
            asOf: '2026-03-12T09:30:00.120Z',
            source: 'meter'
          }),
          ...schemas.problems(
            'malformed-json',
            'validation-failed',
            'unknown-customer',
            'unsupported-media-type',
            'quota-unknown'
          )
        }
      }
    },
    async ({ body: { customerId, userId = '', model, tokens: asked } }) => {
      const tokens = asked === undefined ? null : schemas.poolsOf(asked)
      const standing = await orUnavailable(quotaMeter.check({ customerId, userId, model, tokens }), AWAY)
      const decision = decideQuota(standing, tokens)
      observer.checked(outcomeOf(decision))
      if (decision.kind === 'unknown-customer') throw unknownCustomer(customerId)
      if (decision.kind === 'unknown') throw quotaUnknown(decision.why)
      const { allowed, binding, limits, countedUpTo, source } = decision
      const asOf = countedUpTo === null ? null : new Date(countedUpTo).toISOString()
      return { allowed, binding, limits: limits.map(schemas.tellStanding), asOf, source }
    }
  )
}

/** The standing when the meter can't be reached: nobody can know. */
export const AWAY: Standing = { known: false, why: 'unavailable', limits: [] }

/** The meter's answer, or the one given for when it can't be reached. */
export async function orUnavailable<T>(answer: Promise<T>, unavailable: T): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof RetryableError) return unavailable
    throw error
  }
}

function outcomeOf(decision: QuotaDecision): Parameters<ApiObserver['checked']>[0] {
  if (decision.kind !== 'answer') return decision.kind
  return decision.allowed ? 'allowed' : 'refused'
}

export function quotaUnknown(why: UnknownReason): ProblemError {
  return new ProblemError(
    'quota-unknown',
    `The meter can not know now (${why}). This does not mean that the quota is used up.`,
    {
      retryAfterSeconds: RETRY_AFTER_UNKNOWN_SECONDS[why],
      extensions: { why }
    }
  )
}

export function unknownCustomer(customerId: string): ProblemError {
  return new ProblemError('unknown-customer', `No limits are known of the customer ${customerId}.`)
}
