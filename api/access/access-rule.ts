/** Who may call a route. Each route states it in its config; one that states nothing is not built. */
import type { UserRole } from '../../domain/customers/user-role.ts'

/** What a credential may be good for. An API key has some of them; a user's token has all, narrowed by the user's role. */
export const SCOPES = [
  'customers:read',
  'customers:write',
  'users:read',
  'users:write',
  'plans:read',
  'plans:write',
  'subscriptions:read',
  'subscriptions:write',
  'invoices:read',
  'invoices:write',
  'payments:read',
  'payments:write',
  'limits:read',
  'limits:write',
  'grants:write',
  'quota:check',
  'usage:read',
  'usage:write',
  'usage:void',
  'audit:read',
  'api-keys:write',
  'webhooks:write',
  'operations'
] as const

export type Scope = (typeof SCOPES)[number]

export interface AccessRule {
  readonly scope: Scope
  /**
   * Roles of a customer's users that may call it for their own customer; a customer's API key may when there is any. None: only
   * credentials of the platform may.
   */
  readonly roles: readonly UserRole[]
}

/** `public`: anyone who reaches the port. */
export type Access = 'public' | AccessRule

export const EVERY_ROLE: readonly UserRole[] = ['owner', 'admin', 'billing', 'developer', 'viewer']
export const ADMINS: readonly UserRole[] = ['owner', 'admin']
export const PLATFORM_ONLY: readonly UserRole[] = []

/** Who calls, as the credential says. */
export interface Principal {
  /** A user's id, or an API key's. */
  readonly id: string
  readonly kind: 'api-key' | 'user'
  /** Null: a credential of the platform, which names the customer it acts for in the request. */
  readonly customerId: string | null
  /** Of a customer's user; null for an API key and for the platform's people. */
  readonly role: UserRole | null
  readonly scopes: ReadonlySet<Scope>
}
