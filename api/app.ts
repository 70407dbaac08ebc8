/**
 * The HTTP API, built and not listening: `main.ts` listens, tests inject. Everything it needs comes in as ports.
 */
import cors from '@fastify/cors'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import underPressure from '@fastify/under-pressure'
import Fastify, { type FastifyRequest, LogController, type RouteOptions } from 'fastify'
import { Settings } from 'typebox/system'
import { findUndeclared, requireAccess } from './access/authenticate.ts'
import { keepToOwnCustomer } from './access/authorize.ts'
import { limitRates } from './access/limit-rates.ts'
import type { Api, ApiDependencies } from './api-dependencies.ts'
import { answerRepeats } from './changes/answer-repeats.ts'
import { creditNoteRoutes } from './invoices/credit-notes.ts'
import { invoiceLineRoutes } from './invoices/invoice-lines.ts'
import { invoicePreviewRoutes } from './invoices/invoice-preview.ts'
import { invoiceRoutes } from './invoices/invoices.ts'
import { documentApi } from './openapi.ts'
import { bullBoard } from './operations/bull-board.ts'
import { paymentAccountRoutes } from './payments/payment-accounts.ts'
import { paymentEventRoutes } from './payments/payment-events.ts'
import { paymentRoutes } from './payments/payments.ts'
import { refundRoutes } from './payments/refunds.ts'
import { FAULTS_MAX, handleError, ProblemError, sendProblem } from './problem.ts'
import { answerInTime } from './request/answer-in-time.ts'
import { observeAnswers, requestId } from './request/observe-answers.ts'
import { RequestLogger } from './request/request-logger.ts'
import { sendSecurityHeaders } from './request/security-headers.ts'
import { apiKeyRoutes } from './routes/api-keys.ts'
import { auditEventRoutes } from './routes/audit-events.ts'
import { balanceRoutes } from './routes/balance.ts'
import { customerRoutes } from './routes/customers.ts'
import { grantRoutes } from './routes/grants.ts'
import { healthRoutes } from './routes/health.ts'
import { holdRoutes } from './routes/holds.ts'
import { limitRoutes } from './routes/limits.ts'
import { planRoutes } from './routes/plans.ts'
import { quotaRoutes } from './routes/quota.ts'
import { subscriptionRoutes } from './routes/subscriptions.ts'
import { usageRoutes } from './routes/usage.ts'
import { usageEventRoutes } from './routes/usage-events.ts'
import { userRoutes } from './routes/users.ts'
import { Problem } from './schemas/shared.ts'
import { webhookDeliveryRoutes } from './webhooks/webhook-deliveries.ts'
import { webhookEndpointRoutes } from './webhooks/webhook-endpoints.ts'

/** A socket that says nothing for this long is closed. Longer than any handler may take. */
const CONNECTION_TIMEOUT_MS = 70_000
/** Head and body must have come by then: a slow sender holds nothing. */
const REQUEST_TIMEOUT_MS = 15_000
const HEADERS_TIMEOUT_MS = 10_000
/** Longer than the 60 s after which load balancers let an idle connection go, so that it is they who close it. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000
/** Time to answer; a route may state another. */
const ANSWER_WITHIN_MS = 10_000
/** The first measures of the event loop are of building the app, which keeps it busy for a second and is over. */
const SETTLING_MS = 3_000
/** Bodies other than usage events: the largest is a customer's limits. */
const BODY_BYTES_MAX = 262_144
/** Ids in paths have at most 256 characters, each up to 12 bytes when percent-encoded. */
const PARAM_LENGTH_MAX = 3_072

