import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { LimitStore } from '../../domain/api-ports.ts'
import type { Change } from '../../domain/change.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { JsonObject } from '../../domain/json.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'
import type { CustomerLimits, Limit } from '../../domain/tokens/limit.ts'
import { validateLimits } from '../../domain/tokens/validate-limits.ts'
import { EVERY_ROLE, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf } from '../changes/change-of.ts'
import { FAULTS_MAX, type FieldFault, ProblemError } from '../problem.ts'
import { LIMITS_ANSWER_EXAMPLE, LimitsAnswer, LimitsBody } from '../schemas/limits.ts'
import * as schemas from '../schemas/shared.ts'
import { unknownCustomer } from './quota.ts'

interface LimitDependencies {
  readonly limitStore: LimitStore
  readonly limitRefresh: LimitRefresh
  readonly now: () => number
}

/** A hundred limits with long lists of prices. */
const LIMITS_BYTES_MAX = 1_048_576

const CustomerPath = Type.Object({ customerId: schemas.CustomerId }, schemas.strict)
const ETAG = { ETag: { type: 'string', description: 'The version in quotes, for If-Match.' } }
const LimitsStored = { ...schemas.answer(LimitsAnswer, 'The limits as stored.', LIMITS_ANSWER_EXAMPLE), headers: ETAG }

export function limitRoutes(api: Api, dependencies: LimitDependencies): void {
  api.get(
    '/v1/customers/:customerId/limits',
    {
      config: { access: { scope: 'limits:read', roles: EVERY_ROLE } },
      schema: {
        operationId: 'getLimits',
        tags: ['limits'],
        summary: "A customer's limits",
        params: CustomerPath,
        response: {
          200: LimitsStored,
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async ({ params: { customerId } }, reply) => {
      const stored = await dependencies.limitStore.find(customerId)
      if (stored === null) throw unknownCustomer(customerId)
      return reply.header('etag', etagOf(stored)).send(told(stored))
    }
  )
  putRoute(api, dependencies)
}

function putRoute(api: Api, { limitStore, limitRefresh, now }: LimitDependencies): void {
  api.put(
    '/v1/customers/:customerId/limits',
    {
      config: { access: { scope: 'limits:write', roles: PLATFORM_ONLY } },
      bodyLimit: LIMITS_BYTES_MAX,
      // `validateLimits` checks the body, in the handler: it names the field where a union of schemas can't.
      validatorCompiler: (part) => (part.httpPart === 'body' ? () => true : TypeBoxValidatorCompiler(part)),
      schema: {
        operationId: 'putLimits',
        tags: ['limits'],
        summary: "Replace a customer's limits",
        description:
          'Replaces all limits, and makes the customer known to quota checks. With If-Match, only when the stored version is that one. A new max keeps what was counted. Stored first, then put in force: if that can not be done at once the answer is 503 `limits-pending`, and the service does it by itself as soon as it can.',
        params: CustomerPath,
        headers: Type.Object({
          'if-match': Type.Optional(
            Type.String({ description: 'An ETag, or `*` for any stored version.', examples: ['"3"'] })
          )
        }),
        body: LimitsBody,
        response: {
          200: LimitsStored,
          201: { ...LimitsStored, description: 'The limits, the first this customer has.' },
          ...schemas.problems(
            'malformed-json',
            'validation-failed',
            'version-mismatch',
            'unsupported-media-type',
            'limits-pending',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const { customerId } = request.params
      const limits = checked(customerId, request.body)
      const expected = await expectedVersion(limitStore, customerId, request.headers['if-match'])
      const stored = await limitStore.put(limits, expected, changeBy(request, limits, now()))
      if (stored === null) throw versionMismatch(customerId)
      await putInForce(stored, limitRefresh, request.log)
      return reply
        .code(stored.version === 1 ? 201 : 200)
        .header('etag', etagOf(stored))
        .send(told(stored))
    }
  )
}

/** What was there before stands in the record of the change before. */
function changeBy(request: FastifyRequest, limits: Omit<CustomerLimits, 'version'>, at: number): Change {
  const { customerId } = limits
  const entity = { kind: 'limits', id: customerId }
  const after: JsonObject = JSON.parse(JSON.stringify(limits))
  return changeOf(request, { customerId, action: 'limits.put', entity, before: null, after, at })
}

/**
 * Stored limits are due for renewal at once, in the statement that stores them, and stop being due only when the meter has them:
 * whatever dies between two of these lines, the renewal job finishes the work.
 */
async function putInForce(stored: CustomerLimits, limitRefresh: LimitRefresh, log: FastifyBaseLogger): Promise<void> {
  const { customerId, version } = stored
  try {
    await limitRefresh.refresh(customerId)
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error
    log.warn({ err: error, customerId, version }, 'limits are stored and wait for the renewal job')
    throw new ProblemError(
      'limits-pending',
      `Version ${version} is stored; it comes into force as soon as the meter can take it.`,
      {
        retryAfterSeconds: 5,
        headers: { etag: etagOf(stored) },
        extensions: { version },
        cause: error
      }
    )
  }
}

function checked(customerId: string, body: { readonly timeZone: string; readonly limits: readonly Limit[] }) {
  const errors = faultsOf(customerId, body)
  if (errors.length > 0)
    throw new ProblemError('validation-failed', 'See `errors`.', { errors: errors.slice(0, FAULTS_MAX) })
  return { customerId, timeZone: body.timeZone, limits: body.limits }
}

/** The id is the path's and the version the store's: a body that states them is told so. */
function faultsOf(customerId: string, body: unknown): readonly FieldFault[] {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return validateLimits(body)
  const unknown = ['customerId', 'version'].filter((field) => Object.hasOwn(body, field))
  return [
    ...unknown.map((field) => ({ field, message: 'is not a known field' })),
    ...validateLimits({ ...body, customerId })
  ]
}

/** The version that must be stored: null for any. */
async function expectedVersion(
  limitStore: LimitStore,
  customerId: string,
  ifMatch: string | undefined
): Promise<number | null> {
  if (ifMatch === undefined) return null
  if (ifMatch.trim() === '*') {
    const stored = await limitStore.find(customerId)
    if (stored === null) throw versionMismatch(customerId)
    return stored.version
  }
  // No version has ten digits, and Postgres compares none that is no integer of its own.
  const version = /^"(?<version>0|[1-9]\d{0,8})"$/.exec(ifMatch.trim())?.groups?.version
  if (version === undefined) throw versionMismatch(customerId)
  return Number(version)
}

function versionMismatch(customerId: string): ProblemError {
  return new ProblemError(
    'version-mismatch',
    `The stored limits of ${customerId} are of another version: read them again.`
  )
}

function etagOf({ version }: CustomerLimits): string {
  return `"${version}"`
}

function told({ customerId, timeZone, version, limits }: CustomerLimits) {
  return { customerId, timeZone, version, limits }
}
