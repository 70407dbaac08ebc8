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

/** Whether a user keeps its customer from being without an owner: one who may still accept counts as well. */
export function isOwner({ role, status }: Pick<User, 'role' | 'status'>): boolean {
  return role === 'owner' && status !== 'disabled'
}
