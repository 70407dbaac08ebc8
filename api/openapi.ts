/** The OpenAPI 3.1 document: made from the routes' schemas, served at `/openapi.json`, shown at `/docs`. */
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifySchema, RouteOptions } from 'fastify'
import Type from 'typebox'
import type { Api } from './api-dependencies.ts'
import { KEY_LENGTH_MAX } from './changes/change-of.ts'
import { nameComponents } from './name-components.ts'

const SECURITY_SCHEMES = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    description: "An API key, or a user's token (JWT) of the gateway, as `Authorization: Bearer`."
  },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key in a header of its own.' }
} as const

const TAGS = [
  { name: 'customers', description: 'Who the platform serves: SMEs and financial institutions.' },
  { name: 'users', description: "A customer's people and their roles." },
  { name: 'plans', description: 'What customers can subscribe to: prices and limits, version by version.' },
  { name: 'subscriptions', description: "A customer's use of a plan, period by period." },
  { name: 'invoices', description: 'What customers are asked to pay, and what stands behind it.' },
  { name: 'payments', description: 'What was paid, through a provider or by hand, and given back.' },
  { name: 'credit notes', description: 'What is taken back of invoices.' },
  { name: 'quota', description: 'May a call go ahead, and reserving what it may use.' },
  { name: 'limits', description: 'What a customer may use, and where it stands.' },
  { name: 'grants', description: 'Tokens and money given to a customer beside its plan.' },
  { name: 'usage', description: 'What was used.' },
  { name: 'usage events', description: 'Handing usage in, and taking it back.' },
  { name: 'api keys', description: 'Credentials of services: of the platform, and of one customer.' },
  { name: 'webhooks', description: "Where a customer's events are posted to, and what became of them." },
  { name: 'audit', description: 'Who did what, when, and from where.' },
  { name: 'operations', description: 'For whoever runs the service.' }
]

const IDEMPOTENCY_KEY = {
  type: 'string',
  description:
    'Chosen by the client for one request: its repeat changes nothing and gets the first answer, with `idempotent-replayed: true`.',
  pattern: '^[\\x21-\\x7e]+$',
  minLength: 1,
  maxLength: KEY_LENGTH_MAX,
  examples: ['b6a7d1c2-subscribe']
}

/** The page runs its own scripts, and writes styles into its elements. Nothing is asked of another host. */
const DOCS_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Registered before the routes: it collects them as they come. */
export async function documentApi(app: Api, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'tokenmeter',
        version,
        license: { name: 'Proprietary', identifier: 'LicenseRef-Proprietary' },
        description: `Counts the AI tokens that customers use, answers quota checks in real time, and tells what was used. Refusals are RFC 9457 problem documents with a stable \`code\`.`
      },
      servers: [{ url: '/', description: 'This server.' }],
      tags: TAGS,
      components: { securitySchemes: SECURITY_SCHEMES }
    },
    convertConstToEnum: false,
    refResolver: {
      buildLocalReference: ({ $id }, ...[, , index]) => (typeof $id === 'string' ? $id : `schema-${index}`)
    },
    transform: ({ schema, url, route }) => {
      const security = route.config?.access === 'public' ? [] : [{ bearer: [] }, { apiKey: [] }]
      return { schema: { ...schema, ...(takesIdempotencyKey(route) ? withKey(schema) : {}), security }, url }
    },
    transformObject: (built) => ('openapiObject' in built ? nameComponents(built.openapiObject) : built.swaggerObject)
  })
  await app.register(async (scope: Api) => {
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' }
    })
    await scope.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_CSP, uiConfig: { deepLinking: true } })
  })
  openapiRoute(app)
}

/** As `answerRepeats` decides it. */
function takesIdempotencyKey({ method, config }: Pick<RouteOptions, 'method' | 'config'>): boolean {
  return method === 'POST' && config?.access !== 'public' && config?.idempotencyKey !== 'ignored'
}

/** Told here, once for all routes: the hook that reads the header names its own faults. */
function withKey({ headers }: FastifySchema): Pick<FastifySchema, 'headers'> {
  const stated = typeof headers === 'object' && headers !== null && 'properties' in headers ? headers.properties : {}
  return { headers: { type: 'object', properties: { ...Object(stated), 'idempotency-key': IDEMPOTENCY_KEY } } }
}

/** The document of a built app, for linters and generators. */
export function openapi(app: Api): object {
  return app.swagger()
}

function openapiRoute(app: Api): void {
  app.get(
    '/openapi.json',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'getOpenapi',
        tags: ['operations'],
        summary: 'This document',
        response: {
          200: {
            description: 'The OpenAPI 3.1 document.',
            content: {
              'application/json': {
                schema: Type.Unsafe<object>({
                  type: 'object',
                  additionalProperties: true,
                  examples: [{ openapi: '3.1.0' }]
                })
              }
            }
          }
        }
      }
    },
    async (_request, reply) => reply.send(openapi(app))
  )
}
