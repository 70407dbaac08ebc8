// How this folder reaches Postgres: a pool whose every wait has an end. Nothing is retried here; the caller's loop does
// that, once, when it meets a RetryableError.

import { channel } from 'node:diagnostics_channel'
import { Client, type ClientConfig, Pool, type PoolClient, type QueryResultRow } from 'pg'
import { translatePostgresError } from './translate-error.ts'

export const CONNECT_TIMEOUT_MS = 2_000
/** The server gives up a statement after this long, waits for row locks included. */
export const STATEMENT_TIMEOUT_MS = 10_000
/** For pools that read whole customers, as a repair or a report does. */
export const LONG_STATEMENT_TIMEOUT_MS = 120_000
/** We give up on an answer this much later: the server's own refusal comes first unless the network swallows it. */
const ANSWER_GRACE_MS = 2_000
const IDLE_TIMEOUT_MS = 30_000
const CONNECTIONS_MAX = 8

/** Published with `{ error }` when a connection dies between two statements. The next statement opens another one. */
export const CONNECTION_LOST = channel('tokenmeter:postgres:connection-lost')

/**
 * As whom statements run, whoever signed in: the pipeline and the platform see the rows of all customers; `login` is for what makes
 * and drops databases. Requests of one customer run as `tokenmeter_app` (connect-slonik.ts).
 */
export type DatabaseRole = 'tokenmeter_pipeline' | 'tokenmeter_platform' | 'login'

export interface DatabaseOptions {
  readonly databaseUrl: string
  /** Seen in pg_stat_activity: which process of ours a session belongs to. */
  readonly applicationName: string
  /** At most this many connections, 8 unless told. */
  readonly connectionsMax?: number
  /** `STATEMENT_TIMEOUT_MS` unless told. */
  readonly statementTimeoutMs?: number
  /** `tokenmeter_pipeline` unless told; it exists once the database is migrated. */
  readonly role?: DatabaseRole
}

/** Text to run, and its values; `name` has the server keep the plan for the connection. */
export interface Statement {
  readonly name?: string
  readonly text: string
  readonly values?: unknown[]
}

/** Runs one statement of a transaction. */
export type Run = <Row extends QueryResultRow>(statement: Statement) => Promise<readonly Row[]>

/** One Postgres database through a pool. Connects when first asked; `what` says in errors what could not be done. */
export class Database {
  readonly #pool: Pool
  readonly #options: DatabaseOptions

  constructor(options: DatabaseOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS
    this.#options = options
    this.#pool = new Pool({
      ...this.#connection(),
      max: connectionsMaxOf(options),
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: statementTimeoutMs,
      query_timeout: statementTimeoutMs + ANSWER_GRACE_MS
    })
    this.#pool.on('connect', (client) => client.on('error', publishLoss))
    this.#pool.on('error', leaveToTheClient)
  }

  /** One statement, which is a transaction of its own. */
  async query<Row extends QueryResultRow>(what: string, statement: Statement): Promise<readonly Row[]> {
    try {
      const { rows } = await this.#pool.query<Row>({ ...statement })
      return rows
    } catch (error) {
      throw translatePostgresError(what, error)
    }
  }

  /** Several statements, all or none. `repeatable read` gives them one snapshot, `read committed` one each. */
  async transaction<T>(
    what: string,
    isolation: 'read committed' | 'repeatable read' | 'repeatable read read only',
    work: (run: Run) => Promise<T>
  ): Promise<T> {
    let client: PoolClient | undefined
    try {
      client = await this.#pool.connect()
      await client.query(`begin isolation level ${isolation}`)
      const result = await work(runOn(client))
      await client.query('commit')
      client.release()
      return result
    } catch (error) {
      // Closing the connection rolls back, also when it can't be asked to any more.
      client?.release(true)
      throw translatePostgresError(what, error)
    }
  }

  /**
   * A connection of its own, outside of the pool, for what lives as long as a session does. It has no statement timeout,
   * and when our machine vanishes the server notices within half a minute. `close` ends the session, however it fares.
   */
  async session(what: string): Promise<{ readonly run: Run; readonly close: () => Promise<void> }> {
    const client = new Client({
      ...this.#connection(),
      query_timeout: STATEMENT_TIMEOUT_MS + ANSWER_GRACE_MS,
      options: `${roleSetting(this.#options)} -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c idle_session_timeout=0`
    })
    client.on('error', publishLoss)
    try {
      await client.connect()
    } catch (error) {
      throw translatePostgresError(what, error)
    }
    return { run: runOn(client), close: () => client.end() }
  }

  /** Waits for the statements that run, then disconnects. */
  async close(): Promise<void> {
    await this.#pool.end()
  }

  /** For metrics. */
  state(): { readonly open: number; readonly idle: number; readonly waiting: number; readonly max: number } {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { open: totalCount, idle: idleCount, waiting: waitingCount, max: connectionsMaxOf(this.#options) }
  }

  #connection(): ClientConfig {
    return {
      connectionString: this.#options.databaseUrl,
      application_name: this.#options.applicationName,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      options: roleSetting(this.#options)
    }
  }
}

function connectionsMaxOf({ connectionsMax = CONNECTIONS_MAX }: DatabaseOptions): number {
  return connectionsMax
}

/** The start of a session's options; taking a role this way costs no round trip. */
export function roleSetting({ role = 'tokenmeter_pipeline' }: Pick<DatabaseOptions, 'role'>): string {
  return role === 'login' ? '' : `-c role=${role}`
}

function runOn(client: Pick<Client, 'query'>): Run {
  return async <Row extends QueryResultRow>(statement: Statement) => {
    const { rows } = await client.query<Row>({ ...statement })
    return rows
  }
}

function publishLoss(error: Error): void {
  CONNECTION_LOST.publish({ error })
}

/** The pool repeats what an idle client told; an event without a listener would end the process. */
function leaveToTheClient(): undefined {
  return undefined
}
