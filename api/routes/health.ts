import Type from 'typebox'
import type { Api, ApiDependencies } from '../api-dependencies.ts'
import * as schemas from '../schemas/shared.ts'

const Alive = Type.Object({ status: Type.Literal('ok') }, schemas.strict)
const Ready = Type.Object(
  {
    status: schemas.oneOf(['ready', 'not-ready'], 'Whether requests should be sent here.'),
    checks: Type.Array(
      Type.Object({ name: Type.String(), ready: Type.Boolean(), reason: Type.Optional(Type.String()) }, schemas.strict)
    )
  },
  schemas.strict
)

/** For whoever runs the process: open to all who reach the port, so that a probe needs no key. */
export function healthRoutes(api: Api, { readiness, metrics }: Pick<ApiDependencies, 'readiness' | 'metrics'>): void {
  api.get(
    '/livez',
    {
      config: { access: 'public' },
      logLevel: 'warn',
      schema: {
        operationId: 'getLiveness',
        tags: ['operations'],
        summary: 'Does the process answer?',
        response: { 200: schemas.answer(Alive, 'It does.', { status: 'ok' }) }
      }
    },
    async () => ({ status: 'ok' as const })
  )
  api.get(
    '/readyz',
    {
      config: { access: 'public' },
      logLevel: 'warn',
      schema: {
        operationId: 'getReadiness',
        tags: ['operations'],
        summary: 'Should requests be sent here?',
        description:
          'Yes, once each service it uses has answered once, until it stops. A service that goes away later is told in `checks`: the routes that do without it still work.',
        response: {
          200: schemas.answer(Ready, 'Yes.', { status: 'ready', checks: [{ name: 'redis', ready: true }] }),
          503: schemas.answer(Ready, 'Not now.', {
            status: 'not-ready',
            checks: [{ name: 'redis', ready: false, reason: 'away' }]
          })
        }
      }
    },
    async (_request, reply) => {
      const { ready, checks } = await readiness()
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not-ready', checks: [...checks] })
    }
  )
  api.get(
    '/metrics',
    {
      config: { access: 'public' },
      logLevel: 'warn',
      schema: {
        operationId: 'getMetrics',
        tags: ['operations'],
        summary: 'Metrics for Prometheus',
        response: {
          200: {
            description: 'Prometheus text format.',
            content: { 'text/plain': { schema: Type.String({ examples: ['process_cpu_seconds_total 1.5\n'] }) } }
          }
        }
      }
    },
    async (_request, reply) => {
      const { contentType, text } = await metrics()
      return reply.type(contentType).send(text)
    }
  )
}
