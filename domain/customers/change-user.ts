/** How a customer's user comes to be and what may become of it. Pure: whoever asks brings ids and the time, and stores what comes out. */
import { type BodyFault, Place } from '../body-place.ts'
import { isObject } from '../tokens/field-reader.ts'
import { erasedEmail, isErasedEmail, type User, type UserStatus } from './user.ts'
import { USER_ROLES, type UserRole } from './user-role.ts'
import { checkEmail, NAME_LENGTH_MAX } from './validate-customer.ts'

export interface NewUser {
  readonly email: string
  readonly role: UserRole
  readonly name?: string | null
}

export type UserPatch = Partial<Pick<User, 'name' | 'role'>>
export type UserStated = { readonly next: User } | { readonly faults: readonly BodyFault[] }
export type UserMoved = { readonly next: User } | { readonly refused: string }

/** The types of `input` are not believed. The address is kept in lower case: nobody is invited twice by how it is spelt. */
export function inviteUser(
  input: NewUser,
  { id, customerId, now }: { readonly id: string; readonly customerId: string; readonly now: number }
): UserStated {
  const fields: NewUser = isObject(input) ? { name: null, ...input } : input
  const faults = faultsOf(fields, ['email', 'role', 'name'])
  if (faults.length > 0) return { faults }
  const { email, role, name = null } = fields
  if (isErasedEmail(email)) return { faults: [{ field: 'email', message: 'is kept for users that were erased' }] }
  const times = { lastSeenAt: null, version: 1, createdAt: now, updatedAt: now }
  return { next: { id, customerId, email: email.toLowerCase(), name, role, status: 'invited', ...times } }
}

/** As `inviteUser`: whatever `patch` is. An address never changes: who has another one is invited by it. */
export function changeUser(user: User, patch: UserPatch, now: number): UserStated {
  const fields: UserPatch = isObject(patch) ? { name: user.name, role: user.role, ...patch } : patch
  const faults = faultsOf(fields, ['role', 'name'])
  if (faults.length > 0) return { faults }
  if (isErasedEmail(user.email) && fields.name !== null) {
    return { faults: [{ field: 'name', message: 'must stay null: the user was erased' }] }
  }
  return { next: { ...user, ...fields, version: user.version + 1, updatedAt: now } }
}

const STEPS = {
  activate: { from: ['invited', 'disabled'], to: 'active' },
  disable: { from: ['invited', 'active'], to: 'disabled' }
} as const satisfies Record<string, { readonly from: readonly UserStatus[]; readonly to: UserStatus }>

export type UserStep = keyof typeof STEPS

export function moveUser(user: User, step: UserStep, now: number): UserMoved {
  if (isErasedEmail(user.email)) return { refused: 'A user that was erased stays disabled: who comes back is invited.' }
  const from: readonly UserStatus[] = STEPS[step].from
  if (!from.includes(user.status)) {
    return { refused: `A user that is ${user.status} can not be moved by ${step}: it must be ${from.join(' or ')}.` }
  }
  return { next: { ...user, status: STEPS[step].to, version: user.version + 1, updatedAt: now } }
}

/**
 * Takes out what names the person. Id, role, status and times stay: by the id the trail and the usage still say that all was done
 * by one and the same user. There is no way back.
 */
export function eraseUser(user: User, now: number): UserMoved {
  if (user.status !== 'disabled') {
    return { refused: `A user that is ${user.status} can not be erased: it must be disabled.` }
  }
  return { next: { ...user, email: erasedEmail(user), name: null, version: user.version + 1, updatedAt: now } }
}

function faultsOf(fields: unknown, known: readonly string[]): readonly BodyFault[] {
  const faults: BodyFault[] = []
  const body = new Place(fields, '', faults)
  if (!body.isObjectOf(known)) return faults
  body.field('role').checkOneOf(USER_ROLES)
  const name = body.field('name')
  if (name.value !== null) name.checkName(NAME_LENGTH_MAX)
  if (known.includes('email')) checkEmail(body.field('email'))
  return faults
}
