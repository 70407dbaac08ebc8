/**
 * Every variable a process reads, in fragments: a process loads those of its concerns (load-config.ts). The descriptions are
 * the documentation: .env.example is written from them, and each says unit, meaning, and what a wrong value does.
 * Lists are separated by commas. An empty value counts as not set.
 */
import Type, { type Static, type TObject } from 'typebox'
import { accessVariables, findAccessContradictions } from './access/config.ts'
import {
  billingJobVariables,
  billingVariables,
  findBillingContradictions,
  issuerVariables,
  paymentVariables
} from './billing/config.ts'
import { webhookVariables } from './webhooks/config.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

function list(options: {
  readonly pattern: string
  readonly description: string
  readonly default?: string
  readonly examples?: string[]
}) {
  return Type.Unsafe<readonly string[]>({ type: 'string', separator: ',', ...options })
}

function port(description: string, byDefault: number) {
  return Type.Integer({ minimum: 0, maximum: 65_535, default: byDefault, description })
}

export const processVariables = Type.Object({
  LOG_LEVEL: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info',
    description: 'Least severity of the log lines written. Below info, a line a batch: it costs throughput.'
  }),
  METRICS_HOST: Type.String({
    default: '127.0.0.1',
    description: 'Address on which the consumers answer /livez, /readyz and /metrics. In a container: 0.0.0.0.'
  }),
  METRICS_PORT: port('Port of the same; 0 takes any free one and logs it.', 0),
  CRASH_AT: Type.Optional(
    Type.String({
      pattern: String.raw`^(before|after):[\w-]+\.\w+:[1-9]\d*$`,
      examples: ['after:ledger.flush:3'],
      description:
        'For fault tests alone: before|after:NAME.method:n kills the process at the n-th call of a port method. Leave it unset.'
    })
  )
})

