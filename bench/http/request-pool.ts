/** HTTP over connections that stay open, to one server or several in turn. Node's fetch takes several times the processor for a request. */
import { type Dispatcher, Pool } from 'undici'

export interface RequestPoolOptions {
  /** Origins, `http://127.0.0.1:8080` for instance: the n-th request goes to the n-th of them, and round again. */
  readonly targets: readonly string[]
  /** To each target. */
  readonly connections: number
  /** Requests on their way on one connection. With 1, none waits behind another one's answer. */
  readonly pipelining: number
}

export interface PostedRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface HttpAnswer {
  readonly status: number
  /** The body as it came; `Buffer.concat` and decode it when it is wanted. */
  readonly chunks: readonly Buffer[]
}

/** A server that says nothing for so long is away. */
const ANSWER_TIMEOUT_MS = 30_000
/** No connection is made again within a run because of a pause in it. */
const KEEP_ALIVE_MS = 60_000

export class RequestPool {
  readonly #pools: readonly Pool[]
  #turn = 0

  constructor({ targets, connections, pipelining }: RequestPoolOptions) {
    if (targets.length === 0) throw new RangeError('there is no server to ask')
    this.#pools = targets.map((target) => {
      return new Pool(target, {
        connections,
        pipelining,
        headersTimeout: ANSWER_TIMEOUT_MS,
        bodyTimeout: ANSWER_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS
      })
    })
  }

  /** Posts it. Rejects when there is no answer; any answer that there is resolves. */
  post({ path, headers, body }: PostedRequest): Promise<HttpAnswer> {
    const pool = this.#pools[this.#turn++ % this.#pools.length]
    return new Promise((resolve, reject) => {
      pool?.dispatch({ method: 'POST', path, headers, body }, new AnswerReader(resolve, reject))
    })
  }

  /** Drops what is still on its way. */
  async close(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.destroy()))
  }
}

class AnswerReader implements Dispatcher.DispatchHandler {
  readonly #resolve: (answer: HttpAnswer) => void
  readonly #reject: (error: Error) => void
  readonly #chunks: Buffer[] = []
  #status = 0

  constructor(resolve: (answer: HttpAnswer) => void, reject: (error: Error) => void) {
    this.#resolve = resolve
    this.#reject = reject
  }

  onRequestStart(): void {
    // Required by undici of every handler.
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number): void {
    this.#status = status
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    this.#resolve({ status: this.#status, chunks: this.#chunks })
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#reject(error)
  }
}
