/** What a customer's user may do; each route names the roles that may call it. */
export const USER_ROLES = ['owner', 'admin', 'billing', 'developer', 'viewer'] as const

export type UserRole = (typeof USER_ROLES)[number]
