import Type from 'typebox'
import { USER_STATUSES, type User } from '../../domain/customers/user.ts'
import { USER_ROLES } from '../../domain/customers/user-role.ts'
import { EMAIL_LENGTH_MAX, NAME_LENGTH_MAX } from '../../domain/customers/validate-customer.ts'
import * as schemas from './shared.ts'

const Email = Type.String({
  description: 'Kept in lower case; unique in the customer.',
  minLength: 3,
  maxLength: EMAIL_LENGTH_MAX
})
const Role = schemas.oneOf(
  USER_ROLES,
  'What the user may do. Only an owner, or a credential of the platform, makes owners and changes them.'
)
const Name = Type.Unsafe<string | null>({
  type: ['string', 'null'],
  minLength: 1,
  maxLength: NAME_LENGTH_MAX,
  description: 'As people call the user; null when nobody said.'
})

export const NewUserBody = Type.Object(
  { email: Email, role: Role, name: Type.Optional(Name) },
  {
    ...schemas.strict,
    title: 'NewUser',
    examples: [{ email: 'amina@clinic.example', role: 'owner', name: 'Amina Diallo' }]
  }
)

export const UserPatchBody = Type.Object(
  { role: Type.Optional(Role), name: Type.Optional(Name) },
  { ...schemas.strict, title: 'UserPatch', description: 'What is left out stays.', examples: [{ role: 'developer' }] }
)

/** In the order of `tellUser`: a repeat of a request is answered with the JSON that the store kept. */
export const UserTold = Type.Object(
  {
    id: Type.String({ description: 'Id of the user.' }),
    customerId: Type.String({ description: 'Whose user it is.' }),
    email: Email,
    name: Name,
    role: Role,
    status: schemas.oneOf(USER_STATUSES, '`invited`: has not come yet. `disabled`: may do nothing.'),
    lastSeenAt: schemas.NullableInstant('When it last called or used tokens, to the minute; null: never.'),
    version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant
  },
  { ...schemas.strict, title: 'User', description: 'A person of a customer.' }
)

export const USER_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000003',
  customerId: '0198c0de-0000-7000-8000-000000000002',
  email: 'amina@clinic.example',
  name: 'Amina Diallo',
  role: 'owner',
  status: 'invited',
  lastSeenAt: null,
  version: 1,
  createdAt: '2026-03-12T09:30:00.000Z',
  updatedAt: '2026-03-12T09:30:00.000Z'
} as const

export function tellUser(user: User) {
  return {
    id: user.id,
    customerId: user.customerId,
    email: user.email,
    name: user.name,
    role: user.role,
    status: user.status,
    lastSeenAt: user.lastSeenAt === null ? null : new Date(user.lastSeenAt).toISOString(),
    version: user.version,
    createdAt: new Date(user.createdAt).toISOString(),
    updatedAt: new Date(user.updatedAt).toISOString()
  }
}
