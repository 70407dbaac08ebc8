/**
 * Every request is answered in time: one whose handler has not answered by then is 503 `timed-out`. What the handler does goes on; its
 * answer is dropped.
 *
 * Fastify's own `handlerTimeout` does not do it: it stops its timer when the request is closed, which Node does as soon as a body has been
 * read, so that a POST was never refused. It also makes and aborts an AbortController for each request, which nothing here listens to:
 * 26 of a quota check's 240 µs.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { ProblemError } from '../problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Time to answer, ms, where the API's own is too short. */
    answerWithinMs?: number
  }
}

const RETRY_AFTER_SECONDS = 5

/** For the routes registered afterwards, from the arrival of the head on: put in front of whatever may wait. */
export function answerInTime(app: FastifyInstance, withinMs: number): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { answerWithinMs = withinMs } = request.routeOptions.config
    const timer = setTimeout(giveUp, answerWithinMs, reply, answerWithinMs)
    // Answered, or its caller has gone.
    reply.raw.on('close', () => clearTimeout(timer))
    done()
  })
}

function giveUp(reply: FastifyReply, afterMs: number): void {
  if (reply.sent) return
  // An answer that is half out can only be broken off.
  if (reply.raw.headersSent) {
    reply.raw.destroy()
    return
  }
  const { method, url } = reply.routeOptions
  void reply.send(
    new ProblemError('timed-out', 'Try again; ask for less if it happens again.', {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
      cause: new Error(`${String(method)} ${url} did not answer within ${afterMs} ms`)
    })
  )
}
