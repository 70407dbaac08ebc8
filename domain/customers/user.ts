/** A person of a customer. */
import type { UserRole } from './user-role.ts'

export const USER_STATUSES = ['invited', 'active', 'disabled'] as const
export type UserStatus = (typeof USER_STATUSES)[number]

export interface User {
  /** UUID v7. */
  readonly id: string
  readonly customerId: string
  /** In lower case; unique in the customer. */
  readonly email: string
  readonly name: string | null
  readonly role: UserRole
  readonly status: UserStatus
  /** When it last called or used tokens, ms; null: never. It lags by up to a minute and raises no version. */
  readonly lastSeenAt: number | null
  /** Raised by one with each change. */
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** Nobody is invited to it and nothing reaches it: `.invalid` is no domain and never will be (RFC 2606). */
const ERASED_DOMAIN = '@erased.invalid'

/** What stands in the place of the address of a user that was erased: one of its own, as addresses are unique. */
export function erasedEmail({ id }: Pick<User, 'id'>): string {
  return `erased-${id}${ERASED_DOMAIN}`
}

/** Whether an address is kept for users that were erased. */
export function isErasedEmail(email: string): boolean {
  return email.toLowerCase().endsWith(ERASED_DOMAIN)
}

/** Whether a user keeps its customer from being without an owner: one who may still accept counts as well. */
export function isOwner({ role, status }: Pick<User, 'role' | 'status'>): boolean {
  return role === 'owner' && status !== 'disabled'
}