export const kafkaVariables = Type.Object({
  KAFKA_BROKERS: list({
    pattern: String.raw`^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$`,
    examples: ['127.0.0.1:9092'],
    description: 'Brokers to begin with, as host:port.'
  }),
  KAFKA_CLIENT_ID: Type.String({
    minLength: 1,
    default: 'tokenmeter',
    description: "Names the process in the brokers' logs and quotas."
  }),
  KAFKA_GROUP_PREFIX: Type.String({
    minLength: 1,
    default: 'tokenmeter',
    description:
      'Consumer groups are PREFIX-meter, PREFIX-analytics and PREFIX-audit. Their offsets are for dashboards only: another prefix loses nothing.'
  }),
  KAFKA_SESSION_TIMEOUT_MS: Type.Integer({
    minimum: 1_000,
    maximum: 300_000,
    default: 10_000,
    description:
      'Milliseconds after which a silent consumer loses its partitions. Smaller: a dead one is replaced sooner, a slow one needlessly. The brokers bound it.'
  }),
  KAFKA_TLS: Type.Boolean({ default: false, description: 'Speak TLS to the brokers and verify them.' }),
  KAFKA_SASL_MECHANISM: Type.Optional(
    Type.Enum(['plain', 'scram-sha-256', 'scram-sha-512'], {
      examples: ['scram-sha-512'],
      description: 'How to sign in to the brokers; unset: not at all. plain only over TLS.'
    })
  ),
  KAFKA_SASL_USERNAME: Type.Optional(Type.String({ examples: ['tokenmeter'], description: 'Name to sign in with.' })),
  KAFKA_SASL_PASSWORD: Type.Optional(Type.String({ examples: ['secret'], description: 'Password to sign in with.' })),
  USAGE_TOPIC: Type.String({
    pattern: String.raw`^[\w.-]{1,249}$`,
    default: 'tokenmeter-usage',
    description:
      'The log of usage events. Cursors belong to it: under another name the ledger refuses to go on with the old ones.'
  }),
  USAGE_PARTITIONS: Type.Integer({
    minimum: 1,
    maximum: 1_024,
    default: 8,
    description:
      'Partitions of a usage topic that has to be made, and so the most consumers that share the work. Never change it on one in use.'
  }),
  DEAD_LETTER_TOPIC: Type.String({
    pattern: String.raw`^[\w.-]{1,249}$`,
    default: 'tokenmeter-dead-letters',
    description: 'Where events that can not be counted are kept whole, with the reason.'
  }),
  EVENTS_TOPIC: Type.String({
    pattern: String.raw`^[\w.-]{1,249}$`,
    default: 'tokenmeter-events',
    description:
      'Where other services are told of customers, users, subscriptions and quotas (docs/events). Under another name what comes from now on goes there.'
  }),
  EVENTS_RETENTION_MS: Type.Integer({
    minimum: HOUR_MS,
    default: 30 * DAY_MS,
    description:
      'Milliseconds for which an events topic that has to be made keeps events: a listener that was away for longer has missed some.'
  }),
  TOPIC_REPLICAS: Type.Integer({
    minimum: 1,
    maximum: 9,
    default: 1,
    description: 'Copies of a topic that has to be made. 1 loses events with the disk of one broker: 3 in production.'
  }),
  USAGE_RETENTION_MS: Type.Integer({
    minimum: HOUR_MS,
    default: 7 * DAY_MS,
    description:
      'Milliseconds for which a usage topic that has to be made keeps events: longer than the duplicate window, as an emptied meter is rebuilt from it.'
  }),
  DEAD_LETTER_RETENTION_MS: Type.Integer({
    minimum: HOUR_MS,
    default: 30 * DAY_MS,
    description: 'Milliseconds for which a dead-letter topic that has to be made keeps records.'
  }),
  AUDIT_TOPIC: Type.String({
    pattern: String.raw`^[\w.-]{1,249}$`,
    default: 'tokenmeter-audit',
    description:
      'Where other services tell what they did, for the audit trail. A cursor belongs to it: under another name the consumer refuses to go on with the old ones. Made with USAGE_PARTITIONS partitions.'
  }),
  AUDIT_RETENTION_MS: Type.Integer({
    minimum: HOUR_MS,
    default: 30 * DAY_MS,
    description:
      'Milliseconds for which an audit topic that has to be made keeps records. An audit consumer that is away for longer loses what it did not read.'
  })
})

export const eventVariables = Type.Object({
  ACCEPTANCE_WINDOW_MS: Type.Integer({
    minimum: 60_000,
    maximum: 35 * DAY_MS,
    default: DAY_MS,
    description:
      'Milliseconds before its arrival at which an event may have happened; an older one is a dead letter. At most the duplicate window. The same in every process.'
  }),
  DUPLICATE_WINDOW_MS: Type.Integer({
    minimum: 60_000,
    maximum: 35 * DAY_MS,
    default: DAY_MS,
    description:
      'Milliseconds for which a repeat of an event is known as one, 35 days at most. Each event costs 9 to 15 bytes of Redis for up to twice as long.'
  })
})

export const meterVariables = Type.Object({
  REDIS_URL: Type.String({
    pattern: '^rediss?://',
    examples: ['redis://127.0.0.1:6379'],
    description:
      'The Redis of the meter, with credentials if it asks for them; several, separated by commas, are nodes of one cluster. It must not evict: maxmemory-policy noeviction.'
  }),
  REDIS_COMMAND_TIMEOUT_MS: Type.Integer({
    minimum: 50,
    maximum: 30_000,
    default: 2_000,
    description:
      "Milliseconds until an unanswered command counts as failed. A check then answers as the limit says for what can't be known."
  }),
  METER_SHARDS: Type.Integer({
    minimum: 1,
    maximum: 1_024,
    default: 1,
    description:
      'Parts of the meter, each on one Redis node. A divisor of USAGE_PARTITIONS; 1 on a single Redis. Fixed at install. The same in every process.'
  }),
  METER_KEY_PREFIX: Type.String({
    pattern: String.raw`^[\w.-]{1,32}$`,
    default: 'tm',
    description: 'Begins every key: keeps installations that share a Redis apart. The same in every process.'
  }),
  METER_MARK_BUCKETS: Type.Integer({
    minimum: 1,
    maximum: 1_048_576,
    default: 4_096,
    description:
      'Hashes over which the duplicate marks of a shard are spread, per duplicate window. Right is events per window and shard / 200: far fewer and marks take five times the memory. Fixed at install. The same in every process.'
  }),
  METER_STALE_AFTER_MS: Type.Integer({
    minimum: 1_000,
    default: 15_000,
    description:
      "Milliseconds without a sign of a shard's consumers after which a check can't know. Larger: limits may be passed by what was used meanwhile."
  })
})

