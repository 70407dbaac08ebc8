import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino'

/** Fields that hold a secret wherever a caller logs an object with them. */
const SECRET_FIELDS = [
  'password',
  'authorization',
  'cookie',
  'apiKey',
  'API_KEYS',
  'JWT_SECRET',
  'secret',
  'x-api-key',
  'DATABASE_URL',
  'REDIS_URL',
  'CLICKHOUSE_URL',
  'KAFKA_SASL_PASSWORD'
]
const SECRET_PATHS = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`])
const REDACTED = '[redacted]'

/** `user:password@` in an address, and a bearer token: drivers put them into the messages of their errors. */
const URL_PASSWORD = /(:\/\/[^\s:/@"\\]*):[^\s/"\\]+@/g
const BEARER_TOKEN = /\b(Bearer|Basic) [\w.~+/=-]+/gi

export interface LoggerChoice {
  /** The process, as `process` in every line. */
  readonly name: string
  readonly level: string
  /** Standard output unless told. */
  readonly destination?: DestinationStream
}

/** One JSON line an entry. Secrets are taken out by the name of their field, and by their shape in any text. */
export function createLogger({ name, level, destination }: LoggerChoice): Logger {
  const options: LoggerOptions = {
    level,
    base: { process: name, pid: process.pid },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRET_PATHS, censor: REDACTED },
    hooks: { streamWrite: withoutSecrets }
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}

function withoutSecrets(line: string): string {
  return line.replaceAll(URL_PASSWORD, `$1:${REDACTED}@`).replaceAll(BEARER_TOKEN, `$1 ${REDACTED}`)
}
