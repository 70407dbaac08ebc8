// slonik, for the stores that keep one entity a row: its `sql` tag takes nothing but bound values, and each query names the
// parser that its rows must pass.

import {
  createNumericTypeParser,
  createPool,
  createTypeParserPreset,
  type DatabasePool,
  type Interceptor
} from 'slonik'
import { CONNECT_TIMEOUT_MS, type DatabaseOptions, STATEMENT_TIMEOUT_MS } from './connect.ts'
import { translatePostgresError } from './translate-error.ts'

const CONNECTIONS_MAX = 4
const IDLE_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 5_000

/** One Postgres database through slonik. Connects when first asked; `what` says in errors what could not be done. */
export class EntityDatabase {
  readonly #options: DatabaseOptions
  #pool: Promise<DatabasePool> | null = null

  constructor(options: DatabaseOptions) {
    this.#options = options
  }

  async run<T>(what: string, work: (pool: DatabasePool) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#connected())
    } catch (error) {
      throw translatePostgresError(what, error)
    }
  }

  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = null
    if (pool !== null) await (await pool).end()
  }

  /** slonik connects as it makes its pool, to look its types up; when that fails the next call tries again. */
  async #connected(): Promise<DatabasePool> {
    this.#pool ??= openPool(this.#options)
    try {
      return await this.#pool
    } catch (error) {
      this.#pool = null
      throw error
    }
  }
}

/** No retries here: whoever gets a RetryableError does that, once. */
function openPool(options: DatabaseOptions): Promise<DatabasePool> {
  const url = new URL(options.databaseUrl)
  url.searchParams.set('application_name', options.applicationName)
  const statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS
  return createPool(url.href, {
    maxPoolSize: options.connectionsMax ?? CONNECTIONS_MAX,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    statementTimeout: statementTimeoutMs,
    idleInTransactionSessionTimeout: statementTimeoutMs,
    idleTimeout: IDLE_TIMEOUT_MS,
    gracefulTerminationTimeout: CLOSE_TIMEOUT_MS,
    connectionRetryLimit: 0,
    queryRetryLimit: 0,
    transactionRetryLimit: 0,
    interceptors: [CHECK_ROWS],
    typeParsers: TYPE_PARSERS
  })
}

const NUMERIC = createNumericTypeParser().name

/** slonik makes a float of every numeric, which drops digits: text, so that whoever reads one decides. */
const TYPE_PARSERS = [
  ...createTypeParserPreset().filter(({ name }) => name !== NUMERIC),
  { name: NUMERIC, parse: (digits: string) => digits }
]

/** slonik itself checks no row: without this the type of a query would be a mere claim. */
const CHECK_ROWS: Interceptor = {
  name: 'check-rows',
  transformRow({ resultParser }, query, row) {
    const checked = resultParser?.['~standard'].validate(row)
    if (checked === undefined) throw new TypeError(`this query names no parser for its rows: ${query.sql}`)
    if (checked instanceof Promise) throw new TypeError(`the parser of this query answers later: ${query.sql}`)
    if (checked.issues === undefined) return row
    const faults = checked.issues.map(({ message }) => message).join('; ')
    throw new TypeError(`Postgres holds a damaged row: ${faults}; it answered: ${query.sql.trim()}`)
  }
}
