/** Schemas that several routes share: one schema is the type, the check, the serializer and the OpenAPI document at once. */
import Type, { type TSchema } from 'typebox'
import type { Hold, LimitStanding } from '../../domain/api-ports.ts'
import type { TokenPools } from '../../domain/tokens/token-pools.ts'
import { NO_TOKENS, totalTokens } from '../../domain/tokens/token-pools.ts'
import { PROBLEM_MEDIA_TYPE, type ProblemCode, ProblemError, statusOfProblem, titleOfProblem } from '../problem.ts'

const TOKENS_MAX = Number.MAX_SAFE_INTEGER

/** Refuses properties it doesn't name, as every object of the API does. */
export const strict = { additionalProperties: false } as const

/** As usage events have it: no control characters, no halves of surrogate pairs, no line or paragraph separators. */
export const VISIBLE = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ud800-\\udfff]+$'

/** Text to look something up by. */
export const visible = (description: string, lengthMax: number) =>
  Type.String({ description, minLength: 1, maxLength: lengthMax, pattern: VISIBLE })

export const CustomerId = Type.String({
  description: 'Id of the customer whose tokens are counted.',
  minLength: 1,
  maxLength: 128,
  pattern: VISIBLE,
  examples: ['clinic-42']
})
export const UserId = Type.String({
  description: 'Id of a user of the customer.',
  minLength: 1,
  maxLength: 128,
  pattern: VISIBLE,
  examples: ['dr-amina']
})
export const Model = Type.String({
  description: 'Exact name of the AI model, as usage events carry it.',
  minLength: 1,
  maxLength: 128,
  pattern: VISIBLE,
  examples: ['claude-sonnet-4-5']
})
export const HoldId = Type.String({
  description: 'Id of the hold, chosen by the client: a retry with the same id and content is the same hold.',
  minLength: 1,
  maxLength: 128,
  pattern: '^[A-Za-z0-9._:-]+$',
  examples: ['hold-7f3a']
})
export const Instant = Type.String({
  description: 'An instant, RFC 3339.',
  format: 'date-time',
  examples: ['2026-03-01T00:00:00.000Z']
})

const count = (description: string) => Type.Optional(Type.Integer({ description, minimum: 0, maximum: TOKENS_MAX }))

/** Tokens as a client states them: what is left out is 0. */
export const TokensAsked = Type.Object(
  {
    input: count('Tokens sent to the model, without those read from or written to a cache.'),
    cacheRead: count('Tokens read from a cache.'),
    cacheWrite: count('Tokens written to a cache.'),
    output: count('Tokens the model answered, without reasoning.'),
    reasoning: count('Tokens the model spent on reasoning.')
  },
  {
    ...strict,
    title: 'TokensStated',
    description: 'Tokens by pool; the pools are exclusive and one left out is 0. Their sum lies below 2^53.',
    examples: [{ input: 1200, output: 800 }]
  }
)

export const TokensTold = Type.Object(
  {
    input: Type.Integer(),
    cacheRead: Type.Integer(),
    cacheWrite: Type.Integer(),
    output: Type.Integer(),
    reasoning: Type.Integer()
  },
  { ...strict, title: 'Tokens', description: 'Tokens by pool.' }
)

/** One of several words. Not a union of literals: clients are generated better from an enum. */
export const oneOf = <const T extends readonly string[]>(words: T, description: string) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...words], description })

/** A union with null would be serialized by trial; a list of types is written directly. */
export const NullableString = (description: string) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], description })
export const NullableInstant = (description: string) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], format: 'date-time', description })

export const Standing = Type.Object(
  {
    id: Type.String({ description: 'Id of the limit.' }),
    limit: Type.Integer({
      description: 'The most that may be used in the window: tokens, or the unit of a cost limit.'
    }),
    used: Type.Integer({ description: 'Counted in the current window.' }),
    held: Type.Integer({ description: 'Reserved by holds.' }),
    remaining: Type.Integer({ description: 'What is left, never below 0.' }),
    resetsAt: NullableInstant(
      'When the window ends; for a rolling limit when its oldest quarter-hour leaves. Null when not known.'
    ),
    mode: oneOf(['hard', 'soft'], 'A hard limit refuses, a soft one only tells.'),
    unknown: Type.Unsafe<'seeding' | 'windows-ran-out' | null>({
      type: ['string', 'null'],
      enum: ['seeding', 'windows-ran-out', null],
      description: 'Why the numbers leave out usage, null when they are whole.'
    })
  },
  { ...strict, title: 'LimitStanding', description: 'Where one limit stands.' }
)

export const STANDING_EXAMPLE = {
  id: 'month-total',
  limit: 2_000_000,
  used: 1_250_000,
  held: 2_000,
  remaining: 748_000,
  resetsAt: '2026-04-01T00:00:00.000Z',
  mode: 'hard',
  unknown: null
} as const