export const postgresVariables = Type.Object({
  DATABASE_URL: Type.String({
    pattern: '^postgres(ql)?://',
    examples: ['postgresql://tokenmeter:secret@127.0.0.1:5432/tokenmeter'],
    description: 'The Postgres of the ledger; ?sslmode=verify-full for TLS.'
  }),
  DATABASE_CONNECTIONS_MAX: Type.Integer({
    minimum: 2,
    maximum: 200,
    default: 8,
    description: 'Connections of one process. All processes together stay below max_connections of the server.'
  })
})

export const clickhouseVariables = Type.Object({
  CLICKHOUSE_URL: Type.String({
    pattern: '^https?://',
    examples: ['http://127.0.0.1:8123'],
    description: 'The HTTP interface of ClickHouse, with credentials if it asks for them; https verifies the server.'
  }),
  CLICKHOUSE_DATABASE: Type.String({
    pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$',
    default: 'tokenmeter',
    description: 'Its database; made when it is missing.'
  })
})

export const consumerVariables = Type.Object({
  CONSUMERS: list({
    pattern: '^(meter|analytics|audit|relay|webhooks)(,(meter|analytics|audit|relay|webhooks)){0,4}$',
    default: 'meter,analytics,audit,relay,webhooks',
    description:
      'What the process runs. meter counts; analytics follows the ledger and may run elsewhere, or not at all; audit fills the audit trail from AUDIT_TOPIC; relay publishes to EVENTS_TOPIC; webhooks posts events to customers. Each must run somewhere.'
  }),
  FLUSH_INTERVAL_MS: Type.Integer({
    minimum: 50,
    maximum: 60_000,
    default: 1_000,
    description:
      'Milliseconds between flushes to the ledger and blocks to ClickHouse. Smaller: fresher, more writes. Larger: more to replay after a crash.'
  }),
  BATCH_RECORDS_MAX: Type.Integer({
    minimum: 1,
    maximum: 20_000,
    default: 5_000,
    description: 'Records counted in one script call; Redis answers no check during it (2 to 6 µs a record).'
  }),
  BLOCK_EVENTS_MAX: Type.Integer({
    minimum: 1,
    maximum: 200_000,
    default: 50_000,
    description: 'Records in one block of ClickHouse. It is held in memory as a whole, per partition.'
  }),
  QUOTA_THRESHOLDS: list({
    pattern: String.raw`^([1-9]\d?|100)(,([1-9]\d?|100))*$`,
    default: '80,100',
    description:
      'Percents of a limit at which quota.threshold_reached is published, once a window each. Another list tells of new ones at once.'
  }),
  PENDING_EVENTS_MAX: Type.Integer({
    minimum: 1_000,
    default: 1_000_000,
    description:
      'Records per partition whose sums may wait in memory while Postgres is away; then consumption pauses, and quotas go stale.'
  })
})

