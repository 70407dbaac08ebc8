import { isUtf8 } from 'node:buffer'
import Type from 'typebox'
import type { UsageEventLog, UsageQueries } from '../../domain/api-ports.ts'
import type { DecodeLimits } from '../../domain/tokens/decode-cloud-event.ts'
import type { TokenPools } from '../../domain/tokens/token-pools.ts'
import type { UsageEvent } from '../../domain/tokens/usage-event.ts'
import { PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { judgeUsageEvents, type RecordVerdict } from '../judge-usage-events.ts'
import { ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'
import {
  BATCH_ANSWER_EXAMPLE,
  BATCH_BYTES_MAX,
  BATCH_RECORDS_MAX,
  BatchAnswer,
  EVENT_MEDIA_TYPES,
  UsageEventsBody,
  VoidAnswer,
  VoidBody
} from '../schemas/usage-events.ts'
import { splitJsonRecords } from '../split-json-records.ts'

interface UsageEventDependencies {
  readonly usageEventLog: UsageEventLog
  readonly usageQueries: UsageQueries
  readonly decodeLimits: DecodeLimits
  readonly now: () => number
}

export function usageEventRoutes(api: Api, dependencies: UsageEventDependencies): void {
  voidRoute(api, dependencies)
  // A scope of its own: here the parsers leave the body as bytes, so that one bad record doesn't spoil a batch.
  void api.register(async (scope: Api) => {
    for (const mediaType of EVENT_MEDIA_TYPES) {
      scope.addContentTypeParser(
        mediaType,
        { parseAs: 'buffer', bodyLimit: BATCH_BYTES_MAX },
        async (_request: unknown, body: Buffer) => body
      )
    }
    appendRoute(scope, dependencies)
  })
}

function appendRoute(api: Api, { usageEventLog, decodeLimits, now }: UsageEventDependencies): void {
  api.post(
    '/v1/usage-events',
    {
      config: { access: { scope: 'usage:write', roles: PLATFORM_ONLY }, idempotencyKey: 'ignored' },
      // The bytes are judged record by record in the handler.
      validatorCompiler: () => () => true,
      schema: {
        operationId: 'appendUsageEvents',
        tags: ['usage events'],
        summary: 'Hand in usage events',
        description: `One CloudEvent, or a list of at most ${BATCH_RECORDS_MAX} in at most ${BATCH_BYTES_MAX} bytes, each of at most 65,536 bytes. 202 means that the broker has every accepted record; a repeat of a request is harmless, since an event is counted once by customer, source and id. A batch answers 202 when at least one record was accepted or repeated another, and 422 \`batch-rejected\` with the same results when none was. A single event that is rejected is 422 \`usage-event-rejected\`, naming the field.`,
        body: UsageEventsBody,
        response: {
          202: schemas.answer(BatchAnswer, 'The broker has what was accepted.', BATCH_ANSWER_EXAMPLE),
          ...schemas.problems(
            'malformed-json',
            'validation-failed',
            'body-too-large',
            'batch-too-large',
            'usage-event-too-large',
            'unsupported-media-type',
            'usage-event-rejected',
            'batch-rejected',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const { batch, records } = recordsOf(request.body, request.headers['content-type'] ?? '')
      const verdicts = judged(records, now(), decodeLimits)
      const answer = tell(verdicts)
      if (answer.accepted + answer.duplicates === 0) throw nothingAccepted(batch, verdicts, answer)
      await usageEventLog.append(verdicts.flatMap((verdict) => (verdict.status === 'accepted' ? [verdict.event] : [])))
      return reply.code(202).send(answer)
    }
  )
}

function recordsOf(
  body: unknown,
  contentType: string
): { readonly batch: boolean; readonly records: readonly Buffer[] } {
  if (!Buffer.isBuffer(body) || !isUtf8(body)) throw malformed()
  const split = splitJsonRecords(body, BATCH_RECORDS_MAX)
  if (split.kind === 'malformed') throw malformed()
  if (split.kind === 'too-many') {
    throw new ProblemError('batch-too-large', `A batch has at most ${BATCH_RECORDS_MAX} records: send several.`)
  }
  const batch = split.kind === 'batch'
  const mismatch = batch
    ? contentType.startsWith('application/cloudevents+json')
    : contentType.startsWith('application/cloudevents-batch+json')
  if (mismatch) throw bodyFault(`must be ${batch ? 'one event' : 'a list of events'} under this content type`)
  const records = split.kind === 'batch' ? split.records : [split.record]
  if (records.length === 0) throw bodyFault('must have at least one event')
  return { batch, records }
}

function judged(records: readonly Buffer[], arrivedAt: number, limits: DecodeLimits): RecordVerdict[] {
  try {
    return judgeUsageEvents(records, arrivedAt, limits)
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(error)
    throw error
  }
}

function tell(verdicts: readonly RecordVerdict[]) {
  const results = verdicts.map((verdict, index) => {
    if (verdict.status !== 'rejected') return { index, id: verdict.event.id, status: verdict.status }
    const { code, field, message } = verdict.fault
    return { index, id: verdict.id, status: verdict.status, code, ...(field === null ? {} : { field }), message }
  })
  const countOf = (status: RecordVerdict['status']): number =>
    verdicts.filter((verdict) => verdict.status === status).length
  return {
    accepted: countOf('accepted'),
    duplicates: countOf('duplicate-in-batch'),
    rejected: countOf('rejected'),
    results
  }
}

function nothingAccepted(
  batch: boolean,
  verdicts: readonly RecordVerdict[],
  answer: ReturnType<typeof tell>
): ProblemError {
  const first = verdicts[0]
  if (batch || first?.status !== 'rejected') {
    return new ProblemError('batch-rejected', 'No record was accepted; `results` has the reasons.', {
      extensions: { ...answer }
    })
  }
  const { code, field, message } = first.fault
  const place = field ?? 'the event'
  if (code === 'too-large') return new ProblemError('usage-event-too-large', `The event ${message}.`)
  return new ProblemError('usage-event-rejected', `${place} ${message}`, {
    errors: [{ field: field ?? '', message }],
    extensions: { rejection: code }
  })
}

function malformed(cause?: unknown): ProblemError {
  return new ProblemError('malformed-json', 'The body must be one JSON text in UTF-8.', { cause })
}

function bodyFault(message: string): ProblemError {
  return new ProblemError('validation-failed', 'See `errors`.', { errors: [{ field: '', message }] })
}

function voidRoute(api: Api, { usageEventLog, usageQueries }: UsageEventDependencies): void {
  api.post(
    '/v1/usage-events/:id/void',
    {
      config: { access: { scope: 'usage:void', roles: PLATFORM_ONLY }, idempotencyKey: 'ignored' },
      schema: {
        operationId: 'voidUsageEvent',
        tags: ['usage events'],
        summary: "Take a usage event's tokens back",
        description:
          'Looks the event up among the counted ones, which are seen about a second after they were counted, and appends a correction with its tokens negated. A second void of the same event answers 202 as well and is not counted again.',
        params: Type.Object(
          {
            id: Type.String({ description: 'Id of the event.', minLength: 1, maxLength: 128, examples: ['evt-0001'] })
          },
          schemas.strict
        ),
        body: VoidBody,
        response: {
          202: schemas.answer(VoidAnswer, 'The broker has the correction.', { id: 'evt-0001', status: 'accepted' }),
          ...schemas.problems(
            'malformed-json',
            'validation-failed',
            'unknown-usage-event',
            'unsupported-media-type',
            'service-unavailable'
          )
        }
      }
    },
    async ({ params: { id }, body: { customerId, source } }, reply) => {
      const event = await usageQueries.findEvent(customerId, source, id)
      if (event === null) {
        throw new ProblemError(
          'unknown-usage-event',
          `No counted event ${id} of ${source} is known for the customer ${customerId}.`
        )
      }
      await usageEventLog.append([correctionOf(event)])
      return reply.code(202).send({ id, status: 'accepted' })
    }
  )
}

/** Same time, user and model, so that it meets the windows and prices the event met. It settles no hold. */
function correctionOf(event: UsageEvent): UsageEvent {
  return { ...event, kind: 'voided', holdId: '', tokens: negated(event.tokens) }
}

/** Subtracted from 0, since -0 is another number to JSON and to `Object.is`. */
function negated({ input, cacheRead, cacheWrite, output, reasoning }: TokenPools): TokenPools {
  return {
    input: 0 - input,
    cacheRead: 0 - cacheRead,
    cacheWrite: 0 - cacheWrite,
    output: 0 - output,
    reasoning: 0 - reasoning
  }
}
