// Requests of the access matrix, made from the route table and the examples of the OpenAPI document: the same route asked for
// one's own rows and for another customer's.

import type { HTTPMethods, RouteOptions } from 'fastify'
import type { Access } from './access-rule.ts'

/** Rows that belong to one customer, by the name of the path parameter that finds them. */
export interface CustomerRows {
  readonly customerId: string
  readonly userId: string
  readonly subscriptionId: string
  readonly apiKeyId: string
  readonly grantId: string
  /** Finalized, with a line. */
  readonly invoiceId: string
  readonly creditNoteId: string
  readonly paymentId: string
  readonly webhookEndpointId: string
  /** Of an event that was posted to the endpoint, or is to be. */
  readonly eventId: string
  /** Text that stands in its rows and nowhere else. */
  readonly canary: string
}

/** Path parameters whose row belongs to one customer. */
const ROW_PARAMETERS = [
  'customerId',
  'userId',
  'subscriptionId',
  'apiKeyId',
  'grantId',
  'invoiceId',
  'creditNoteId',
  'paymentId',
  'webhookEndpointId',
  'eventId'
] as const
/** The platform's own rows, ids of clients within the customer that the body names, places in a row, and events that only the platform names. */
const SHARED_PARAMETERS: ReadonlySet<string> = new Set(['planId', 'holdId', 'position', 'id'])

export interface Route {
  readonly method: HTTPMethods
  readonly url: string
  readonly access: Access | undefined
}

export interface MatrixRequest {
  readonly method: HTTPMethods
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly payload?: string
}

export type IdCase = 'own' | 'foreign customer' | 'foreign row'

/** Each method of each route of the version. */
export function routesOf(table: readonly RouteOptions[]): Route[] {
  return table
    .filter(({ url }) => url.startsWith('/v1/'))
    .flatMap(({ method, url, config }) => [method].flat().map((one) => ({ method: one, url, access: config?.access })))
}

interface Schema {
  readonly $ref?: string
  readonly properties?: Readonly<Record<string, unknown>>
}
interface Media {
  readonly schema?: Schema
  readonly example?: unknown
  readonly examples?: Readonly<Record<string, { readonly value?: unknown }>>
}
interface Operation {
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly required?: boolean
    readonly example?: unknown
  }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
}
export interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas?: Readonly<Record<string, Schema>> }
}

export interface Fixtures {
  readonly document: Document
  readonly planId: string
  readonly own: CustomerRows
  readonly foreign: CustomerRows
}

/** The cases that a route can be asked in: one that names no customer and no row of one has its own only. */
export function casesOf(route: Route, { document }: Fixtures): IdCase[] {
  const operation = operationOf(document, route)
  const parameters = parametersOf(route)
  const unknown = parameters.filter((name) => !isRowParameter(name) && !SHARED_PARAMETERS.has(name))
  if (unknown.length > 0) throw new Error(`${route.url}: whose rows are those of ${unknown.join(', ')}?`)
  const rows = parameters.filter((name) => isRowParameter(name) && name !== 'customerId')
  const namesCustomer = parameters.includes('customerId') || takesCustomer(document, operation)
  return [
    'own',
    ...(namesCustomer ? (['foreign customer'] as const) : []),
    ...(rows.length > 0 ? (['foreign row'] as const) : [])
  ]
}

export function requestOf(route: Route, idCase: IdCase, fixtures: Fixtures): MatrixRequest {
  const { document, own, foreign, planId } = fixtures
  const operation = operationOf(document, route)
  const customerId = idCase === 'foreign customer' ? foreign.customerId : own.customerId
  const rows = idCase === 'own' ? own : foreign
  const path = route.url.replaceAll(/:(\w+)/g, (_, name: string) => {
    if (name === 'customerId') return encodeURIComponent(customerId)
    if (name === 'planId') return planId
    return encodeURIComponent(isRowParameter(name) ? rows[name] : exampleOf(operation, name))
  })
  const query = (operation.parameters ?? []).filter(({ in: place, required }) => place === 'query' && required)
  const search = new URLSearchParams(Object.fromEntries(query.map(({ name }) => [name, exampleOf(operation, name)])))
  if (hasQuery(operation, 'customerId')) search.set('customerId', customerId)
  const [[type, media] = ['', {}]] = Object.entries(operation.requestBody?.content ?? {})
  const body = type === '' ? {} : { payload: JSON.stringify(bodyOf(media, { document, customerId, planId })) }
  return {
    method: route.method,
    url: `${path}?${search}`,
    headers: { 'if-match': '*', ...(type === '' ? {} : { 'content-type': type }) },
    ...body
  }
}

function operationOf({ paths }: Document, { method, url }: Route): Operation {
  const methods = paths[url.replaceAll(/:(\w+)/g, '{$1}')]
  const found = methods?.[method === 'HEAD' ? 'get' : method.toLowerCase()]
  if (found === undefined) throw new Error(`${method} ${url} is not in the OpenAPI document`)
  return found
}

function parametersOf({ url }: Route): string[] {
  return [...url.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
}

function isRowParameter(name: string): name is (typeof ROW_PARAMETERS)[number] {
  return ROW_PARAMETERS.some((known) => known === name)
}

function takesCustomer(document: Document, operation: Operation): boolean {
  const media = Object.values(operation.requestBody?.content ?? {})
  return hasQuery(operation, 'customerId') || media.some((one) => namesCustomer(document, one))
}

function namesCustomer({ components }: Document, { schema }: Media): boolean {
  const named = components.schemas?.[schema?.$ref?.split('/').at(-1) ?? '']
  return (named ?? schema)?.properties?.customerId !== undefined
}

function hasQuery({ parameters = [] }: Operation, name: string): boolean {
  return parameters.some((parameter) => parameter.in === 'query' && parameter.name === name)
}

function exampleOf({ parameters = [] }: Operation, name: string): string {
  return String(parameters.find((parameter) => parameter.name === name)?.example ?? name)
}

/** The example, for this customer and with a plan that exists. */
function bodyOf(
  media: Media,
  {
    document,
    customerId,
    planId
  }: { readonly document: Document; readonly customerId: string; readonly planId: string }
): unknown {
  const example = media.example ?? Object.values(media.examples ?? {})[0]?.value
  if (typeof example !== 'object' || example === null || Array.isArray(example)) return example
  return {
    ...example,
    ...(namesCustomer(document, media) ? { customerId } : {}),
    ...('planId' in example ? { planId } : {}),
    // Who may call the route is asked here, not who may make an owner.
    ...('role' in example ? { role: 'viewer' } : {})
  }
}
