// Which failures of Postgres a caller may retry: those that say nothing about the request itself. Everything else passes
// as it is: a broken constraint or a statement the server can't read is a defect, and another try would meet it again.

import { RetryableError } from '../domain/errors.ts'

type RetryableCode = 'postgres-unavailable' | 'postgres-timeout' | 'postgres-conflict'

/** SQLSTATE, whole or by class (its first two characters). */
const CODE_OF_SQLSTATE: Readonly<Record<string, RetryableCode>> = {
  // Lost connection; out of connections, memory or disk; a standby that has not taken over yet.
  '08': 'postgres-unavailable',
  '53': 'postgres-unavailable',
  '57P01': 'postgres-unavailable',
  '57P02': 'postgres-unavailable',
  '57P03': 'postgres-unavailable',
  '25006': 'postgres-unavailable',
  // Statement, lock and idle-transaction timeouts.
  '57014': 'postgres-timeout',
  '55P03': 'postgres-timeout',
  '25P03': 'postgres-timeout',
  // Serialization failure, deadlock.
  '40': 'postgres-conflict'
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN'
])

/** What the drivers themselves throw carries no code. */
const DRIVER_MESSAGES: readonly (readonly [pattern: RegExp, code: RetryableCode])[] = [
  [/^Query read timeout/, 'postgres-timeout'],
  [/^Connection terminated/, 'postgres-unavailable'],
  [/^timeout (expired|exceeded when trying to connect)/, 'postgres-unavailable'],
  [/^Client (has encountered a connection error|was closed) and is not queryable/, 'postgres-unavailable']
]

/** A `RetryableError` that says what could not be done, or the error as it came. `what` continues "could not". */
export function translatePostgresError(what: string, error: unknown): unknown {
  const code = retryableCodeOf(error)
  if (code === null) return error
  return new RetryableError(code, `could not ${what}: ${messageOf(error)}`, { cause: error })
}

function retryableCodeOf(error: unknown): RetryableCode | null {
  if (!(error instanceof Error)) return null
  // Several addresses of one host were tried; Node tells of each.
  if (error instanceof AggregateError) {
    const codes = error.errors.map(retryableCodeOf)
    return codes.includes(null) ? null : (codes[0] ?? null)
  }
  const { code } = error as { code?: unknown }
  if (typeof code === 'string') {
    if (UNREACHABLE.has(code)) return 'postgres-unavailable'
    const known = CODE_OF_SQLSTATE[code] ?? CODE_OF_SQLSTATE[code.slice(0, 2)]
    if (known !== undefined) return known
  }
  for (const [pattern, known] of DRIVER_MESSAGES) if (pattern.test(error.message)) return known
  return retryableCodeOf(error.cause)
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ')
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message} (${messageOf(error.cause)})`
}
