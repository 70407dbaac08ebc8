import { randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import Type, { type Static } from 'typebox'
import type { EffectiveLimits } from '../../domain/api-ports.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { CustomerStore } from '../../domain/customers/customer-store.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'
import { raisedBy } from '../../domain/tokens/effective/raise-limits.ts'
import { type GrantAsk, giveGrant } from '../../domain/tokens/grants/give-grant.ts'
import { type Grant, revokeGrant } from '../../domain/tokens/grants/grant.ts'
import type { GrantStore } from '../../domain/tokens/grants/grant-store.ts'
import type { Limit } from '../../domain/tokens/limit.ts'
import { type AccessRule, EVERY_ROLE, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { refreshLimits } from '../changes/refresh-limits.ts'
import { FAULTS_MAX, ProblemError } from '../problem.ts'
import { GRANT_EXAMPLE, GrantId, GrantTold, NewGrantBody, PRIORITY_DEFAULT, tellGrant } from '../schemas/grants.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace } from '../schemas/versions.ts'
import { unknownCustomer } from './quota.ts'

interface GrantDependencies {
  readonly grantStore: GrantStore
  readonly customerStore: Pick<CustomerStore, 'find'>
  readonly effectiveLimits: Pick<EffectiveLimits, 'unraised'>
  readonly limitRefresh: LimitRefresh
  readonly now: () => number
}

const READ: AccessRule = { scope: 'limits:read', roles: EVERY_ROLE }
const WRITE: AccessRule = { scope: 'grants:write', roles: PLATFORM_ONLY }

const CustomerPath = Type.Object({ customerId: schemas.CustomerId }, schemas.strict)
const GrantPath = Type.Object({ customerId: schemas.CustomerId, grantId: GrantId }, schemas.strict)
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const

export function grantRoutes(api: Api, dependencies: GrantDependencies): void {
  giveRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  revokeRoute(api, dependencies)
}

function answerGrant(description: string, example: object = GRANT_EXAMPLE) {
  return { ...schemas.answer(GrantTold, description, example), headers: ETAG }
}

function giveRoute(api: Api, dependencies: GrantDependencies): void {
  const { grantStore, effectiveLimits, limitRefresh, now } = dependencies
  api.post(
    '/v1/customers/:customerId/grants',
    {
      config: { access: WRITE },
      schema: {
        operationId: 'giveGrant',
        tags: ['grants'],
        summary: 'Give tokens or money to a customer',
        description:
          'Tokens raise one limit while they are effective: usage beyond its max burns them, and what is left goes on into the next window. Money lowers invoices.',
        params: CustomerPath,
        body: NewGrantBody,
        response: {
          201: answerGrant('The grant.'),
          ...schemas.problems(
            'malformed-json',
            'unsupported-media-type',
            'validation-failed',
            ...REPEATS,
            'unknown-customer',
            'customer-not-active',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const customer = await getCustomer(dependencies, request)
      if (customer.status === 'closed') {
        throw new ProblemError('customer-not-active', `${customer.id} is closed for ever.`)
      }
      const limits = await effectiveLimits.unraised(customer.id)
      const given = giveGrant(askOf(request.body), { id: randomUUIDv7(), customer, limits, now: now() })
      if ('faults' in given) {
        throw new ProblemError('validation-failed', 'See `errors`.', { errors: given.faults.slice(0, FAULTS_MAX) })
      }
      const { grant } = given
      const body = tellGrant(grant, raisedId(grant, limits))
      const headers = { ...etagOf(grant), location: `/v1/customers/${customer.id}/grants/${grant.id}` }
      const told = { ...changed('grant.given', grant), before: null, after: body }
      const answer = { status: 201, headers, body: JSON.stringify(body) }
      await grantStore.insert(grant, changeOf(request, { ...told, answer }))
      await refreshLimits(request, limitRefresh, customer.id)
      return reply.code(201).headers(headers).send(body)
    }
  )
}

function listRoute(api: Api, dependencies: GrantDependencies): void {
  const { grantStore, effectiveLimits } = dependencies
  api.get(
    '/v1/customers/:customerId/grants',
    {
      config: { access: READ },
      schema: {
        operationId: 'listGrants',
        tags: ['grants'],
        summary: "A customer's grants",
        description: 'Also those that are used up, expired or taken back. The balance says what is left of which.',
        params: CustomerPath,
        querystring: Type.Object(pageQuery, schemas.strict),
        response: {
          200: pageOf(GrantTold, 'A page of grants.', GRANT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { id: customerId } = await getCustomer(dependencies, request)
      const page = await grantStore.list(reachOf(request), { customerId, ...pageAsked(request.query) })
      const limits = await effectiveLimits.unraised(customerId)
      return tellPage(page, (grant) => tellGrant(grant, raisedId(grant, limits)))
    }
  )
}

function getRoute(api: Api, { grantStore, effectiveLimits }: GrantDependencies): void {
  api.get(
    '/v1/customers/:customerId/grants/:grantId',
    {
      config: { access: READ },
      schema: {
        operationId: 'getGrant',
        tags: ['grants'],
        summary: 'A grant',
        params: GrantPath,
        response: {
          200: answerGrant('The grant.'),
          ...schemas.problems('validation-failed', 'unknown-customer', 'unknown-grant', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const grant = await getGrant(grantStore, request)
      const limits = await effectiveLimits.unraised(grant.customerId)
      return reply.headers(etagOf(grant)).send(tellGrant(grant, raisedId(grant, limits)))
    }
  )
}

function revokeRoute(api: Api, { grantStore, effectiveLimits, limitRefresh, now }: GrantDependencies): void {
  api.post(
    '/v1/customers/:customerId/grants/:grantId/revoke',
    {
      config: { access: WRITE },
      schema: {
        operationId: 'revokeGrant',
        tags: ['grants'],
        summary: 'Take a grant back',
        description: 'From the current quarter-hour on. What it had burnt by then stays used.',
        params: GrantPath,
        headers: IfMatch,
        response: {
          200: answerGrant('The grant as it stands now.', {
            ...GRANT_EXAMPLE,
            revokedAt: '2026-03-20T14:15:00.000Z',
            version: 2
          }),
          ...schemas.problems(
            'validation-failed',
            ...REPEATS,
            'unknown-customer',
            'unknown-grant',
            'illegal-transition',
            'conflicting-change',
            'version-mismatch',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const before = await getGrant(grantStore, request)
      const ifMatch = request.headers['if-match']
      checkMatch(ifMatch, before)
      const next = revokeGrant(before, now())
      if (next === null) {
        throw new ProblemError('illegal-transition', 'The grant has expired, or was taken back before.')
      }
      const raises = raisedId(next, await effectiveLimits.unraised(next.customerId))
      const body = tellGrant(next, raises)
      const headers = etagOf(next)
      const told = { ...changed('grant.revoked', next), before: tellGrant(before, raises), after: body }
      const answer = { status: 200, headers, body: JSON.stringify(body) }
      const outcome = await grantStore.revoke(next, changeOf(request, { ...told, answer }))
      if (outcome === 'other-version') throw lostRace(ifMatch)
      await refreshLimits(request, limitRefresh, next.customerId)
      return reply.headers(headers).send(body)
    }
  )
}

type CustomerRequest = Pick<FastifyRequest, 'principal'> & { readonly params: { readonly customerId: string } }
type GrantRequest = CustomerRequest & { readonly params: { readonly grantId: string } }

async function getCustomer(
  { customerStore }: Pick<GrantDependencies, 'customerStore'>,
  request: CustomerRequest
): Promise<Customer> {
  const { customerId } = request.params
  const customer = await customerStore.find(reachOf(request), customerId)
  if (customer === null) throw unknownCustomer(customerId)
  return customer
}

/** One of another customer is none. */
async function getGrant(grantStore: GrantStore, request: GrantRequest): Promise<Grant> {
  const { customerId, grantId } = request.params
  const grant = await grantStore.find(reachOf(request), grantId)
  if (grant !== null && grant.customerId === customerId) return grant
  throw new ProblemError('unknown-grant', `${customerId} has no grant ${grantId}.`)
}

function askOf({ priority = PRIORITY_DEFAULT, ...body }: Static<typeof NewGrantBody>): GrantAsk {
  const { tokens = null, money, source, effectiveAt, expiresAt, limitId = null } = body
  return {
    tokens,
    money: money === undefined ? null : { amountMinor: BigInt(money.amountMinor), currency: money.currency },
    priority,
    source,
    effectiveAt: effectiveAt === undefined ? null : Date.parse(effectiveAt),
    expiresAt: expiresAt === undefined ? null : Date.parse(expiresAt),
    limitId
  }
}

function raisedId(grant: Grant, limits: readonly Limit[]): string | null {
  return grant.amount.kind === 'money' ? null : (raisedBy(grant, limits)?.id ?? null)
}

function changed(action: 'grant.given' | 'grant.revoked', { id, customerId, updatedAt }: Grant) {
  return { customerId, action, entity: { kind: 'grant', id }, at: updatedAt }
}
