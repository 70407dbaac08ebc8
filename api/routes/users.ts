import { randomUUIDv7 } from 'node:crypto'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import type { FastifyRequest, FastifySchemaCompiler } from 'fastify'
import Type, { type TSchema } from 'typebox'
import type { AuditEraser } from '../../domain/audit/audit-store.ts'
import { changeUser, inviteUser, moveUser, type UserStated, type UserStep } from '../../domain/customers/change-user.ts'
import type { CustomerStore } from '../../domain/customers/customer-store.ts'
import { erasedEmail, USER_STATUSES, type User } from '../../domain/customers/user.ts'
import { USER_ROLES } from '../../domain/customers/user-role.ts'
import type { UserStore } from '../../domain/customers/user-store.ts'
import { EMAIL_LENGTH_MAX } from '../../domain/customers/validate-customer.ts'
import type { PublishedEventType } from '../../domain/published-event.ts'
import { type AccessRule, ADMINS } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, principalOf, reachOf } from '../changes/change-of.ts'
import { FAULTS_MAX, ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { NewUserBody, tellUser, USER_EXAMPLE, UserPatchBody, UserTold } from '../schemas/users.ts'
import { checkMatch, ETAG, etagOf, IfMatch, lostRace, requireMatch } from '../schemas/versions.ts'
import { eraseWhole } from '../users/erase-user.ts'

interface UserDependencies {
  readonly auditEraser: AuditEraser
  readonly customerStore: Pick<CustomerStore, 'find'>
  readonly userStore: UserStore
  readonly now: () => number
}

const READ: AccessRule = { scope: 'users:read', roles: ADMINS }
const WRITE: AccessRule = { scope: 'users:write', roles: ADMINS }
const ERASE: AccessRule = { scope: 'users:write', roles: ['owner'] }

const CustomerPath = Type.Object({ customerId: schemas.CustomerId }, schemas.strict)
const UserPath = Type.Object({ customerId: schemas.CustomerId, userId: schemas.UserId }, schemas.strict)
const BODY_FAULTS = ['malformed-json', 'validation-failed', 'unsupported-media-type', 'access-denied'] as const
const REPEATS = ['idempotency-in-flight', 'idempotency-key-reused'] as const
const CHANGE_FAULTS = ['unknown-user', 'access-denied', 'last-owner', 'version-mismatch'] as const
const ERASE_FAULTS = [
  'unknown-customer',
  'unknown-user',
  'access-denied',
  'version-mismatch',
  'illegal-transition',
  'conflicting-change'
] as const
const ERASED_EXAMPLE = {
  ...USER_EXAMPLE,
  email: erasedEmail(USER_EXAMPLE),
  name: null,
  status: 'disabled',
  version: 3
}

/** `inviteUser` and `changeUser` check the body, in the handler, as a customer's is checked. */
const validatorCompiler: FastifySchemaCompiler<TSchema> = (part) =>
  part.httpPart === 'body' ? () => true : TypeBoxValidatorCompiler(part)

export function userRoutes(api: Api, dependencies: UserDependencies): void {
  inviteRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
  changeRoute(api, dependencies)
  stepRoute(api, dependencies, 'activate')
  stepRoute(api, dependencies, 'disable')
  eraseRoute(api, dependencies)
}

function answerUser(description: string, example: object = USER_EXAMPLE) {
  return { ...schemas.answer(UserTold, description, example), headers: ETAG }
}

function inviteRoute(api: Api, { customerStore, userStore, now }: UserDependencies): void {
  api.post(
    '/v1/customers/:customerId/users',
    {
      config: { access: WRITE },
      validatorCompiler,
      schema: {
        operationId: 'inviteUser',
        tags: ['users'],
        summary: 'Invite a user',
        description:
          'Tells others by `user.invited`; whoever sends the invitation activates the user when it is accepted.',
        params: CustomerPath,
        body: NewUserBody,
        response: {
          201: answerUser('The user.'),
          ...schemas.problems(...BODY_FAULTS, ...REPEATS, 'unknown-customer', 'email-taken')
        }
      }
    },
    async (request, reply) => {
      const { customerId } = request.params
      await refuseUnknown(customerStore, request)
      const user = sound(inviteUser(request.body, { id: randomUUIDv7(), customerId, now: now() }))
      refuseOwners(request, [user])
      const headers = { ...etagOf(user), location: `/v1/customers/${encodeURIComponent(customerId)}/users/${user.id}` }
      const body = tellUser(user)
      const outcome = await userStore.insert(
        user,
        changeOf(request, {
          ...changed('user.invited', user),
          before: null,
          events: ['user.invited'],
          answer: { status: 201, headers, body: JSON.stringify(body) }
        })
      )
      if (outcome === 'email-taken') {
        throw new ProblemError('email-taken', `The customer ${customerId} has a user with this address.`)
      }
      return reply.code(201).headers(headers).send(body)
    }
  )
}

function listRoute(api: Api, { customerStore, userStore }: UserDependencies): void {
  api.get(
    '/v1/customers/:customerId/users',
    {
      config: { access: READ },
      schema: {
        operationId: 'listUsers',
        tags: ['users'],
        summary: "A customer's users",
        params: CustomerPath,
        querystring: Type.Object(
          {
            status: Type.Optional(schemas.oneOf(USER_STATUSES, 'Those with a status.')),
            role: Type.Optional(schemas.oneOf(USER_ROLES, 'Those with a role.')),
            email: Type.Optional(schemas.visible('The one with this address.', EMAIL_LENGTH_MAX)),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(UserTold, 'A page of users.', USER_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'access-denied')
        }
      }
    },
    async (request) => {
      await refuseUnknown(customerStore, request)
      const { status = null, role = null, email = null } = request.query
      const filter = { status, role, email, ...pageAsked(request.query) }
      return tellPage(await userStore.list(reachOf(request), request.params.customerId, filter), tellUser)
    }
  )
}

function getRoute(api: Api, { userStore }: UserDependencies): void {
  api.get(
    '/v1/customers/:customerId/users/:userId',
    {
      config: { access: READ },
      schema: {
        operationId: 'getUser',
        tags: ['users'],
        summary: 'A user',
        params: UserPath,
        response: {
          200: answerUser('The user.'),
          ...schemas.problems('validation-failed', 'unknown-customer', 'unknown-user', 'access-denied')
        }
      }
    },
    async (request, reply) => {
      const user = await getUser(userStore, request)
      return reply.headers(etagOf(user)).send(tellUser(user))
    }
  )
}

function changeRoute(api: Api, { userStore, now }: UserDependencies): void {
  api.patch(
    '/v1/customers/:customerId/users/:userId',
    {
      config: { access: WRITE },
      validatorCompiler,
      schema: {
        operationId: 'changeUser',
        tags: ['users'],
        summary: "Change a user's role or name",
        description: 'Needs If-Match. A customer keeps an owner: the last one that is not disabled stays one.',
        params: UserPath,
        headers: IfMatch,
        body: UserPatchBody,
        response: {
          200: answerUser('The user as it stands now.', { ...USER_EXAMPLE, role: 'developer', version: 2 }),
          ...schemas.problems(...BODY_FAULTS, ...CHANGE_FAULTS, 'unknown-customer', 'precondition-required')
        }
      }
    },
    async (request, reply) => {
      const before = await getUser(userStore, request)
      const ifMatch = request.headers['if-match']
      requireMatch(ifMatch, before)
      const next = sound(changeUser(before, request.body, now()))
      refuseOwners(request, [before, next])
      const told = { ...changed('user.updated', next), before: tellUser(before), events: ['user.updated'] as const }
      done(await userStore.update(next, changeOf(request, told)), next, ifMatch)
      return reply.headers(etagOf(next)).send(tellUser(next))
    }
  )
}

const STEPS = {
  activate: {
    summary: 'Activate a user',
    description: 'One who was invited and came, or one who was disabled and is let in again.',
    status: 'active',
    action: 'user.activated',
    event: 'user.updated'
  },
  disable: {
    summary: 'Disable a user',
    description: 'Who may do nothing from now on; also takes an invitation back. Never the last owner.',
    status: 'disabled',
    action: 'user.disabled',
    event: 'user.disabled'
  }
} as const satisfies Record<UserStep, { readonly event: PublishedEventType } & Record<string, string>>

function stepRoute(api: Api, { userStore, now }: UserDependencies, step: UserStep): void {
  const { summary, description, status, action, event } = STEPS[step]
  api.post(
    `/v1/customers/:customerId/users/:userId/${step}`,
    {
      config: { access: WRITE },
      schema: {
        operationId: `${step}User`,
        tags: ['users'],
        summary,
        description,
        params: UserPath,
        headers: IfMatch,
        response: {
          200: answerUser('The user as it stands now.', { ...USER_EXAMPLE, status, version: 2 }),
          ...schemas.problems(
            'validation-failed',
            ...REPEATS,
            ...CHANGE_FAULTS,
            'unknown-customer',
            'illegal-transition',
            'conflicting-change'
          )
        }
      }
    },
    async (request, reply) => {
      const before = await getUser(userStore, request)
      const ifMatch = request.headers['if-match']
      checkMatch(ifMatch, before)
      refuseOwners(request, [before])
      const moved = moveUser(before, step, now())
      if ('refused' in moved) throw new ProblemError('illegal-transition', moved.refused)
      const body = tellUser(moved.next)
      const headers = etagOf(moved.next)
      const told = { ...changed(action, moved.next), before: tellUser(before), events: [event] }
      const answer = { status: 200, headers, body: JSON.stringify(body) }
      done(await userStore.update(moved.next, changeOf(request, { ...told, answer })), moved.next, ifMatch)
      return reply.headers(headers).send(body)
    }
  )
}

function eraseRoute(api: Api, dependencies: UserDependencies): void {
  api.post(
    '/v1/customers/:customerId/users/:userId/erase',
    {
      config: { access: ERASE },
      schema: {
        operationId: 'eraseUser',
        tags: ['users'],
        summary: 'Erase a user',
        description:
          'Takes the address, the name and what else names the person out of the user and its audit records, for ever. Only of a user ' +
          'that is disabled, who stays so. Again, it changes nothing. Tells others by `user.updated`.',
        params: UserPath,
        headers: IfMatch,
        response: {
          200: answerUser('The user as it stands now.', ERASED_EXAMPLE),
          ...schemas.problems('validation-failed', ...REPEATS, ...ERASE_FAULTS)
        }
      }
    },
    async (request, reply) => {
      const before = await getUser(dependencies.userStore, request)
      checkMatch(request.headers['if-match'], before)
      refuseOwners(request, [before])
      const user = await eraseWhole(request, before, dependencies)
      return reply.headers(etagOf(user)).send(tellUser(user))
    }
  )
}

type CustomerRequest = Pick<FastifyRequest, 'principal'> & { readonly params: { readonly customerId: string } }
type UserRequest = CustomerRequest & { readonly params: { readonly userId: string } }

async function refuseUnknown(customerStore: Pick<CustomerStore, 'find'>, request: CustomerRequest): Promise<void> {
  const { customerId } = request.params
  if ((await customerStore.find(reachOf(request), customerId)) !== null) return
  throw new ProblemError('unknown-customer', `The customer ${customerId} is not known.`)
}

async function getUser(userStore: UserStore, request: UserRequest): Promise<User> {
  const { customerId, userId } = request.params
  const user = await userStore.find(reachOf(request), { customerId, id: userId })
  if (user === null) throw new ProblemError('unknown-user', `The customer ${customerId} has no user ${userId}.`)
  return user
}

/** An administrator, or a key that one made, could otherwise make itself an owner, or be rid of one. */
function refuseOwners(request: FastifyRequest, users: readonly User[]): void {
  const { customerId, role } = principalOf(request)
  if (customerId === null || role === 'owner' || !users.some((user) => user.role === 'owner')) return
  throw new ProblemError('access-denied', 'Only an owner makes owners and changes them.')
}

function sound(stated: UserStated): User {
  if ('next' in stated) return stated.next
  throw new ProblemError('validation-failed', 'See `errors`.', { errors: stated.faults.slice(0, FAULTS_MAX) })
}

type Updated = Awaited<ReturnType<UserStore['update']>>

function done(outcome: Updated, { id, customerId }: User, ifMatch: string | undefined): void {
  if (outcome === 'updated') return
  if (outcome === 'other-version') throw lostRace(ifMatch)
  throw new ProblemError('last-owner', `${id} is the last owner of the customer ${customerId}: make another one first.`)
}

function changed(action: string, after: User) {
  return {
    customerId: after.customerId,
    action,
    entity: { kind: 'user', id: after.id },
    after: tellUser(after),
    at: after.updatedAt
  }
}