export const HoldTold = Type.Object(
  {
    holdId: Type.String(),
    customerId: Type.String(),
    userId: NullableString('The user, null when none was named.'),
    model: Type.String(),
    tokens: TokensTold,
    state: oneOf(
      ['held', 'settled', 'counted', 'released', 'expired'],
      '`held`: reserved. `settled`: resized to the actual, waiting for the usage event. `counted`: the event came. `released`: given back. `expired`: nobody ended it in time.'
    ),
    expiresAt: Instant
  },
  { ...strict, title: 'Hold', description: 'A reservation of tokens.' }
)

export const HOLD_EXAMPLE = {
  holdId: 'hold-7f3a',
  customerId: 'clinic-42',
  userId: 'dr-amina',
  model: 'claude-sonnet-4-5',
  tokens: { input: 1200, cacheRead: 0, cacheWrite: 0, output: 800, reasoning: 0 },
  state: 'held',
  expiresAt: '2026-03-12T09:35:00.000Z'
} as const

export function tellStanding(standing: LimitStanding) {
  const { id, max, used, held, remaining, resetsAt, mode, unknown } = standing
  const at = unknown === 'windows-ran-out' ? null : new Date(resetsAt).toISOString()
  return { id, limit: max, used, held, remaining, resetsAt: at, mode, unknown }
}

export function tellHold({ holdId, customerId, userId, model, tokens, state, expiresAt }: Hold) {
  return {
    holdId,
    customerId,
    userId: userId === '' ? null : userId,
    model,
    tokens,
    state,
    expiresAt: new Date(expiresAt).toISOString()
  }
}

/** Whole pools from those a client stated. */
export function poolsOf(asked: Partial<TokenPools>): TokenPools {
  const pools = { ...NO_TOKENS, ...asked }
  if (totalTokens(pools) <= TOKENS_MAX) return pools
  throw new ProblemError('validation-failed', 'See `errors`.', {
    errors: [{ field: 'tokens', message: 'must add up to less than 2^53' }]
  })
}

export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Name of the problem: `urn:tokenmeter:problem:` and its code.' }),
    title: Type.String({ description: 'What kind of problem it is, for people.' }),
    status: Type.Integer({ description: 'The HTTP status again.' }),
    code: Type.String({ description: 'Stable name of the problem, to program against.' }),
    detail: Type.String({ description: 'What happened this time, for people.' }),
    requestId: Type.String({ description: 'Id of the request, as in the header `x-request-id` and in the log.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          field: Type.String({ description: 'Path of the field, empty for the whole body.' }),
          message: Type.String()
        }),
        { description: 'Each fault of the request, at most 20.' }
      )
    )
  },
  { $id: 'Problem', description: 'RFC 9457 problem document. A code may bring members of its own.' }
)

/** Codes that any route behind a credential may answer. */
const ANYWHERE: readonly ProblemCode[] = [
  'authentication-required',
  'unknown-api-key',
  'invalid-token',
  'expired-token',
  'access-denied',
  'rate-limited',
  'internal-error',
  'overloaded',
  'timed-out'
]

interface ProblemResponse {
  readonly description: string
  readonly headers?: Readonly<Record<string, object>>
  readonly content: Readonly<Record<string, { readonly schema: object; readonly examples: object }>>
}

/** Response schemas of the problems a route may answer, by status, with an example for each code. */
export function problems(...codes: readonly ProblemCode[]): Record<number, ProblemResponse> {
  const byStatus = Map.groupBy(new Set([...codes, ...ANYWHERE]), statusOfProblem)
  return Object.fromEntries([...byStatus].map(([status, those]) => [status, problemResponse(status, those)]))
}

function problemResponse(status: number, codes: readonly ProblemCode[]): ProblemResponse {
  const examples = Object.fromEntries(codes.map((code) => [code, { value: problemExample(code) }]))
  const retryAfter = { 'Retry-After': { type: 'integer', description: 'Seconds after which to try again.' } }
  return {
    description: codes.map((code) => `\`${code}\`: ${titleOfProblem(code)}.`).join(' '),
    ...(status === 429 || status === 503 ? { headers: retryAfter } : {}),
    content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: 'Problem#' }, examples } }
  }
}

function problemExample(code: ProblemCode): object {
  const errors = code === 'validation-failed' ? { errors: [{ field: 'model', message: 'is missing' }] } : {}
  return {
    type: `urn:tokenmeter:problem:${code}`,
    title: titleOfProblem(code),
    status: statusOfProblem(code),
    code,
    detail: `${titleOfProblem(code)}.`,
    requestId: '0198c0de-0000-7000-8000-000000000001',
    ...errors
  }
}

/** A schema of an answer with the response's description and an example. */
export function answer<T extends TSchema>(schema: T, description: string, example: object): T {
  return { ...schema, description, examples: [example] }
}
