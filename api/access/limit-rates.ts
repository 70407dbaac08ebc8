/**
 * Limits on requests, kept in the memory of one process: behind a balancer a credential gets as many as there are processes.
 * They keep a client that runs wild from the others. What a customer may use is a matter of quotas.
 */
import rateLimit, { normalizeIP } from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ProblemError } from '../problem.ts'

export interface RateLimits {
  /** Throws 429 when the address presented too many unknown credentials in this minute. */
  refuseGuesses(request: FastifyRequest): Promise<void>
  noteGuess(request: FastifyRequest): Promise<void>
}

const WINDOW_MS = 60_000
/** Credentials and addresses that are counted at once; beyond it the one that was idle longest begins again. */
const COUNTED_MAX = 10_000
/** From one address, or one network of IPv6, a minute. Each may cost a look-up in Postgres or the check of a signature. */
export const GUESSES_PER_MINUTE = 300

/** None at all: neither requests nor failures are counted. */
export const NO_RATE_LIMITS: RateLimits = { refuseGuesses: async () => undefined, noteGuess: async () => undefined }

/**
 * Counts the requests of each credential on the routes registered afterwards, once it is known; public routes are not counted.
 * `perMinute` 0: nothing is limited.
 */
export async function limitRates(app: FastifyInstance, perMinute: number): Promise<RateLimits> {
  if (perMinute === 0) return NO_RATE_LIMITS
  await app.register(rateLimit, {
    max: perMinute,
    timeWindow: WINDOW_MS,
    cache: COUNTED_MAX,
    enableDraftSpec: true,
    keyGenerator: ({ principal }) => `${principal?.customerId ?? ''}/${principal?.id ?? ''}`,
    allowList: ({ principal }) => principal === null,
    errorResponseBuilder: (_request, { ttl }) => tooMany('This credential', ttl)
  })
  const guesses = app.createRateLimit({
    max: GUESSES_PER_MINUTE,
    timeWindow: WINDOW_MS,
    keyGenerator: ({ ip }) => normalizeIP(ip),
    allowList: []
  })
  return {
    refuseGuesses: (request) => refuse(guesses(request, { increment: false })),
    noteGuess: async (request) => {
      await guesses(request)
    }
  }
}

async function refuse(standing: ReturnType<ReturnType<FastifyInstance['createRateLimit']>>): Promise<void> {
  const told = await standing
  if (!told.isAllowed && told.remaining === 0) throw tooMany('This address', told.ttl)
}

function tooMany(who: string, ttlMs: number): ProblemError {
  return new ProblemError('rate-limited', `${who} sent too many requests in this minute.`, {
    retryAfterSeconds: ttlMs / 1_000
  })
}
