import { randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest, RouteOptions } from 'fastify'
import Type from 'typebox'
import type { StoredAnswer } from '../../domain/change.ts'
import { type ApiKey, hashOf, isLive, makeSecret, ROTATION_OVERLAP_MS, rotate } from '../../domain/customers/api-key.ts'
import type { ApiKeyStore } from '../../domain/customers/api-key-store.ts'
import { type AccessRule, ADMINS } from '../access/access-rule.ts'
import { grantableScopes } from '../access/authorize.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, principalOf, reachOf } from '../changes/change-of.ts'
import { type FieldFault, ProblemError } from '../problem.ts'
import {
  API_KEY_EXAMPLE,
  ApiKeyMade,
  ApiKeyTold,
  NewApiKeyBody,
  RotationBody,
  SECRET_EXAMPLE,
  tellApiKey
} from '../schemas/api-keys.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace } from '../schemas/versions.ts'

export interface ApiKeyDependencies {
  readonly apiKeyStore: ApiKeyStore
  /** Stands in the keys that are made. */
  readonly apiKeyEnvironment: string
  readonly now: () => number
  /** Every route of the app, once it is built: what a scope opens follows from them. */
  readonly routes: readonly RouteOptions[]
}

const ACCESS: AccessRule = { scope: 'api-keys:write', roles: ADMINS }

const KeyPath = Type.Object(
  {
    apiKeyId: Type.String({
      description: 'Id of the key.',
      minLength: 1,
      maxLength: 128,
      pattern: schemas.VISIBLE,
      examples: [API_KEY_EXAMPLE.id]
    })
  },
  schemas.strict
)
const FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type'] as const
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const

export function apiKeyRoutes(api: Api, dependencies: ApiKeyDependencies): void {
  createRoute(api, dependencies)
  listRoute(api, dependencies)
  rotateRoute(api, dependencies)
  revokeRoute(api, dependencies)
}

function made(description: string) {
  return {
    ...schemas.answer(ApiKeyMade, description, { ...API_KEY_EXAMPLE, secret: SECRET_EXAMPLE }),
    headers: ETAG
  }
}

function createRoute(api: Api, { apiKeyStore, apiKeyEnvironment, now, routes }: ApiKeyDependencies): void {
  api.post(
    '/v1/api-keys',
    {
      config: { access: ACCESS },
      schema: {
        operationId: 'createApiKey',
        tags: ['api keys'],
        summary: 'Make an API key',
        description:
          "The secret is told in this answer and never again: what is kept of it, and of an answer that is repeated by its Idempotency-Key, has none. A customer's administrators make keys of their customer; a scope is given only by who has all that it opens.",
        body: NewApiKeyBody,
        response: { 201: made('The key.'), ...schemas.problems(...FAULTS, ...REPEATS, 'unknown-customer') }
      }
    },
    async (request, reply) => {
      const { body } = request
      const at = now()
      const expiresAt = body.expiresAt === undefined ? null : Date.parse(body.expiresAt)
      // The format lets leap seconds through, which are no number.
      if (expiresAt !== null && !(expiresAt > at)) throw bodyFault({ field: 'expiresAt', message: 'must lie ahead' })
      refuseLackedScopes(request, routes, body.scopes)
      const key: ApiKey = {
        id: randomUUIDv7(),
        customerId: principalOf(request).customerId ?? body.customerId ?? null,
        name: body.name,
        scopes: body.scopes,
        expiresAt,
        revokedAt: null,
        replacedBy: null,
        lastUsedAt: null,
        version: 1,
        createdAt: at,
        updatedAt: at
      }
      const secret = makeSecret(apiKeyEnvironment)
      const answer = answerOf(key, 201)
      const change = changeOf(request, { ...created(key), answer })
      const outcome = await apiKeyStore.insert({ key, hash: hashOf(secret) }, change)
      if (outcome === 'unknown-customer') {
        throw new ProblemError('unknown-customer', `The customer ${key.customerId} is not known.`)
      }
      return reply
        .code(201)
        .headers(answer.headers)
        .send({ ...tellApiKey(key), secret })
    }
  )
}

