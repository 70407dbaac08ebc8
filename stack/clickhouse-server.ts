/**
 * Serves ClickHouse's engine (chDB, in this process) over ClickHouse's HTTP interface, on 127.0.0.1 alone, so that the
 * plain client works on a machine without a ClickHouse server. One process per data folder; the engine locks it.
 *
 * Not served, and not needed here: sessions over several requests, users and passwords, answers in a stream.
 *
 *   node stack/clickhouse-server.ts --port 8123 --data <folder>
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { parseArgs, promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { ChdbEngine, type StatementAnswer, type StatementRequest } from './chdb/engine.ts'
import { readParameter } from './chdb/parameter.ts'
import { hasSeveralStatements, parseInsert } from './chdb/statement.ts'

const BODY_BYTES_MAX = 256 * 1024 * 1024
const SYNTAX_ERROR = 62

/** Parameters of the interface itself, and settings that only ClickHouse's own HTTP server knows. */
const NOT_A_SETTING =
  /^(query|database|default_format|query_id|session_\w+|role|user|password|quota_key|compress|decompress|param_.*|wait_end_of_query|buffer_size|enable_http_compression|send_progress_in_http_headers|http_\w+)$/

/** The few codes to which ClickHouse gives a status of their own; its clients go by the code and the message. */
const STATUS_BY_CODE = new Map([
  [27, 400],
  [36, 400],
  [46, 404],
  [47, 404],
  [60, 404],
  [SYNTAX_ERROR, 400],
  [81, 404],
  [115, 404],
  [117, 400],
  [159, 408],
  [456, 400]
])

class RequestError extends Error {
  readonly status: number
  readonly code: number

  constructor(message: string, { status, code }: { status: number; code: number }) {
    super(message)
    this.status = status
    this.code = code
  }
}

export function buildClickHouseServer(engine: ChdbEngine): Server {
  return createServer((request, response) => {
    answer(engine, request, response).catch((error: unknown) => sendError(response, error))
  })
}

async function answer(engine: ChdbEngine, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const body = await readBody(request)
  if (url.pathname === '/ping' || (body.length === 0 && !url.searchParams.has('query'))) {
    response.end('Ok.\n')
    return
  }
  const form = await readForm(request, body)
  const statement =
    form === null
      ? readStatement(url.searchParams, body)
      : readStatement(new URLSearchParams([...url.searchParams, ...form]), Buffer.alloc(0))
  const startedAt = performance.now()
  const result = await engine.run(statement)
  const queryId = url.searchParams.get('query_id') ?? randomUUID()
  response.setHeader('X-ClickHouse-Query-Id', queryId)
  response.setHeader('X-ClickHouse-Summary', describeResult(result, performance.now() - startedAt))
  response.setHeader('Content-Type', 'text/plain; charset=UTF-8')
  response.end(result.bytes)
}

/** Statement and parameters in the fields of a form: how the client sends parameters that are too long for a URL. */
async function readForm(request: IncomingMessage, body: Buffer): Promise<[name: string, text: string][] | null> {
  const type = request.headers['content-type'] ?? ''
  if (!type.startsWith('multipart/form-data')) return null
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData()
  return [...form].map(([name, value]) => [name, String(value)])
}

/** The statement is the `query` parameter, with an INSERT's data as the body, or else the body is the whole statement. */
function readStatement(search: URLSearchParams, body: Buffer): StatementRequest {
  const query = search.get('query')
  const sql = query ?? body.toString()
  const scanned = parseInsert(sql) === null ? sql : ''
  if (hasSeveralStatements(scanned)) {
    const message = `Code: ${SYNTAX_ERROR}. DB::Exception: Multi-statements are not allowed. (SYNTAX_ERROR)`
    throw new RequestError(message, { status: 400, code: SYNTAX_ERROR })
  }
  const parameters: Record<string, string | null> = {}
  const settings: Record<string, string> = {}
  for (const [name, value] of search) {
    const parameter = /^param_(\w+)$/.exec(name)?.[1]
    if (parameter !== undefined) parameters[parameter] = readParameter(sql, parameter, value)
    else if (!NOT_A_SETTING.test(name)) settings[name] = value
  }
  return {
    sql,
    body: query === null ? Buffer.alloc(0) : body,
    database: search.get('database') ?? 'default',
    defaultFormat: search.get('default_format') ?? 'TabSeparated',
    settings,
    parameters
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) throw tooLarge()
    chunks.push(chunk)
  }
  const body = Buffer.concat(chunks)
  const encoding = request.headers['content-encoding']
  if (encoding === undefined || encoding === 'identity') return body
  if (encoding !== 'gzip') throw new RequestError(`Content-Encoding ${encoding} is not known`, { status: 415, code: 1 })
  return promisify(gunzip)(body, { maxOutputLength: BODY_BYTES_MAX })
}

function tooLarge(): RequestError {
  return new RequestError(`The body is larger than ${BODY_BYTES_MAX} bytes`, { status: 413, code: 307 })
}

function describeResult(result: StatementAnswer, elapsedMs: number): string {
  return JSON.stringify({
    read_rows: String(result.readRows),
    read_bytes: String(result.readBytes),
    written_rows: String(result.writtenRows),
    written_bytes: String(result.writtenBytes),
    total_rows_to_read: '0',
    result_rows: '0',
    result_bytes: String(result.bytes.length),
    elapsed_ns: String(Math.round(elapsedMs * 1e6))
  })
}

function sendError(response: ServerResponse, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof RequestError ? error.code : Number(/Code: (\d+)/.exec(message)?.[1] ?? 1)
  const status = error instanceof RequestError ? error.status : (STATUS_BY_CODE.get(code) ?? 500)
  response.writeHead(status, {
    'X-ClickHouse-Exception-Code': String(code),
    'Content-Type': 'text/plain; charset=UTF-8',
    ...(status === 413 && { Connection: 'close' })
  })
  response.end(`${message}\n`)
}

/** Requests that run are answered before the engine closes. */
function closeOnSignal(server: Server, engine: ChdbEngine): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      server.close(() => {
        engine.close()
        process.exit(0)
      })
      server.closeIdleConnections()
    })
  }
}

function main(): void {
  const { values } = parseArgs({ options: { port: { type: 'string' }, data: { type: 'string' } } })
  if (values.port === undefined || values.data === undefined) {
    throw new Error('usage: node stack/clickhouse-server.ts --port <port> --data <folder>')
  }
  mkdirSync(values.data, { recursive: true })
  const engine = new ChdbEngine(values.data)
  const server = buildClickHouseServer(engine)
  server.listen(Number(values.port), '127.0.0.1')
  closeOnSignal(server, engine)
}

if (import.meta.main) main()
