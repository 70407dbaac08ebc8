// What stripe-stand-in.ts reads and answers by HTTP: forms in, JSON out, lists and errors in Stripe's shapes.

import type { IncomingMessage, ServerResponse } from 'node:http'

export interface StandInRequest {
  readonly method: string
  /** Without its query: `/v1/payment_intents`. */
  readonly path: string
  readonly idempotencyKey: string | null
  /** Of the query or the body, spelt as Stripe has them: `metadata[paymentId]`. */
  readonly parameters: URLSearchParams
}

export interface StandInFault {
  readonly status: number
  readonly code?: string
  readonly type?: string
  readonly param?: string
  readonly payment_intent?: unknown
}

/** As text, so that what is kept under a key stays what it was. */
export interface Answer {
  readonly status: number
  readonly text: string
}

/** Null: who asked died while asking. */
export async function readRequest(request: IncomingMessage): Promise<StandInRequest | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>()
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => resolve(Buffer.concat(chunks).toString()))
  request.on('close', () => resolve(null))
  const body = await promise
  if (body === null) return null
  const { pathname, search } = new URL(request.url ?? '', 'http://stand-in')
  const { method = '', headers } = request
  const key = headers['idempotency-key']
  return {
    method,
    path: pathname,
    idempotencyKey: typeof key === 'string' ? key : null,
    parameters: new URLSearchParams(method === 'POST' ? body : search)
  }
}

export function metadataOf(parameters: URLSearchParams): Record<string, string> {
  const named = [...parameters].map(([name, value]) => [/^metadata\[(\w+)\]$/.exec(name)?.[1] ?? '', value] as const)
  return Object.fromEntries(named.filter(([name]) => name !== ''))
}

/** The newest first, as Stripe lists. */
export function page(rows: readonly { readonly id: string }[], parameters: URLSearchParams): Answer {
  const newest = rows.toReversed()
  const start = newest.findIndex(({ id }) => id === parameters.get('starting_after')) + 1
  const end = start + Number(parameters.get('limit') ?? 10)
  return ok({ object: 'list', data: newest.slice(start, end), has_more: end < newest.length, url: '/v1/list' })
}

export function ok(body: unknown): Answer {
  return { status: 200, text: JSON.stringify(body) }
}

export function fault({ status, ...error }: StandInFault): Answer {
  const type = status < 500 ? 'invalid_request_error' : 'api_error'
  return { status, text: JSON.stringify({ error: { type, message: `A fault of ${status}.`, ...error } }) }
}

export function give(response: ServerResponse, { status, text }: Answer): void {
  if (!response.destroyed) response.writeHead(status, { 'content-type': 'application/json' }).end(text)
}
