/**
 * Every refusal of the API is an RFC 9457 problem document. `code` is the stable name to program against; titles and details are
 * for people and may change. One table lists the codes, so that the OpenAPI document and the answers can't differ.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { RepeatedRequest, type StoredAnswer } from '../domain/change.ts'
import { RetryableError } from '../domain/errors.ts'
import { ForeignCursorError } from '../domain/page.ts'

const PROBLEMS = {
  'malformed-json': { status: 400, title: 'The body is not JSON' },
  'malformed-request': { status: 400, title: 'The request can not be read' },
  'validation-failed': { status: 400, title: 'The request has faults' },
  'authentication-required': { status: 401, title: 'An API key or a token is needed' },
  'unknown-api-key': { status: 401, title: 'The API key is not known' },
  'invalid-token': { status: 401, title: 'The token is not valid' },
  'expired-token': { status: 401, title: 'The token has expired' },
  'unsigned-event': { status: 401, title: 'The event is not signed by its provider' },
  'access-denied': { status: 403, title: 'The credential does not open this route' },
  'unknown-route': { status: 404, title: 'There is no such route' },
  'unknown-customer': { status: 404, title: 'The customer is not known' },
  'unknown-user': { status: 404, title: 'The user is not known' },
  'no-such-api-key': { status: 404, title: 'There is no such API key' },
  'unknown-subscription': { status: 404, title: 'The subscription is not known' },
  'unknown-plan': { status: 404, title: 'The plan is not known' },
  'unknown-invoice': { status: 404, title: 'The invoice is not known' },
  'unknown-invoice-line': { status: 404, title: 'The invoice has no such line' },
  'unknown-credit-note': { status: 404, title: 'The credit note is not known' },
  'unknown-payment': { status: 404, title: 'The payment is not known' },
  'no-payment-account': { status: 404, title: 'The customer has no payment account' },
  'unknown-grant': { status: 404, title: 'The grant is not known' },
  'unknown-hold': { status: 404, title: 'The hold is not known' },
  'unknown-webhook-endpoint': { status: 404, title: 'The webhook endpoint is not known' },
  'unknown-webhook-delivery': { status: 404, title: 'The webhook delivery is not known' },
  'unknown-usage-event': { status: 404, title: 'The usage event is not known' },
  'method-not-allowed': { status: 405, title: 'The route does not take this method' },
  'hold-conflict': { status: 409, title: 'The hold exists with another content' },
  'hold-ended': { status: 409, title: 'The hold has ended' },
  'last-owner': { status: 409, title: 'The customer would have no owner' },
  'currency-in-use': { status: 409, title: 'The customer has subscriptions in its currency' },
  'external-id-taken': { status: 409, title: 'Another customer has this external id' },
  'email-taken': { status: 409, title: 'A user of the customer has this address' },
  'subscription-exists': { status: 409, title: 'The customer has a subscription' },
  'subscription-overlaps': { status: 409, title: 'It would begin before another one ended' },
  'plan-not-available': { status: 409, title: 'The customer can not have this plan' },
  'customer-not-active': { status: 409, title: 'The customer is suspended or closed' },
  'too-many-webhook-endpoints': { status: 409, title: 'The customer has as many webhook endpoints as it may' },
  'unrated-usage': { status: 409, title: 'Some of the usage has no price' },
  'reference-taken': { status: 409, title: 'A payment of the invoice has this reference' },
  'more-than-open': { status: 409, title: 'Less than this is open' },
  'refund-refused': { status: 409, title: 'The provider does not give this back' },
  'unknown-provider': { status: 409, title: 'The payment provider is not configured' },
  'conflicting-change': { status: 409, title: 'Another change came first' },
  'illegal-transition': { status: 409, title: 'The state does not allow this' },
  'idempotency-in-flight': { status: 409, title: 'The first request with this Idempotency-Key has not ended' },
  'version-mismatch': { status: 412, title: 'The version is not the stored one' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'batch-too-large': { status: 413, title: 'The batch has too many records' },
  'usage-event-too-large': { status: 413, title: 'The usage event is too large' },
  'unsupported-media-type': { status: 415, title: 'The content type is not taken here' },
  'idempotency-key-reused': { status: 422, title: 'The Idempotency-Key came with another request' },
  'usage-event-rejected': { status: 422, title: 'The usage event was rejected' },
  'batch-rejected': { status: 422, title: 'Every record of the batch was rejected' },
  'precondition-required': { status: 428, title: 'The change must say over which version' },
  'quota-exceeded': { status: 429, title: 'A hard limit has no room for this' },
  'rate-limited': { status: 429, title: 'Too many requests in this minute' },
  'internal-error': { status: 500, title: 'The service failed' },
  'quota-unknown': { status: 503, title: 'Whether the quota has room can not be known now' },
  'limits-pending': { status: 503, title: 'The limits are stored and not yet in force' },
  'service-unavailable': { status: 503, title: 'A store or the broker is away' },
  'timed-out': { status: 503, title: 'The answer took too long' },
  overloaded: { status: 503, title: 'The service has too much to do' }
} as const satisfies Record<string, { status: number; title: string }>

export type ProblemCode = keyof typeof PROBLEMS

export const PROBLEM_CODES = Object.keys(PROBLEMS) as readonly ProblemCode[]

/** So many faults are told at most; a client that mends them is told the rest. */
export const FAULTS_MAX = 20
export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