function listRoute(api: Api, { apiKeyStore }: ApiKeyDependencies): void {
  api.get(
    '/v1/api-keys',
    {
      config: { access: ACCESS },
      schema: {
        operationId: 'listApiKeys',
        tags: ['api keys'],
        summary: 'API keys, without their secrets',
        description: "Also those that expired or were revoked. A customer's credential sees its own customer's.",
        querystring: Type.Object({ customerId: Type.Optional(schemas.CustomerId), ...pageQuery }, schemas.strict),
        response: {
          200: pageOf(ApiKeyTold, 'A page of keys.', API_KEY_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer')
        }
      }
    },
    async (request) => {
      const { customerId = null, ...asked } = request.query
      return tellPage(await apiKeyStore.list(reachOf(request), { customerId, ...pageAsked(asked) }), tellApiKey)
    }
  )
}

function rotateRoute(api: Api, { apiKeyStore, apiKeyEnvironment, now, routes }: ApiKeyDependencies): void {
  api.post(
    '/v1/api-keys/:apiKeyId/rotate',
    {
      config: { access: ACCESS },
      schema: {
        operationId: 'rotateApiKey',
        tags: ['api keys'],
        summary: 'Replace an API key',
        description:
          'Makes a key of the same name, scopes and length of life. The old one goes on for `overlapSeconds`, so that whoever uses it can change over; both live until then. A key is replaced once.',
        params: KeyPath,
        headers: IfMatch,
        body: RotationBody,
        response: { 201: made('The new key.'), ...schemas.problems(...FAULTS, ...REPEATS, ...TRANSITION_FAULTS) }
      }
    },
    async (request, reply) => {
      const before = await found(apiKeyStore, request)
      refuseLackedScopes(request, routes, before.scopes)
      const overlapMs = (request.body.overlapSeconds ?? ROTATION_OVERLAP_MS / 1_000) * 1_000
      const rotation = rotate(before, { id: randomUUIDv7(), at: now(), overlapMs })
      if (rotation === null) {
        throw new ProblemError('illegal-transition', `The key ${before.id} is not live, or was replaced before.`)
      }
      const { old, fresh } = rotation
      const secret = makeSecret(apiKeyEnvironment)
      const answer = answerOf(fresh, 201)
      const change = changeOf(request, { ...changed('api-key.rotated', before, old), answer })
      const both = { ...change, audit: [...change.audit, ...changeOf(request, created(fresh)).audit] }
      await updated(apiKeyStore.update(old, { key: fresh, hash: hashOf(secret) }, both), request)
      return reply
        .code(201)
        .headers(answer.headers)
        .send({ ...tellApiKey(fresh), secret })
    }
  )
}

function revokeRoute(api: Api, { apiKeyStore, now }: ApiKeyDependencies): void {
  api.post(
    '/v1/api-keys/:apiKeyId/revoke',
    {
      config: { access: ACCESS },
      schema: {
        operationId: 'revokeApiKey',
        tags: ['api keys'],
        summary: 'Revoke an API key',
        description:
          'For good. Processes that knew the key refuse it after some seconds (`AUTH_CACHE_MS`). One that replaced it goes on.',
        params: KeyPath,
        headers: IfMatch,
        response: {
          200: {
            ...schemas.answer(ApiKeyTold, 'The key as it stands now.', {
              ...API_KEY_EXAMPLE,
              revokedAt: API_KEY_EXAMPLE.updatedAt,
              version: 2
            }),
            headers: ETAG
          },
          ...schemas.problems('validation-failed', ...REPEATS, ...TRANSITION_FAULTS)
        }
      }
    },
    async (request, reply) => {
      const before = await found(apiKeyStore, request)
      const at = now()
      if (before.revokedAt !== null || !isLive(before, at)) {
        throw new ProblemError('illegal-transition', `The key ${before.id} is not live any more.`)
      }
      const after: ApiKey = { ...before, revokedAt: at, version: before.version + 1, updatedAt: at }
      const answer = { status: 200, headers: etagOf(after), body: JSON.stringify(tellApiKey(after)) }
      const change = changeOf(request, { ...changed('api-key.revoked', before, after), answer })
      await updated(apiKeyStore.update(after, null, change), request)
      return reply.headers(answer.headers).send(tellApiKey(after))
    }
  )
}

const TRANSITION_FAULTS = ['no-such-api-key', 'illegal-transition', 'conflicting-change', 'version-mismatch'] as const

type KeyRequest = FastifyRequest & {
  readonly params: { readonly apiKeyId: string }
  readonly headers: { readonly 'if-match'?: string | undefined }
}

async function found(apiKeyStore: ApiKeyStore, request: KeyRequest): Promise<ApiKey> {
  const { apiKeyId } = request.params
  const key = await apiKeyStore.find(reachOf(request), apiKeyId)
  if (key === null) throw new ProblemError('no-such-api-key', `There is no API key ${apiKeyId}.`)
  checkMatch(request.headers['if-match'], key)
  return key
}

async function updated(outcome: ReturnType<ApiKeyStore['update']>, request: KeyRequest): Promise<void> {
  if ((await outcome) === 'other-version') throw lostRace(request.headers['if-match'])
}

/** Neither made nor rotated: the secret of either would be a credential that its maker is not. */
function refuseLackedScopes(request: FastifyRequest, routes: readonly RouteOptions[], scopes: readonly string[]): void {
  const grantable: ReadonlySet<string> = grantableScopes(routes, principalOf(request))
  const lacked = scopes.filter((scope) => !grantable.has(scope))
  if (lacked.length === 0) return
  throw new ProblemError('access-denied', `This credential can not give the scopes ${lacked.join(', ')}.`)
}

/** Without the secret: whoever reads the stored answer, in the database or by a repeat, gets no credential. */
function answerOf(key: ApiKey, status: number): StoredAnswer {
  return { status, headers: etagOf(key), body: JSON.stringify({ ...tellApiKey(key), secret: null }) }
}

function created(key: ApiKey) {
  return { ...changed('api-key.created', null, key), before: null }
}

function changed(action: string, before: ApiKey | null, after: ApiKey) {
  return {
    customerId: after.customerId,
    action,
    entity: { kind: 'api-key', id: after.id },
    before: before === null ? null : tellApiKey(before),
    after: tellApiKey(after),
    at: after.updatedAt
  }
}

function bodyFault(fault: FieldFault): ProblemError {
  return new ProblemError('validation-failed', 'See `errors`.', { errors: [fault] })
}
