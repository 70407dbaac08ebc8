/**
 * Usage events as the OpenAPI document shows them. What is taken is decided by `decodeCloudEvent` of the domain, by the same
 * rules as for the topic; these schemas describe the shape and check nothing.
 */
import Type from 'typebox'
import { USAGE_EVENT_TYPE } from '../../domain/tokens/usage-event.ts'
import * as schemas from './shared.ts'

export const BATCH_RECORDS_MAX = 1_000
export const BATCH_BYTES_MAX = 1_048_576

export const EVENT_MEDIA_TYPES = [
  'application/json',
  'application/cloudevents+json',
  'application/cloudevents-batch+json'
] as const

const EVENT_EXAMPLE = {
  specversion: '1.0',
  id: 'evt-0001',
  source: '/ia-service/paris-1',
  type: USAGE_EVENT_TYPE,
  subject: 'clinic-42',
  time: '2026-03-12T09:29:58.412Z',
  data: {
    userId: 'dr-amina',
    provider: 'anthropic',
    model: 'claude-sonnet-4-5',
    operation: 'chat',
    holdId: 'hold-7f3a',
    tokens: { input: 1180, cacheRead: 0, cacheWrite: 0, output: 412, reasoning: 0 },
    metadata: { feature: 'letter' }
  }
}

const text = (description: string) => Type.Optional(Type.String({ description }))

const UsageData = Type.Object(
  {
    userId: text('User on whose behalf the model was called.'),
    model: Type.String({ description: 'Exact name of the model.' }),
    provider: Type.String({ description: 'Who runs the model.' }),
    operation: text('What was asked for, such as `chat`.'),
    requestId: text("The provider's id of the call."),
    holdId: text('The hold that this usage settles.'),
    tokens: Type.Optional(schemas.TokensAsked),
    usage: Type.Optional(
      Type.Object(
        {},
        { description: "Instead of `tokens`: the provider's own usage object. One that does not add up is rejected." }
      )
    ),
    metadata: Type.Optional(Type.Record(Type.String(), Type.String(), { description: 'Flat strings for analytics.' }))
  },
  { description: 'What was used: `tokens` or `usage`, not both.' }
)

const UsageEventSchema = Type.Object(
  {
    specversion: Type.Literal('1.0'),
    id: Type.String({ description: 'Unique for customer and source: the event is counted once.' }),
    source: Type.String({ description: 'Who emits it.' }),
    type: Type.Literal(USAGE_EVENT_TYPE),
    subject: schemas.CustomerId,
    time: Type.String({
      description: 'When the tokens were used, RFC 3339. It decides windows and prices.',
      format: 'date-time'
    }),
    datacontenttype: text('application/json when stated.'),
    data: UsageData
  },
  { title: 'UsageEvent', description: 'A CloudEvent 1.0. Extension attributes are taken and ignored.' }
)

const UsageEventList = Type.Array(UsageEventSchema, { minItems: 1, maxItems: BATCH_RECORDS_MAX })

export const UsageEventsBody = {
  content: {
    'application/json': {
      schema: { ...Type.Union([UsageEventSchema, UsageEventList]), examples: [EVENT_EXAMPLE, [EVENT_EXAMPLE]] }
    },
    'application/cloudevents+json': { schema: { ...UsageEventSchema, examples: [EVENT_EXAMPLE] } },
    'application/cloudevents-batch+json': { schema: { ...UsageEventList, examples: [[EVENT_EXAMPLE]] } }
  }
}

export const BatchAnswer = Type.Object(
  {
    accepted: Type.Integer({ description: 'Records the broker now has.' }),
    duplicates: Type.Integer({ description: 'Records that repeat another one of the batch.' }),
    rejected: Type.Integer({ description: 'Records that were not taken.' }),
    results: Type.Array(
      Type.Object(
        {
          index: Type.Integer({ description: 'Place in the batch, from 0.' }),
          id: schemas.NullableString('Id of the event, null when it states none.'),
          status: schemas.oneOf(['accepted', 'duplicate-in-batch', 'rejected'], 'What became of the record.'),
          code: text('Why it was rejected, such as `invalid-data`, `too-late` or `too-large`.'),
          field: text('The field at fault, such as `data.tokens.input`.'),
          message: text('The fault, for people.')
        },
        schemas.strict
      ),
      { description: 'One for each record, in order.' }
    )
  },
  { ...schemas.strict, title: 'BatchAnswer' }
)

export const BATCH_ANSWER_EXAMPLE = {
  accepted: 1,
  duplicates: 0,
  rejected: 1,
  results: [
    { index: 0, id: 'evt-0001', status: 'accepted' },
    {
      index: 1,
      id: 'evt-0002',
      status: 'rejected',
      code: 'invalid-data',
      field: 'data.tokens.input',
      message: 'must be an integer'
    }
  ]
}

export const VoidBody = Type.Object(
  {
    customerId: schemas.CustomerId,
    source: Type.String({ description: "The event's source.", minLength: 1, maxLength: 128 })
  },
  { ...schemas.strict, examples: [{ customerId: 'clinic-42', source: '/ia-service/paris-1' }] }
)

export const VoidAnswer = Type.Object(
  { id: Type.String({ description: 'Id of the event taken back.' }), status: Type.Literal('accepted') },
  schemas.strict
)