/** Builds the API. Rejects when a route states no access. */
export async function buildApp(dependencies: ApiDependencies): Promise<Api> {
  // The validator stops at 8 faults by itself, and tells some twice.
  Settings.Set({ maxErrors: 2 * FAULTS_MAX })
  const app = Fastify({
    loggerInstance: dependencies.logger,
    // `observeAnswers` writes one line instead of two, for those who ask for it.
    logController: new LogController({ disableRequestLogging: true }),
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: { headersTimeout: HEADERS_TIMEOUT_MS },
    bodyLimit: BODY_BYTES_MAX,
    routerOptions: { maxParamLength: PARAM_LENGTH_MAX },
    // While it closes, what still arrives is answered, and told to close the connection.
    return503OnClosing: false,
    genReqId: requestId,
    childLoggerFactory: (logger, bindings, options) => new RequestLogger(logger, bindings, options),
    trustProxy: trusted(dependencies.access.trustedProxies),
    frameworkErrors: (error, request, reply) => {
      sendProblem(
        new ProblemError('malformed-request', 'The address can not be read.', { cause: error }),
        request,
        reply
      )
    }
  })
    .withTypeProvider<TypeBoxTypeProvider>()
    .setValidatorCompiler(TypeBoxValidatorCompiler)
  const routes = collectRoutes(app)
  app.decorate('routeTable', routes)
  app.removeContentTypeParser('text/plain')
  app.setErrorHandler(handleError)
  app.setNotFoundHandler((request, reply) => sendProblem(notFound(routes, request), request, reply))
  app.addSchema(Problem)
  answerInTime(app, ANSWER_WITHIN_MS)
  sendSecurityHeaders(app)
  observeAnswers(app, dependencies)
  await protect(app, dependencies)
  await documentApi(app, dependencies.version)
  healthRoutes(app, dependencies)
  customerRoutes(app, dependencies)
  userRoutes(app, dependencies)
  planRoutes(app, dependencies)
  subscriptionRoutes(app, dependencies)
  invoiceRoutes(app, dependencies)
  invoiceLineRoutes(app, dependencies)
  invoicePreviewRoutes(app, dependencies)
  creditNoteRoutes(app, dependencies)
  paymentRoutes(app, dependencies)
  refundRoutes(app, dependencies)
  paymentAccountRoutes(app, dependencies)
  paymentEventRoutes(app, dependencies)
  quotaRoutes(app, dependencies)
  holdRoutes(app, dependencies)
  limitRoutes(app, dependencies)
  balanceRoutes(app, dependencies)
  grantRoutes(app, dependencies)
  usageRoutes(app, dependencies)
  usageEventRoutes(app, dependencies)
  auditEventRoutes(app, dependencies)
  webhookEndpointRoutes(app, dependencies)
  webhookDeliveryRoutes(app, dependencies)
  apiKeyRoutes(app, { ...dependencies, apiKeyEnvironment: dependencies.access.keyEnvironment, routes })
  await bullBoard(app, dependencies)
  await app.ready()
  const undeclared = findUndeclared(routes)
  if (undeclared.length > 0) throw new Error(`routes without an access rule: ${undeclared.join(', ')}`)
  return app
}

/** The table of routes, for what follows from all of them: what a scope opens, and the test of every route with every role. */
declare module 'fastify' {
  interface FastifyInstance {
    routeTable: readonly RouteOptions[]
  }
}

function trusted(proxies: readonly string[]): string[] | false {
  return proxies.length === 0 ? false : [...proxies]
}

function collectRoutes(app: Api): RouteOptions[] {
  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => {
    // A browser asks before it sends a credential: the answer holds nothing but the CORS rules.
    if (route.method === 'OPTIONS' && route.url === '*') route.config = { ...route.config, access: 'public' }
    routes.push(route)
  })
  return routes
}

async function protect(app: Api, dependencies: ApiDependencies): Promise<void> {
  const { access, apiKeyStore, userStore, idempotencyStore, now, corsOrigins, eventLoopDelayMaxMs } = dependencies
  if (corsOrigins.length > 0) {
    await app.register(cors, {
      origin: [...corsOrigins],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
      allowedHeaders: ['authorization', 'content-type', 'idempotency-key', 'if-match', 'x-api-key', 'x-request-id'],
      exposedHeaders: ['etag', 'idempotent-replayed', 'retry-after', 'x-request-id', 'x-truncated'],
      maxAge: 600
    })
  }
  let judgedFrom = Number.POSITIVE_INFINITY
  app.addHook('onReady', async () => {
    judgedFrom = performance.now() + SETTLING_MS
  })
  await app.register(underPressure, {
    maxEventLoopDelay: eventLoopDelayMaxMs,
    pressureHandler: (request) => (performance.now() < judgedFrom ? undefined : refusePressure(request))
  })
  const { requestsPerMinute, ...settings } = access
  // The order of the hooks: who calls, whether it may, how often; after validation for whom, and whether it did before.
  const rateLimits = await limitRates(app, requestsPerMinute)
  requireAccess(app, { ...settings, apiKeys: apiKeyStore, users: userStore, now, rateLimits })
  keepToOwnCustomer(app)
  answerRepeats(app, idempotencyStore)
}

/** Probes and metrics are answered under any pressure: an overloaded process is not a dead one. */
function refusePressure({ routeOptions }: FastifyRequest): Promise<never> | undefined {
  if (routeOptions.config.access === 'public') return undefined
  return Promise.reject(new ProblemError('overloaded', 'Try again in a moment.', { retryAfterSeconds: 2 }))
}

function notFound(routes: readonly RouteOptions[], { method, url }: FastifyRequest): ProblemError {
  const path = url.split('?', 1)[0] ?? url
  const methods = new Set(
    routes.filter((route) => route.url !== '*' && patternOf(route).test(path)).flatMap((route) => route.method)
  )
  if (methods.size === 0) return new ProblemError('unknown-route', `There is no ${method} ${path}.`)
  const allow = [...methods].sort().join(', ')
  return new ProblemError('method-not-allowed', `This route takes ${allow}.`, { headers: { allow } })
}

function patternOf({ url }: RouteOptions): RegExp {
  const parts = url.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : RegExp.escape(part)))
  return new RegExp(`^${parts.join('/')}$`)
}
