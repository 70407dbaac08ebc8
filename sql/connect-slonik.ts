// slonik, for the stores that keep one entity a row: its `sql` tag takes nothing but bound values, and each query names the
// parser that its rows must pass. A connection works as the platform's role; what is done for one customer runs in a transaction
// that takes the application's role and names the customer, so that row-level security hides all others.

import {
  createNumericTypeParser,
  createPool,
  createTypeParserPreset,
  type DatabasePool,
  type DatabaseTransactionConnection,
  type Interceptor,
  sql
} from 'slonik'
import { Type } from 'typebox'
import type { Change, Reach } from '../domain/change.ts'
import { writeChange } from './change/write-change.ts'
import { CONNECT_TIMEOUT_MS, type DatabaseOptions, roleSetting, STATEMENT_TIMEOUT_MS } from './connect.ts'
import { rowParser } from './encoding/row-parser.ts'
import { translatePostgresError } from './translate-error.ts'

const CONNECTIONS_MAX = 4
const IDLE_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 5_000

/** One Postgres database through slonik. Connects when first asked; `what` says in errors what could not be done. */
export class EntityDatabase {
  readonly #options: DatabaseOptions
  #pool: Promise<DatabasePool> | null = null
  /** The pool once it is connected. */
  #connectedPool: DatabasePool | null = null

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

  /** Several statements, all or none, that see the rows within reach and no others. */
  async transaction<T>(
    reach: Reach,
    what: string,
    work: (transaction: DatabaseTransactionConnection) => Promise<T>
  ): Promise<T> {
    return this.run(what, (pool) =>
      pool.transaction(async (transaction) => {
        if (reach.kind === 'customer') await narrow(transaction, reach.customerId)
        return work(transaction)
      })
    )
  }

  /**
   * A change with its audit records, its events and its answer, all or none. Changes of one customer are made one after the
   * other. Throws `RepeatedRequest` when the request was made before: `work` is then not done.
   */
  async change<T>(
    change: Change,
    what: string,
    work: (transaction: DatabaseTransactionConnection) => Promise<T>
  ): Promise<T> {
    return this.transaction(change.reach, what, (transaction) => writeChange(transaction, change, work))
  }

  /** For metrics; nothing is open while it connects. */
  state(): { readonly open: number; readonly idle: number; readonly waiting: number; readonly max: number } {
    const state = this.#connectedPool?.state()
    const [acquired, idle] = [state?.acquiredConnections ?? 0, state?.idleConnections ?? 0]
    const max = this.#options.connectionsMax ?? CONNECTIONS_MAX
    return { open: acquired + idle, idle, waiting: state?.waitingClients ?? 0, max }
  }

  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = null
    this.#connectedPool = null
    if (pool !== null) await (await pool).end()
  }

  /** slonik connects as it makes its pool, to look its types up; when that fails the next call tries again. */
  async #connected(): Promise<DatabasePool> {
    this.#pool ??= openPool(this.#options)
    try {
      this.#connectedPool = await this.#pool
      return this.#connectedPool
    } catch (error) {
      this.#pool = null
      throw error
    }
  }
}

const NARROWED = rowParser('settings', Type.Object({ role: Type.String(), customer: Type.String() }))

/** Until the transaction ends. */
async function narrow(transaction: DatabaseTransactionConnection, customerId: string): Promise<void> {
  await transaction.one(sql.type(NARROWED)`
    select set_config('role', 'tokenmeter_app', true) as role,
           set_config('tokenmeter.customer_id', ${customerId}, true) as customer`)
}

/** No retries here: whoever gets a RetryableError does that, once. */
function openPool(options: DatabaseOptions): Promise<DatabasePool> {
  const url = new URL(options.databaseUrl)
  url.searchParams.set('application_name', options.applicationName)
  url.searchParams.set('options', roleSetting({ role: options.role ?? 'tokenmeter_platform' }))
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
