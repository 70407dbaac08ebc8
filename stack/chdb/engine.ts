/**
 * The chDB engine as a server uses it: a few sessions on one data folder, each with one statement at a time. A session
 * remembers its current database, so each request names its own first, and fails as on a server when there is none.
 */
import { Session } from 'chdb'
import {
  addSettings,
  addSettingsToInsert,
  changesSession,
  type InsertStatement,
  parseInsert,
  type Settings
} from './statement.ts'

export interface StatementRequest {
  sql: string
  /** Data that follows an INSERT; empty for everything else. */
  body: Buffer
  database: string
  /** Applies where the statement has no FORMAT clause. */
  defaultFormat: string
  settings: Settings
  /** Values of `{name:Type}`, unescaped. */
  parameters: Readonly<Record<string, string | null>>
}

export interface StatementAnswer {
  bytes: Uint8Array
  readRows: number
  readBytes: number
  writtenRows: number
  writtenBytes: number
}

/** The formats that the engine takes as raw bytes; the data of others travels inside the statement's text. */
const RAW_FORMATS = ['JSONEachRow', 'JSONCompactEachRow', 'CSV', 'CSVWithNames', 'TSV', 'TabSeparated'] as const
const PLAIN_NAME = /^\w+(\.\w+)*$/
const RUNNING_MAX = 4

export class ChdbEngine {
  readonly #folder: string
  readonly #idle: Session[] = []
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** Throws when another process has the folder open: the engine locks it. */
  constructor(folder: string) {
    this.#folder = folder
    this.#idle.push(this.#open())
  }

  async run(request: StatementRequest): Promise<StatementAnswer> {
    await this.#enter()
    try {
      return await this.#runWithSession(request)
    } finally {
      this.#leave()
    }
  }

  close(): void {
    for (const session of this.#idle.splice(0)) session.close()
  }

  #open(): Session {
    return new Session(this.#folder, { connectionArgs: ['--implicit_select=0'] })
  }

  async #enter(): Promise<void> {
    if (this.#running >= RUNNING_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running++
  }

  /** A statement that waits inherits the place of the one that leaves. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running--
    else next()
  }

  async #runWithSession(request: StatementRequest): Promise<StatementAnswer> {
    const session = this.#idle.pop() ?? this.#open()
    let isReusable = true
    try {
      await session.queryAsync(`USE ${quoteName(request.database)}`)
      isReusable = !changesSession(request.sql)
      return await runStatement(session, request)
    } finally {
      if (isReusable) this.#idle.push(session)
      else session.close()
    }
  }
}

function quoteName(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``
}

async function runStatement(session: Session, request: StatementRequest): Promise<StatementAnswer> {
  const insert = parseInsert(request.sql)
  if (insert?.format) return runInsertOfData(session, insert, request)
  const sql =
    insert === null ? addSettings(request.sql, request.settings) : addSettingsToInsert(insert, request.settings)
  const text = request.body.length === 0 ? sql : `${sql}\n${request.body.toString()}`
  return runText(session, text, request)
}

async function runInsertOfData(
  session: Session,
  insert: InsertStatement,
  request: StatementRequest
): Promise<StatementAnswer> {
  const values = insert.inlineData === '' ? request.body : Buffer.concat([Buffer.from(insert.inlineData), request.body])
  if (values.toString('latin1', 0, 1_000).trim() === '' && values.length <= 1_000) return emptyAnswer()
  const target = unquote(insert.target)
  const columns = insert.columns?.split(',').map((column) => unquote(column.trim()))
  const format = RAW_FORMATS.find((name) => name === insert.format)
  const isPlain = PLAIN_NAME.test(target) && (columns ?? []).every((column) => PLAIN_NAME.test(column))
  if (format === undefined || !isPlain || /^settings/i.test(insert.tail)) {
    return runText(session, `${addSettingsToInsert(insert, request.settings)}\n${values.toString()}`, request)
  }
  const { settings } = request
  const summary = await session.insert({ table: target, values, format, settings, ...(columns && { columns }) })
  return { ...emptyAnswer(), writtenRows: summary.rowsWritten, writtenBytes: summary.bytesWritten }
}

async function runText(session: Session, sql: string, request: StatementRequest): Promise<StatementAnswer> {
  const { parameters, defaultFormat } = request
  const options = { format: defaultFormat }
  const result =
    Object.keys(parameters).length === 0
      ? await session.queryAsync(sql, options)
      : await session.queryBindAsync(sql, parameters, options)
  return { ...emptyAnswer(), bytes: result.bytes(), readRows: result.rowsRead, readBytes: result.bytesRead }
}

function unquote(name: string): string {
  return name.replaceAll(/[`"]/g, '')
}

function emptyAnswer(): StatementAnswer {
  return { bytes: new Uint8Array(0), readRows: 0, readBytes: 0, writtenRows: 0, writtenBytes: 0 }
}
