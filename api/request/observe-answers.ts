/** Each request has an id, which its answer and its log lines tell, and is counted; nobody may keep the answer. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { ApiDependencies } from '../api-dependencies.ts'

/** The caller's `x-request-id` when it is a plain one, so that a request can be followed through several services. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID()
}

/** A line for each answer is for those who ask for it by `LOG_LEVEL`: it costs a quota check more than Redis does. */
const TALKATIVE: ReadonlySet<string> = new Set(['debug', 'trace'])

export function observeAnswers(app: FastifyInstance, dependencies: ApiDependencies): void {
  const { observer, seenUsers, now, logger } = dependencies
  const isTold = TALKATIVE.has(logger.level)
  app.addHook('onRequest', (request, reply, done) => {
    observer.arrived(reply.raw)
    void reply.header('x-request-id', request.id).header('cache-control', 'no-store')
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, principal } = request
    const route = request.routeOptions.url ?? 'unknown'
    const status = reply.statusCode
    if (isTold) request.log.debug({ method, route, status, caller: principal?.id }, 'answered')
    if (principal?.kind === 'user' && principal.customerId !== null) {
      seenUsers.saw({ customerId: principal.customerId, userId: principal.id, at: now() })
    }
    observer.answered({ method, route, status, elapsedMs: reply.elapsedTime })
    done()
  })
}
