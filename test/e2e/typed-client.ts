/** The API as a client in TypeScript has it: types generated from the OpenAPI document, fetch underneath, no code of ours. */
import { setTimeout as delay } from 'node:timers/promises'
import createClient, { type Client } from 'openapi-fetch'
import type { paths } from './api-types.d.ts'

export type TypedClient = Client<paths>

const BUSY_TRIES_MAX = 10

export function connectClient(url: string, key: string): TypedClient {
  return createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${key}` }, fetch: askAgainWhenBusy })
}

/** What the API is too busy for is asked again, as its Retry-After says. */
async function askAgainWhenBusy(request: Request): Promise<Response> {
  for (let tries = 1; ; tries++) {
    const response = await fetch(request.clone())
    const isTooBusy = response.status === 503 && (await response.clone().text()).includes('"overloaded"')
    if (!isTooBusy || tries === BUSY_TRIES_MAX) return response
    await delay(1_000 * Number(response.headers.get('retry-after')))
  }
}

interface Answered<T> {
  readonly data?: T
  readonly error?: unknown
  readonly response: Response
}

/** What a request was answered. Throws with the problem when it was refused. */
export function told<T>({ data, error, response }: Answered<T>): T {
  if (data !== undefined) return data
  throw new Error(`${response.url} answered ${response.status}: ${JSON.stringify(error)}`)
}

/** Status and code of a refusal: `409 plan-not-available` for instance; only the status of what was no refusal. */
export function refusalOf({ error, response }: Answered<unknown>): string {
  const isProblem = typeof error === 'object' && error !== null && 'code' in error
  return isProblem ? `${response.status} ${error.code}` : String(response.status)
}
