import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { UsageGrain, UsageGroup, UsageQueries, UsageRow } from '../../domain/api-ports.ts'
import { isTimeZone } from '../../domain/tokens/windows.ts'
import { EVERY_ROLE } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { type FieldFault, ProblemError } from '../problem.ts'
import * as schemas from '../schemas/shared.ts'

const DAY_MS = 86_400_000
const ROWS_DEFAULT = 1_000
const ROWS_MAX = 5_000

/** The longest range for each grain, so that an answer has about 3,000 windows at most and a query reads ten years at most. */
const RANGE_DAYS_MAX: Readonly<Record<UsageGrain, number>> = {
  'quarter-hour': 31,
  hour: 124,
  day: 1_100,
  week: 3_660,
  month: 3_660,
  all: 3_660
}

const GROUPS: readonly UsageGroup[] = ['customer', 'user', 'model', 'pool']

const UsageQuerystring = Type.Object(
  {
    customerId: Type.Optional(schemas.CustomerId),
    userId: Type.Optional(schemas.UserId),
    model: Type.Optional(schemas.Model),
    from: schemas.Instant,
    to: Type.String({
      description: 'End of the range, itself left out, RFC 3339.',
      format: 'date-time',
      examples: ['2026-04-01T00:00:00.000Z']
    }),
    groupBy: Type.Optional(
      Type.String({
        description: 'What to group by, separated by commas: `customer`, `user`, `model`, `pool`.',
        pattern: '^(customer|user|model|pool)(,(customer|user|model|pool)){0,3}$',
        examples: ['customer,model']
      })
    ),
    grain: Type.Optional(
      Type.Unsafe<UsageGrain>({
        type: 'string',
        enum: Object.keys(RANGE_DAYS_MAX),
        description: `Windows of the answer, \`day\` unless stated. Longest range in days: ${Object.entries(
          RANGE_DAYS_MAX
        )
          .map(([grain, days]) => `${grain} ${days}`)
          .join(', ')}.`,
        default: 'day',
        examples: ['day']
      })
    ),
    timeZone: Type.Optional(
      Type.String({
        description: 'IANA zone whose calendar cuts the windows.',
        maxLength: 64,
        default: 'UTC',
        examples: ['Africa/Dakar']
      })
    ),
    limit: Type.Optional(
      Type.Integer({
        description: 'The most rows.',
        minimum: 1,
        maximum: ROWS_MAX,
        default: ROWS_DEFAULT,
        examples: [1000]
      })
    ),
    format: Type.Optional(schemas.oneOf(['json', 'csv'], 'Without it, the Accept header decides.'))
  },
  schemas.strict
)

const Row = Type.Object(
  {
    start: schemas.NullableInstant('Start of the window; null for the grain `all`.'),
    customerId: schemas.NullableString('Null unless grouped by customer.'),
    userId: schemas.NullableString('Null unless grouped by user; empty for usage without a user.'),
    model: schemas.NullableString('Null unless grouped by model.'),
    pool: schemas.NullableString('Null unless grouped by pool.'),
    tokens: Type.String({ description: 'Decimal digits: sums may pass 2^53.' }),
    events: Type.String({
      description: 'Number of usage events, decimal digits. Grouped by pool, each row repeats that of its group.'
    })
  },
  { ...schemas.strict, title: 'UsageRow' }
)
const COLUMNS = ['start', 'customerId', 'userId', 'model', 'pool', 'tokens', 'events'] as const

const UsageAnswer = Type.Object(
  {
    data: Type.Array(Row),
    truncated: Type.Boolean({ description: 'True when there are more rows than `limit`: ask for less at once.' })
  },
  { ...schemas.strict, title: 'UsageAnswer', description: 'Rows in order of time.' }
)

const EXAMPLE_ROW = {
  start: '2026-03-01T00:00:00.000Z',
  customerId: 'clinic-42',
  userId: null,
  model: 'claude-sonnet-4-5',
  pool: null,
  tokens: '1250000',
  events: '640'
}

export function usageRoutes(api: Api, { usageQueries }: { readonly usageQueries: UsageQueries }): void {
  api.get(
    '/v1/usage',
    {
      config: { access: { scope: 'usage:read', roles: EVERY_ROLE }, answerWithinMs: 60_000 },
      schema: {
        operationId: 'queryUsage',
        tags: ['usage'],
        summary: 'Usage by time, customer, user, model and pool',
        description:
          'Reads the analytics store, which follows the meter by about a second. Answers JSON, or CSV by `format=csv` or `Accept: text/csv`; the header `x-truncated` says of a CSV what `truncated` says of JSON.',
        querystring: UsageQuerystring,
        response: {
          200: {
            description: 'The rows.',
            content: {
              'application/json': { schema: { ...UsageAnswer, examples: [{ data: [EXAMPLE_ROW], truncated: false }] } },
              'text/csv': { schema: Type.String({ examples: [csvOf([EXAMPLE_ROW])] }) }
            }
          },
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request, reply) => {
      const { query } = request
      const limit = query.limit ?? ROWS_DEFAULT
      const { customerId = null, userId = null, model = null, grain = 'day', timeZone = 'UTC' } = query
      const range = { from: Date.parse(query.from), to: Date.parse(query.to) }
      const errors = faultsOf({ ...range, grain, timeZone })
      if (errors.length > 0) throw new ProblemError('validation-failed', 'See `errors`.', { errors })
      const groupBy = GROUPS.filter((group) => query.groupBy?.split(',').includes(group))
      // One row more than asked for tells whether there are more.
      const found = await usageQueries.usage({
        ...range,
        grain,
        timeZone,
        groupBy,
        customerId,
        userId,
        model,
        limit: limit + 1
      })
      const data = found.slice(0, limit).map(tellRow)
      const truncated = found.length > limit
      if (!wantsCsv(request, query.format)) return reply.send({ data, truncated })
      return reply
        .header('x-truncated', String(truncated))
        .type('text/csv; charset=utf-8; header=present')
        .send(csvOf(data))
    }
  )
}

function faultsOf(asked: { from: number; to: number; grain: UsageGrain; timeZone: string }): FieldFault[] {
  const { from, to, grain, timeZone } = asked
  const days = RANGE_DAYS_MAX[grain]
  const faults: (FieldFault | null)[] = [
    from < to ? null : { field: 'query.to', message: 'must be later than from' },
    to - from <= days * DAY_MS
      ? null
      : { field: 'query.to', message: `must lie at most ${days} days after from at the grain ${grain}` },
    isTimeZone(timeZone) ? null : { field: 'query.timeZone', message: 'must be an IANA time zone' }
  ]
  return faults.filter((fault) => fault !== null)
}

function wantsCsv(request: FastifyRequest, format: 'json' | 'csv' | undefined): boolean {
  if (format !== undefined) return format === 'csv'
  const accepted = (request.headers.accept ?? '').split(',').map((part) => part.split(';')[0]?.trim())
  return accepted.includes('text/csv') && !accepted.includes('application/json')
}

function tellRow({ start, ...row }: UsageRow) {
  return { ...row, start: start === null ? null : new Date(start).toISOString() }
}

type RowTold = Readonly<Record<(typeof COLUMNS)[number], string | null>>

/** RFC 4180: a heading, CRLF, quotes doubled. Null is an empty field. */
function csvOf(rows: readonly RowTold[]): string {
  const lines = rows.map((row) => COLUMNS.map((column) => quoted(row[column] ?? '')).join(','))
  return [COLUMNS.join(','), ...lines].map((line) => `${line}\r\n`).join('')
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field
}
