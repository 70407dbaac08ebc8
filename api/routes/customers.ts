import { randomUUIDv7 } from 'node:crypto'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import type { FastifyRequest, FastifySchemaCompiler } from 'fastify'
import Type, { type TSchema } from 'typebox'
import {
  type CustomerStep,
  changeCustomer,
  moveCustomer,
  newCustomer,
  type Stated
} from '../../domain/customers/change-customer.ts'
import { CUSTOMER_KINDS, CUSTOMER_STATUSES, type Customer } from '../../domain/customers/customer.ts'
import type { CustomerStore } from '../../domain/customers/customer-store.ts'
import { NAME_LENGTH_MAX, REFERENCE_LENGTH_MAX } from '../../domain/customers/validate-customer.ts'
import type { PublishedEventType } from '../../domain/published-event.ts'
import type { LimitRefresh } from '../../domain/tokens/effective/limit-refresh.ts'
import { type AccessRule, EVERY_ROLE, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { refreshLimits } from '../changes/refresh-limits.ts'
import { FAULTS_MAX, ProblemError } from '../problem.ts'
import {
  CUSTOMER_EXAMPLE,
  CustomerPatchBody,
  CustomerTold,
  NewCustomerBody,
  tellCustomer
} from '../schemas/customers.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace, requireMatch } from '../schemas/versions.ts'

interface CustomerDependencies {
  readonly customerStore: CustomerStore
  readonly limitRefresh: LimitRefresh
  readonly now: () => number
}

const READ: AccessRule = { scope: 'customers:read', roles: EVERY_ROLE }
const READ_ALL: AccessRule = { scope: 'customers:read', roles: PLATFORM_ONLY }
const WRITE: AccessRule = { scope: 'customers:write', roles: PLATFORM_ONLY }

const CustomerPath = Type.Object({ customerId: schemas.CustomerId }, schemas.strict)
const BODY_FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type', 'body-too-large'] as const
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const

/** `validateCustomer` checks the body, in the handler: what is required depends on the kind, and a patch on what is stored. */
const validatorCompiler: FastifySchemaCompiler<TSchema> = (part) =>
  part.httpPart === 'body' ? () => true : TypeBoxValidatorCompiler(part)

export function customerRoutes(api: Api, dependencies: CustomerDependencies): void {
  createRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  changeRoute(api, dependencies)
  stepRoute(api, dependencies, 'suspend')
  stepRoute(api, dependencies, 'reactivate')
  stepRoute(api, dependencies, 'close')
}

function answerCustomer(description: string, example: object = CUSTOMER_EXAMPLE) {
  return { ...schemas.answer(CustomerTold, description, example), headers: ETAG }
}

function createRoute(api: Api, { customerStore, now }: CustomerDependencies): void {
  api.post(
    '/v1/customers',
    {
      config: { access: WRITE },
      validatorCompiler,
      schema: {
        operationId: 'createCustomer',
        tags: ['customers'],
        summary: 'Take a customer on',
        description:
          'It is active from now on. Its calls are allowed once it has limits, from a subscription or put by hand.',
        body: NewCustomerBody,
        response: {
          201: answerCustomer('The customer.'),
          ...schemas.problems(...BODY_FAULTS, ...REPEATS, 'external-id-taken')
        }
      }
    },
    async (request, reply) => {
      const customer = sound(newCustomer(request.body, { id: randomUUIDv7(), now: now() }))
      const headers = { ...etagOf(customer), location: `/v1/customers/${customer.id}` }
      const body = tellCustomer(customer)
      const outcome = await customerStore.insert(
        customer,
        changeOf(request, {
          ...changed('customer.created', customer),
          before: null,
          answer: { status: 201, headers, body: JSON.stringify(body) }
        })
      )
      if (outcome === 'external-id-taken') throw externalIdTaken(customer)
      return reply.code(201).headers(headers).send(body)
    }
  )
}

function listRoute(api: Api, { customerStore }: CustomerDependencies): void {
  api.get(
    '/v1/customers',
    {
      config: { access: READ_ALL },
      schema: {
        operationId: 'listCustomers',
        tags: ['customers'],
        summary: 'Customers',
        querystring: Type.Object(
          {
            status: Type.Optional(schemas.oneOf(CUSTOMER_STATUSES, 'Those with a status.')),
            kind: Type.Optional(schemas.oneOf(CUSTOMER_KINDS, 'Those of a kind.')),
            externalId: Type.Optional(
              schemas.visible('The one that another system calls by this id.', REFERENCE_LENGTH_MAX)
            ),
            search: Type.Optional(
              schemas.visible('Those whose legal name begins so, in upper or lower case.', NAME_LENGTH_MAX)
            ),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(CustomerTold, 'A page of customers.', CUSTOMER_EXAMPLE),
          ...schemas.problems('validation-failed')
        }
      }
    },
    async (request) => {
      const { status = null, kind = null, externalId = null, search = null } = request.query
      const filter = { status, kind, externalId, search, ...pageAsked(request.query) }
      return tellPage(await customerStore.list(reachOf(request), filter), tellCustomer)
    }
  )
}

function getRoute(api: Api, { customerStore }: CustomerDependencies): void {
  api.get(
    '/v1/customers/:customerId',
    {
      config: { access: READ },
      schema: {
        operationId: 'getCustomer',
        tags: ['customers'],
        summary: 'A customer',
        params: CustomerPath,
        response: {
          200: answerCustomer('The customer.'),
          ...schemas.problems('validation-failed', 'unknown-customer')
        }
      }
    },
    async (request, reply) => {
      const customer = await getCustomer(customerStore, request)
      return reply.headers(etagOf(customer)).send(tellCustomer(customer))
    }
  )
}

function changeRoute(api: Api, { customerStore, limitRefresh, now }: CustomerDependencies): void {
  api.patch(
    '/v1/customers/:customerId',
    {
      config: { access: WRITE },
      validatorCompiler,
      schema: {
        operationId: 'changeCustomer',
        tags: ['customers'],
        summary: 'Change what is known of a customer',
        description: 'Needs If-Match, so that nobody overwrites what they did not read.',
        params: CustomerPath,
        headers: IfMatch,
        body: CustomerPatchBody,
        response: {
          200: answerCustomer('The customer as it stands now.', { ...CUSTOMER_EXAMPLE, version: 2 }),
          ...schemas.problems(
            ...BODY_FAULTS,
            'unknown-customer',
            'external-id-taken',
            'currency-in-use',
            'precondition-required',
            'version-mismatch'
          )
        }
      }
    },
    async (request, reply) => {
      const before = await getCustomer(customerStore, request)
      const ifMatch = request.headers['if-match']
      requireMatch(ifMatch, before)
      const next = sound(changeCustomer(before, request.body, now()))
      const told = { ...changed('customer.updated', next), before: tellCustomer(before) }
      const outcome = await customerStore.update(next, changeOf(request, told))
      if (outcome === 'external-id-taken') throw externalIdTaken(next)
      if (outcome === 'currency-in-use') {
        throw new ProblemError('currency-in-use', `The customer has subscriptions in ${before.currency}.`)
      }
      if (outcome === 'other-version') throw lostRace(ifMatch)
      if (next.timeZone !== before.timeZone) await refreshLimits(request, limitRefresh, next.id)
      return reply.headers(etagOf(next)).send(tellCustomer(next))
    }
  )
}

const STEPS = {
  suspend: {
    summary: 'Suspend a customer',
    description: 'Its calls are denied until it is reactivated. What it used is kept and billed.',
    status: 'suspended',
    event: 'customer.suspended'
  },
  reactivate: {
    summary: 'Reactivate a suspended customer',
    description: 'Its calls are checked against its limits again.',
    status: 'active',
    event: 'customer.reactivated'
  },
  close: {
    summary: 'Close a customer',
    description: 'For ever: its calls are denied. Nothing of it is deleted. Its subscription must be over.',
    status: 'closed',
    event: 'customer.closed'
  }
} as const satisfies Record<CustomerStep, { readonly event: PublishedEventType } & Record<string, string>>

function stepRoute(api: Api, { customerStore, limitRefresh, now }: CustomerDependencies, step: CustomerStep): void {
  const { summary, description, status, event } = STEPS[step]
  api.post(
    `/v1/customers/:customerId/${step}`,
    {
      config: { access: WRITE },
      schema: {
        operationId: `${step}Customer`,
        tags: ['customers'],
        summary,
        description,
        params: CustomerPath,
        headers: IfMatch,
        response: {
          200: answerCustomer('The customer as it stands now.', { ...CUSTOMER_EXAMPLE, status, version: 2 }),
          ...schemas.problems(
            'validation-failed',
            ...REPEATS,
            'unknown-customer',
            'illegal-transition',
            'conflicting-change',
            'version-mismatch'
          )
        }
      }
    },
    async (request, reply) => {
      const before = await getCustomer(customerStore, request)
      const ifMatch = request.headers['if-match']
      checkMatch(ifMatch, before)
      const moved = moveCustomer(before, step, now())
      if ('refused' in moved) throw new ProblemError('illegal-transition', moved.refused)
      const body = tellCustomer(moved.next)
      const headers = etagOf(moved.next)
      const told = { ...changed(event, moved.next), before: tellCustomer(before) }
      const answer = { status: 200, headers, body: JSON.stringify(body) }
      const outcome = await customerStore.update(moved.next, changeOf(request, { ...told, answer }))
      if (outcome === 'subscribed') {
        throw new ProblemError(
          'illegal-transition',
          'The customer has a subscription that is not over: cancel it first.'
        )
      }
      if (outcome !== 'updated') throw lostRace(ifMatch)
      await refreshLimits(request, limitRefresh, moved.next.id)
      return reply.headers(headers).send(body)
    }
  )
}

type CustomerRequest = Pick<FastifyRequest, 'principal'> & { readonly params: { readonly customerId: string } }

async function getCustomer(customerStore: CustomerStore, request: CustomerRequest): Promise<Customer> {
  const { customerId } = request.params
  const customer = await customerStore.find(reachOf(request), customerId)
  if (customer === null) throw new ProblemError('unknown-customer', `The customer ${customerId} is not known.`)
  return customer
}

function sound(stated: Stated): Customer {
  if ('next' in stated) return stated.next
  throw new ProblemError('validation-failed', 'See `errors`.', { errors: stated.faults.slice(0, FAULTS_MAX) })
}

function externalIdTaken({ externalId }: Customer): ProblemError {
  return new ProblemError('external-id-taken', `Another customer has the external id ${externalId}.`)
}

/** What a change tells: the action and the event that others hear of have one name. */
function changed(action: PublishedEventType, after: Customer) {
  return {
    customerId: after.id,
    action,
    entity: { kind: 'customer', id: after.id },
    after: tellCustomer(after),
    at: after.updatedAt,
    events: [action]
  }
}
