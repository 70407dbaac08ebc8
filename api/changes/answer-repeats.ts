/**
 * A POST that creates may carry an Idempotency-Key: its repeat gets the first answer and changes nothing. The store of each change
 * keeps key and answer in the change's own transaction; here a repeat is answered before its handler runs.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type IdempotencyStore, RepeatedRequest } from '../../domain/change.ts'
import { requestKeyOf } from './change-of.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `ignored`: of a POST that changes nothing, or whose body names what it does, as a hold's id. */
    idempotencyKey?: 'ignored'
  }
}

/** For the routes registered afterwards. Put behind what refuses a request: a refused one learns nothing of earlier answers. */
export function answerRepeats(app: FastifyInstance, store: Pick<IdempotencyStore, 'find'>): void {
  /** Of this process. A repeat that reaches another one waits in Postgres for the first, and is then given its answer. */
  const inFlight = new Set<string>()
  const mine = new WeakMap<FastifyRequest, string>()
  const answerRepeat = async (
    asked: NonNullable<ReturnType<typeof requestKeyOf>>,
    request: FastifyRequest,
    reply: FastifyReply
  ): Promise<void> => {
    const name = `${asked.caller}\n${asked.key}`
    if (inFlight.has(name)) throw new RepeatedRequest('in-flight')
    inFlight.add(name)
    mine.set(request, name)
    // Of a client that went away before it was answered, `onResponse` hears nothing: its repeat would be in flight for ever.
    reply.raw.once('close', () => inFlight.delete(name))
    const earlier = await store.find(asked)
    if (earlier !== undefined) throw new RepeatedRequest(earlier)
  }
  // A request without a key waits for nothing; else the promise is waited for in place of `done`.
  app.addHook('preHandler', (request, reply, done) => {
    const asked = isKeyed(request) ? requestKeyOf(request) : null
    if (asked === null) {
      done()
      return
    }
    return answerRepeat(asked, request, reply)
  })
  app.addHook('onResponse', (request, _reply, done) => {
    const name = mine.get(request)
    if (name !== undefined) inFlight.delete(name)
    done()
  })
}

function isKeyed({ method, principal, routeOptions }: FastifyRequest): boolean {
  return method === 'POST' && principal !== null && routeOptions.config.idempotencyKey !== 'ignored'
}
