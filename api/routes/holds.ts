import Type from 'typebox'
import type { HoldOutcome } from '../../domain/api-ports.ts'
import { RetryableError } from '../../domain/errors.ts'
import { EVERY_ROLE } from '../access/access-rule.ts'
import type { Api, ApiDependencies, ApiObserver } from '../api-dependencies.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'
import { orUnavailable, quotaUnknown, unknownCustomer } from './quota.ts'

const TtlSeconds = Type.Integer({
  description: 'Seconds until the hold expires by itself, from now.',
  minimum: 1,
  maximum: 3600,
  examples: [300]
})

const NewHold = Type.Object(
  {
    holdId: schemas.HoldId,
    customerId: schemas.CustomerId,
    userId: Type.Optional(schemas.UserId),
    model: schemas.Model,
    tokens: schemas.TokensAsked,
    ttlSeconds: TtlSeconds
  },
  {
    ...schemas.strict,
    title: 'NewHold',
    examples: [
      {
        holdId: 'hold-7f3a',
        customerId: 'clinic-42',
        userId: 'dr-amina',
        model: 'claude-sonnet-4-5',
        tokens: { input: 1200, output: 800 },
        ttlSeconds: 300
      }
    ]
  }
)
const Extension = Type.Object(
  { customerId: schemas.CustomerId, ttlSeconds: TtlSeconds, tokens: Type.Optional(schemas.TokensAsked) },
  { ...schemas.strict, examples: [{ customerId: 'clinic-42', ttlSeconds: 300, tokens: { input: 1200, output: 1600 } }] }
)
const Settlement = Type.Object(
  { customerId: schemas.CustomerId, tokens: schemas.TokensAsked },
  { ...schemas.strict, examples: [{ customerId: 'clinic-42', tokens: { input: 1180, output: 412 } }] }
)
const Release = Type.Object(
  { customerId: schemas.CustomerId },
  { ...schemas.strict, examples: [{ customerId: 'clinic-42' }] }
)

const HoldPath = Type.Object({ holdId: schemas.HoldId }, schemas.strict)
const HoldAnswer = Type.Object(
  { hold: schemas.HoldTold, limits: Type.Array(schemas.Standing) },
  { ...schemas.strict, title: 'HoldAnswer' }
)

function holdAnswer(description: string, state: 'held' | 'settled' | 'released') {
  return schemas.answer(HoldAnswer, description, {
    hold: { ...schemas.HOLD_EXAMPLE, state },
    limits: [schemas.STANDING_EXAMPLE]
  })
}

const FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type', 'quota-unknown'] as const

/** Holds: reserve an estimate, then settle or release it. The hold's id is the client's, so that a retry needs no database. */
export function holdRoutes(api: Api, dependencies: HoldDependencies): void {
  reserveRoute(api, dependencies)
  findRoute(api, dependencies)
  extendRoute(api, dependencies)
  endRoutes(api, dependencies)
}

type HoldDependencies = Pick<ApiDependencies, 'quotaMeter' | 'observer' | 'now'>

function reserveRoute(api: Api, { quotaMeter, observer, now }: HoldDependencies): void {
  api.post(
    '/v1/quota/holds',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'createHold',
        tags: ['quota'],
        summary: 'Reserve an estimate',
        description:
          'Reserves against every limit that applies, or against none. Again with the same id and content: the same hold and the same answer. A hard limit without room answers 429 `quota-exceeded`, with the limits and a Retry-After until the window of the binding limit resets; that the meter can not know is 503.',
        body: NewHold,
        response: {
          200: holdAnswer('The same hold was there already.', 'held'),
          201: holdAnswer('The hold stands.', 'held'),
          ...schemas.problems(...FAULTS, 'unknown-customer', 'hold-conflict', 'hold-ended', 'quota-exceeded')
        }
      }
    },
    async ({ body: { holdId, customerId, userId = '', model, tokens, ttlSeconds } }, reply) => {
      const hold = { holdId, customerId, userId, model, tokens: schemas.poolsOf(tokens), ttlMs: ttlSeconds * 1000 }
      const outcome = await observed(quotaMeter.hold(hold), observer)
      return reply
        .code(outcome.outcome === 'again' ? 200 : 201)
        .send(stillHeld(outcome, { holdId, customerId, nowMs: now() }))
    }
  )
}

function findRoute(api: Api, { quotaMeter }: HoldDependencies): void {
  api.get(
    '/v1/quota/holds/:holdId',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE } },
      schema: {
        operationId: 'getHold',
        tags: ['quota'],
        summary: 'Look a hold up',
        params: HoldPath,
        querystring: Type.Object({ customerId: schemas.CustomerId }, schemas.strict),
        response: {
          200: schemas.answer(schemas.HoldTold, 'The hold, also for a while after it ended.', schemas.HOLD_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-hold', 'quota-unknown')
        }
      }
    },
    async ({ params: { holdId }, query: { customerId } }) => {
      const hold = await foundOrUnknown(quotaMeter.find(customerId, holdId))
      if (hold === null) throw unknownHold(holdId, customerId)
      return schemas.tellHold(hold)
    }
  )
}