export const apiVariables = Type.Object({
  API_HOST: Type.String({
    default: '127.0.0.1',
    description: 'Address on which the API listens. In a container: 0.0.0.0.'
  }),
  API_PORT: port('Port of the API; 0 takes any free one and logs it.', 8_080),
  API_KEYS: Type.String({
    pattern: String.raw`^([\w.-]{1,64}:[0-9a-fA-F]{64}(,[\w.-]{1,64}:[0-9a-fA-F]{64})*)?$`,
    default: '',
    examples: [`ia-service:${'0'.repeat(64)}`],
    description:
      'Keys that open everything and need no Postgres to be known, as name:sha256, several so that one can be replaced without a pause. Make one with openssl rand -hex 32, its hash with printf %s KEY | sha256sum. Unset: npm run bootstrap makes the first key.'
  }),
  API_CORS_ORIGINS: list({
    pattern: String.raw`^(https?://[^\s,/]+(,https?://[^\s,/]+)*)?$`,
    default: '',
    examples: ['https://console.example'],
    description: 'Browser origins that may call the API. Unset: none.'
  })
})

/** In the order of .env.example. */
export const allFragments: readonly (readonly [title: string, fragment: TObject])[] = [
  ['Every process', processVariables],
  ['Kafka', kafkaVariables],
  ['Usage events', eventVariables],
  ['Redis: the meter', meterVariables],
  ['Postgres: the ledger', postgresVariables],
  ['ClickHouse: analytics', clickhouseVariables],
  ['Consumers', consumerVariables],
  ['API', apiVariables],
  ['API: credentials', accessVariables],
  ['Webhooks', webhookVariables],
  ['Billing', billingVariables],
  ['Billing: who invoices', issuerVariables],
  ['Billing: the worker', billingJobVariables],
  ['Billing: payments', paymentVariables]
]

type EveryVariable = Static<typeof kafkaVariables> &
  Static<typeof eventVariables> &
  Static<typeof meterVariables> &
  Static<typeof consumerVariables> &
  Static<typeof accessVariables> &
  Static<typeof billingVariables> &
  Static<typeof paymentVariables>

/** What one variable alone can't tell. A variable the process does not load, or that is at fault itself, is undefined here. */
export function findContradictions(env: Partial<EveryVariable>): string[] {
  const faults: string[] = []
  const { ACCEPTANCE_WINDOW_MS: acceptance, DUPLICATE_WINDOW_MS: duplicate, USAGE_RETENTION_MS: retention } = env
  if (acceptance !== undefined && duplicate !== undefined && acceptance > duplicate) {
    faults.push(
      `ACCEPTANCE_WINDOW_MS (${acceptance}) must not exceed DUPLICATE_WINDOW_MS (${duplicate}): a copy could be accepted after its mark is gone`
    )
  }
  if (retention !== undefined && duplicate !== undefined && retention <= duplicate) {
    faults.push(
      `USAGE_RETENTION_MS (${retention}) must exceed DUPLICATE_WINDOW_MS (${duplicate}): marks are rebuilt from the log`
    )
  }
  const { USAGE_PARTITIONS: partitions, METER_SHARDS: shards } = env
  if (partitions !== undefined && shards !== undefined && partitions % shards !== 0) {
    faults.push(`METER_SHARDS (${shards}) must divide USAGE_PARTITIONS (${partitions})`)
  }
  if (env.CONSUMERS !== undefined && new Set(env.CONSUMERS).size !== env.CONSUMERS.length) {
    faults.push('CONSUMERS names a consumer twice')
  }
  const sasl = [env.KAFKA_SASL_MECHANISM, env.KAFKA_SASL_USERNAME, env.KAFKA_SASL_PASSWORD]
  if (sasl.includes(undefined) && sasl.some((value) => value !== undefined)) {
    faults.push('KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD must be set together')
  }
  if (env.KAFKA_SASL_MECHANISM === 'plain' && env.KAFKA_TLS === false) {
    faults.push('KAFKA_SASL_MECHANISM plain sends the password as it is: set KAFKA_TLS')
  }
  return [...faults, ...findAccessContradictions(env), ...findBillingContradictions(env)]
}
