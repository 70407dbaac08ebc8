/** The OpenAPI 3.1 document: made from the routes' schemas, served at `/openapi.json`, shown at `/docs`. */
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Type from 'typebox'
import type { Api } from './api-dependencies.ts'

const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key as `Authorization: Bearer`.' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key in a header of its own.' }
} as const

const TAGS = [
  { name: 'quota', description: 'May a call go ahead, and reserving what it may use.' },
  { name: 'limits', description: 'What a customer may use, and where it stands.' },
  { name: 'usage', description: 'What was used.' },
  { name: 'usage events', description: 'Handing usage in, and taking it back.' },
  { name: 'operations', description: 'For whoever runs the service.' }
]

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
      return { schema: { ...schema, security }, url }
    }
  })
  await app.register(async (scope: Api) => {
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' }
    })
    await scope.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_CSP, uiConfig: { deepLinking: true } })
  })
  openapiRoute(app)
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