function extendRoute(api: Api, { quotaMeter, observer, now }: HoldDependencies): void {
  api.post(
    '/v1/quota/holds/:holdId/extend',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'extendHold',
        tags: ['quota'],
        summary: 'Renew or resize a hold',
        description:
          'Renews the expiry, and resizes the hold when `tokens` is given. When there is no room to grow, it stays as it is: 429.',
        params: HoldPath,
        body: Extension,
        response: {
          200: holdAnswer('The hold as it stands now.', 'held'),
          ...schemas.problems(
            ...FAULTS,
            'unknown-customer',
            'unknown-hold',
            'hold-conflict',
            'hold-ended',
            'quota-exceeded'
          )
        }
      }
    },
    async ({ params: { holdId }, body: { customerId, tokens, ttlSeconds } }) => {
      const pools = tokens === undefined ? null : schemas.poolsOf(tokens)
      const outcome = await observed(
        quotaMeter.extend({ customerId, holdId, tokens: pools, ttlMs: ttlSeconds * 1000 }),
        observer
      )
      return stillHeld(outcome, { holdId, customerId, nowMs: now() })
    }
  )
}

function endRoutes(api: Api, { quotaMeter, observer, now }: HoldDependencies): void {
  const response = (description: string, state: 'settled' | 'released') => ({
    200: holdAnswer(description, state),
    ...schemas.problems(...FAULTS, 'unknown-customer', 'unknown-hold', 'hold-conflict', 'quota-exceeded')
  })
  api.post(
    '/v1/quota/holds/:holdId/settle',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'settleHold',
        tags: ['quota'],
        summary: 'Resize a hold to the actual',
        description:
          'The call is over: the hold shrinks or grows to what was used, until the usage event with its id counts it. Twice changes nothing.',
        params: HoldPath,
        body: Settlement,
        response: response('The hold is settled, or had ended before.', 'settled')
      }
    },
    async ({ params: { holdId }, body: { customerId, tokens } }) => {
      const outcome = await observed(
        quotaMeter.end({ customerId, holdId, how: 'settle', tokens: schemas.poolsOf(tokens) }),
        observer
      )
      return standingHold(outcome, { holdId, customerId, nowMs: now() })
    }
  )
  api.post(
    '/v1/quota/holds/:holdId/release',
    {
      config: { access: { scope: 'quota:check', roles: EVERY_ROLE }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'releaseHold',
        tags: ['quota'],
        summary: 'Give a hold back',
        description: 'The call did not happen: what was reserved is free again. Twice changes nothing.',
        params: HoldPath,
        body: Release,
        response: response('The hold is released, or had ended before.', 'released')
      }
    },
    async ({ params: { holdId }, body: { customerId } }) => {
      const outcome = await observed(quotaMeter.end({ customerId, holdId, how: 'release', tokens: null }), observer)
      return standingHold(outcome, { holdId, customerId, nowMs: now() })
    }
  )
}

const AWAY: HoldOutcome = { outcome: 'unknown', why: 'unavailable' }

async function observed(answer: Promise<HoldOutcome>, observer: ApiObserver): Promise<HoldOutcome> {
  const outcome = await orUnavailable(answer, AWAY)
  observer.held(outcome.outcome)
  return outcome
}

async function foundOrUnknown<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof RetryableError) throw quotaUnknown('unavailable')
    throw error
  }
}

interface Asked {
  readonly holdId: string
  readonly customerId: string
  readonly nowMs: number
}

/** As `standingHold`, for those who go ahead on the answer: a hold that has ended reserves nothing. */
function stillHeld(outcome: HoldOutcome, asked: Asked) {
  if (outcome.outcome === 'ended') {
    throw new ProblemError(
      'hold-ended',
      `The hold ${asked.holdId} is ${outcome.hold.state} and reserves nothing: take a hold with another id.`,
      {
        extensions: { hold: schemas.tellHold(outcome.hold) }
      }
    )
  }
  return standingHold(outcome, asked)
}

function standingHold(outcome: HoldOutcome, { holdId, customerId, nowMs }: Asked) {
  switch (outcome.outcome) {
    case 'held':
    case 'again':
    case 'ended':
      return { hold: schemas.tellHold(outcome.hold), limits: outcome.limits.map(schemas.tellStanding) }
    case 'refused':
      throw quotaExceeded(outcome, nowMs)
    case 'conflict':
      throw new ProblemError('hold-conflict', `The hold ${holdId} was taken for something else.`, {
        extensions: { hold: schemas.tellHold(outcome.hold) }
      })
    case 'not-found':
      throw unknownHold(holdId, customerId)
    case 'unknown-customer':
      throw unknownCustomer(customerId)
    case 'unknown':
      throw quotaUnknown(outcome.why)
  }
}

function quotaExceeded({ binding, limits }: Extract<HoldOutcome, { outcome: 'refused' }>, nowMs: number): ProblemError {
  const resetsAt = limits.find(({ id }) => id === binding)?.resetsAt
  const retryAfter = resetsAt === undefined ? {} : { retryAfterSeconds: (resetsAt - nowMs) / 1000 }
  return new ProblemError('quota-exceeded', `The limit ${binding} has no room for this.`, {
    ...retryAfter,
    extensions: { binding, limits: limits.map(schemas.tellStanding) }
  })
}

function unknownHold(holdId: string, customerId: string): ProblemError {
  return new ProblemError('unknown-hold', `The customer ${customerId} has no hold ${holdId}.`)
}
