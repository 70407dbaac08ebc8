/** What a credential opens, and whose rows: a customer's credential decides the customer, whatever the request says. */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { ProblemError } from '../problem.ts'
import type { AccessRule, Principal, Scope } from './access-rule.ts'

/** Throws 403 unless the rule lets the principal in. */
export function authorize(principal: Principal, rule: AccessRule): void {
  const refused = refusedFor(principal, rule)
  if (refused !== null) throw new ProblemError('access-denied', refused)
}

function refusedFor({ kind, customerId, role, scopes }: Principal, rule: AccessRule): string | null {
  if (customerId !== null && rule.roles.length === 0) return 'This route is for credentials of the platform.'
  if (customerId !== null && kind === 'user') {
    if (role !== null && rule.roles.includes(role)) return null
    return `This route is for the roles ${rule.roles.join(', ')}.`
  }
  return scopes.has(rule.scope) ? null : `This route needs the scope ${rule.scope}.`
}

/**
 * The scopes that a principal may give to a key. A customer's key opens whatever its scope opens to any role: a user may give a
 * scope only if the user's role opens all of it, or a key would do what its maker can't.
 */
export function grantableScopes(routes: readonly RouteOptions[], principal: Principal): ReadonlySet<Scope> {
  const { customerId, role, scopes } = principal
  if (customerId === null || role === null) return scopes
  const rules = routes.flatMap(({ config }) => (typeof config?.access === 'object' ? [config.access] : []))
  const opened = rules.filter(({ roles }) => roles.includes(role)).map(({ scope }) => scope)
  const closed = rules.filter(({ roles }) => roles.length > 0 && !roles.includes(role)).map(({ scope }) => scope)
  return new Set(opened).difference(new Set(closed))
}

/**
 * After validation, before the handler: a customer's credential that names another customer in path, query or body gets the 404
 * of one that does not exist; a query that may name a customer and does not is narrowed to the credential's own.
 */
export function keepToOwnCustomer(app: FastifyInstance): void {
  app.addHook('preHandler', (request, _reply, done) => {
    const own = request.principal?.customerId ?? null
    if (own !== null) keepTo(own, request)
    done()
  })
}

function keepTo(own: string, request: FastifyRequest): void {
  for (const part of [request.params, request.query, request.body]) {
    const named = isRecord(part) ? part.customerId : undefined
    if (named !== undefined && named !== null && named !== own) throw unknownCustomer(named)
  }
  if (isRecord(request.query) && namesCustomers(request)) request.query.customerId = own
}

function namesCustomers({ routeOptions: { schema } }: FastifyRequest): boolean {
  const query = schema?.querystring
  return isRecord(query) && isRecord(query.properties) && 'customerId' in query.properties
}

function unknownCustomer(customerId: unknown): ProblemError {
  return new ProblemError('unknown-customer', `The customer ${String(customerId)} is not known.`)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
