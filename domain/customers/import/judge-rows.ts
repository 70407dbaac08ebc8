/**
 * What becomes of a row, given what there is already. Pure; the rules are those that the API keeps, applied to what the row states.
 * A row of something that is there is a change of what it states, and none when that is as it stands.
 */
import type { BodyFault } from '../../body-place.ts'
import { canonicalJson } from '../../json.ts'
import type { PublishedEventType } from '../../published-event.ts'
import {
  type CustomerPatch,
  type CustomerStep,
  changeCustomer,
  moveCustomer,
  type NewCustomer,
  newCustomer
} from '../change-customer.ts'
import { changeUser, inviteUser, moveUser, type NewUser, type UserPatch } from '../change-user.ts'
import { CUSTOMER_STATUSES, type Customer, type CustomerStatus } from '../customer.ts'
import { isOwner, USER_STATUSES, type User, type UserStatus } from '../user.ts'
import type { Candidate, CustomerStanding, Written } from './customer-import.ts'

export type Judged<T> =
  | { readonly outcome: 'created' | 'updated'; readonly written: T; readonly events: EventTypes }
  | { readonly outcome: 'unchanged' }
  | { readonly outcome: 'refused'; readonly faults: readonly BodyFault[] }

/** The first of them names what happened in the audit trail. */
type EventTypes = readonly [PublishedEventType, ...PublishedEventType[]]

/** For a row that turns out to be new. */
export interface Fresh {
  /** UUID v7. */
  readonly id: string
  readonly now: number
}

const UNCHANGED = { outcome: 'unchanged' } as const

const STEP_TO: Readonly<Record<CustomerStatus, CustomerStep>> = {
  active: 'reactivate',
  suspended: 'suspend',
  closed: 'close'
}
const CUSTOMER_EVENTS = {
  suspend: 'customer.suspended',
  reactivate: 'customer.reactivated',
  close: 'customer.closed'
} as const satisfies Record<CustomerStep, PublishedEventType>

export function judgeCustomer({ fields }: Candidate, before: Customer | null, fresh: Fresh): Judged<Written<Customer>> {
  const { status: stated, ...others } = fields
  const status = CUSTOMER_STATUSES.find((known) => known === stated) ?? null
  if (stated !== undefined && status === null)
    return refused('status', `must be one of ${CUSTOMER_STATUSES.join(', ')}`)
  if (before !== null) return changedCustomer(before, { patch: others, status }, fresh)
  // A customer that was suspended or closed over there comes as such, and not by steps that were never taken here.
  const made = newCustomer(others as NewCustomer, fresh)
  if ('faults' in made) return { outcome: 'refused', faults: made.faults }
  const next = { ...made.next, status: status ?? made.next.status }
  return { outcome: 'created', written: { before, next }, events: ['customer.created'] }
}

interface CustomerStated {
  readonly patch: CustomerPatch
  readonly status: CustomerStatus | null
}

function changedCustomer(
  before: Customer,
  { patch, status }: CustomerStated,
  { now }: Fresh
): Judged<Written<Customer>> {
  const changed = changeCustomer(before, patch, now)
  if ('faults' in changed) return { outcome: 'refused', faults: changed.faults }
  let { next } = changed
  // Plans, invoices and credit are in it: the API lets it change where there is none of them.
  if (next.currency !== before.currency)
    return refused('currency', `is ${before.currency}, which an import does not change`)
  const events: PublishedEventType[] = isSameCustomer(before, next) ? [] : ['customer.updated']
  if (status !== null && status !== before.status) {
    const step = STEP_TO[status]
    const moved = moveCustomer(before, step, now)
    if ('refused' in moved) return refused('status', moved.refused)
    next = { ...next, status: moved.next.status }
    events.push(CUSTOMER_EVENTS[step])
  }
  return updated({ before, next }, events)
}

function updated<T>(written: Written<T>, [first, ...others]: readonly PublishedEventType[]): Judged<Written<T>> {
  return first === undefined ? UNCHANGED : { outcome: 'updated', written, events: [first, ...others] }
}

function isSameCustomer(one: Customer, other: Customer): boolean {
  const [a, b] = [one, other].map(({ contacts, version: _, updatedAt: __, ...rest }) =>
    canonicalJson({ ...rest, contacts: contacts.map((contact) => ({ ...contact })) })
  )
  return a === b
}

interface UserContext {
  readonly customer: CustomerStanding | null
  readonly before: User | null
  /** Of the customer: ids of those who count as owners. Kept up to date. */
  readonly owners: Set<string>
}

/** Who is not said to be invited or disabled uses the former service, and goes on here. */
export function judgeUser(
  { fields }: Candidate,
  { customer, before, owners }: UserContext,
  fresh: Fresh
): Judged<Written<User>> {
  const { status: stated, customerExternalId: _, ...others } = fields
  if (customer === null) return refused('customerExternalId', 'is of no customer that is known')
  const status = USER_STATUSES.find((known) => known === stated) ?? null
  if (stated !== undefined && status === null) return refused('status', `must be one of ${USER_STATUSES.join(', ')}`)
  const judged =
    before === null
      ? newUser(others, { ...fresh, customerId: customer.id, status: status ?? 'active' })
      : changedUser(before, { patch: withoutEmail(others), status }, fresh.now)
  if (!('written' in judged)) return judged
  const { next } = judged.written
  if (isOwner(next)) owners.add(next.id)
  else if (owners.has(next.id)) {
    if (owners.size === 1) return refused('role', 'is the last owner of its customer')
    owners.delete(next.id)
  }
  return judged
}

interface NewUserContext extends Fresh {
  readonly customerId: string
  readonly status: UserStatus
}

const USER_EVENTS = {
  invited: 'user.invited',
  active: 'user.updated',
  disabled: 'user.disabled'
} as const satisfies Record<UserStatus, PublishedEventType>

function newUser(fields: Partial<NewUser>, { status, ...context }: NewUserContext): Judged<Written<User>> {
  const invited = inviteUser(fields as NewUser, context)
  if ('faults' in invited) return { outcome: 'refused', faults: invited.faults }
  const next = { ...invited.next, status }
  return { outcome: 'created', written: { before: null, next }, events: [USER_EVENTS[status]] }
}

/** Who has accepted here is not invited again because the former service doesn't know it yet. */
function changedUser(
  before: User,
  { patch, status }: { readonly patch: UserPatch; readonly status: UserStatus | null },
  now: number
): Judged<Written<User>> {
  const changed = changeUser(before, patch, now)
  if ('faults' in changed) return { outcome: 'refused', faults: changed.faults }
  let { next } = changed
  const events: PublishedEventType[] = next.name === before.name && next.role === before.role ? [] : ['user.updated']
  if (status !== null && status !== 'invited' && status !== before.status) {
    const moved = moveUser(before, status === 'active' ? 'activate' : 'disable', now)
    if ('refused' in moved) return refused('status', moved.refused)
    next = { ...next, status: moved.next.status }
    if (status === 'disabled') events.push('user.disabled')
    else if (events.length === 0) events.push('user.updated')
  }
  return updated({ before, next }, events)
}

function withoutEmail({ email: _, ...patch }: Record<string, unknown>): UserPatch {
  return patch
}

export function refused(
  field: string,
  message: string
): { readonly outcome: 'refused'; readonly faults: readonly BodyFault[] } {
  return { outcome: 'refused', faults: [{ field, message }] }
}