/** A fault of one field; `field` is a path such as `limits[0].max`, empty for the whole body. */
export interface FieldFault {
  readonly field: string
  readonly message: string
}

export interface ProblemOptions {
  readonly errors?: readonly FieldFault[]
  /** Sent as Retry-After, at least 1. */
  readonly retryAfterSeconds?: number
  readonly headers?: Readonly<Record<string, string>>
  /** More members of the document, such as the limits of a refused hold. */
  readonly extensions?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** Thrown by a route whose answer is a problem; the one error handler writes it. */
export class ProblemError extends Error {
  readonly code: ProblemCode
  readonly options: ProblemOptions

  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail, { cause: options.cause })
    this.name = 'ProblemError'
    this.code = code
    this.options = options
  }
}

export function statusOfProblem(code: ProblemCode): number {
  return PROBLEMS[code].status
}

export function titleOfProblem(code: ProblemCode): string {
  return PROBLEMS[code].title
}

/** The document as it is sent. `type` is a name, not an address: nothing is to be fetched there. */
export function problemDocument(problem: ProblemError, requestId: string): Record<string, unknown> {
  const { errors, extensions } = problem.options
  return {
    type: `urn:tokenmeter:problem:${problem.code}`,
    title: titleOfProblem(problem.code),
    status: statusOfProblem(problem.code),
    code: problem.code,
    detail: problem.message,
    requestId,
    ...(errors === undefined ? {} : { errors }),
    ...extensions
  }
}

/** The one error handler: whatever was thrown becomes a problem; what nobody expected is logged whole and told in no detail. */
export function handleError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  if (error instanceof RepeatedRequest && error.earlier !== null && error.earlier !== 'in-flight') {
    sendAgain(error.earlier, reply)
    return
  }
  const problem = toProblem(error)
  if (problem.code === 'internal-error') request.log.error({ err: error }, 'a request failed unexpectedly')
  else logCause(problem, request)
  sendProblem(problem, request, reply)
}

/** A store that is away fails every request: one short line each, and no stack. Outcomes have no cause and no line. */
function logCause({ code, message, options: { cause } }: ProblemError, request: FastifyRequest): void {
  if (statusOfProblem(code) < 500 || !(cause instanceof Error)) return
  request.log.warn({ code, cause: cause.message }, message)
}

export function sendProblem(problem: ProblemError, request: FastifyRequest, reply: FastifyReply): void {
  const { retryAfterSeconds, headers } = problem.options
  if (headers !== undefined) reply.headers(headers)
  if (retryAfterSeconds !== undefined) reply.header('retry-after', String(Math.max(1, Math.ceil(retryAfterSeconds))))
  // A string, since a route's own response schemas must not drop members of the document.
  const body = JSON.stringify(problemDocument(problem, request.id))
  reply.code(statusOfProblem(problem.code))
  void reply.header('content-type', PROBLEM_MEDIA_TYPE).header('x-request-id', request.id).send(body)
}

/** What was answered to the first request with this Idempotency-Key. */
function sendAgain({ status, headers, body }: StoredAnswer, reply: FastifyReply): void {
  // A string, so that the answer is the stored one to the letter.
  void reply
    .code(status)
    .headers({ 'content-type': 'application/json; charset=utf-8', ...headers, 'idempotent-replayed': 'true' })
    .send(body)
}

function toProblem(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error
  if (error instanceof RepeatedRequest) return repeated(error)
  if (error instanceof RetryableError) {
    const extensions = { reason: error.code }
    return new ProblemError('service-unavailable', 'Try again: nothing was done twice.', {
      retryAfterSeconds: 2,
      extensions,
      cause: error
    })
  }
  if (error instanceof ForeignCursorError) {
    const errors = [{ field: 'query.cursor', message: 'is no cursor of this list' }]
    return new ProblemError('validation-failed', 'See `errors`.', { errors })
  }
  if (isFastifyError(error)) return fromFastify(error)
  return new ProblemError('internal-error', 'The request failed; the log has the reason under the request id.', {
    cause: error
  })
}

function repeated({ earlier }: RepeatedRequest): ProblemError {
  if (earlier === null) {
    return new ProblemError('idempotency-key-reused', 'Send another key with another request.')
  }
  return new ProblemError('idempotency-in-flight', 'Send it again in a moment to get the answer of the first.', {
    retryAfterSeconds: 1
  })
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
}

/** What Fastify itself refuses. A code that is not here and is the client's fault keeps its status class by its message. */
function fromFastify(error: FastifyError): ProblemError {
  const cause = error
  if (error.validation !== undefined) {
    return new ProblemError('validation-failed', 'See `errors`.', { errors: fieldFaults(error), cause })
  }
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ProblemError('malformed-json', 'The body must be one JSON text, without a key `__proto__`.', { cause })
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ProblemError('body-too-large', 'The body is larger than this route takes.', { cause })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ProblemError('unsupported-media-type', 'Send the content type that the OpenAPI document names.', {
        cause
      })
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new ProblemError('malformed-request', error.message, { cause })
  }
  return new ProblemError('internal-error', 'The request failed; the log has the reason under the request id.', {
    cause
  })
}

/** How a field's path begins, by the part of the request it stands in. */
const PLACES: Readonly<Record<string, string>> = { querystring: 'query', params: 'path', headers: 'headers' }

/** Validation faults by field. The validator tells some twice, once for the field and once for what holds it. */
function fieldFaults(error: FastifyError): FieldFault[] {
  const place = PLACES[error.validationContext ?? 'body'] ?? ''
  const faults = (error.validation ?? []).flatMap(({ keyword, instancePath, params, message }): FieldFault[] => {
    const path = instancePath.split('/').slice(1)
    const told = message ?? 'is not valid'
    if (keyword === 'boolean') return []
    if (keyword === 'required')
      return namesIn(params.requiredProperties).map((name) => fault(place, [...path, name], 'is missing'))
    if (keyword === 'additionalProperties') {
      return namesIn(params.additionalProperties).map((name) => fault(place, [...path, name], 'is not known here'))
    }
    return [fault(place, path, told)]
  })
  const seen = new Set<string>()
  return faults.filter(({ field }) => !seen.has(field) && seen.add(field)).slice(0, FAULTS_MAX)
}

function namesIn(names: unknown): string[] {
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
}

/** As the domain spells paths: `limits[0].max`. `~1` and `~0` are how a JSON Pointer spells `/` and `~`. */
function fault(place: string, path: readonly string[], message: string): FieldFault {
  const spelled = path.map((part) =>
    /^\d+$/.test(part) ? `[${part}]` : `.${part.replaceAll('~1', '/').replaceAll('~0', '~')}`
  )
  return { field: `${place}${spelled.join('')}`.replace(/^\./, ''), message }
}
