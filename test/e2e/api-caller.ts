/** Calls one API process over HTTP, as a service of the platform does. */
import { setTimeout as delay } from 'node:timers/promises'
import type { UsageEnvelope } from './usage-envelope.ts'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** One limit, as checks, holds and balances tell it. */
export interface LimitTold {
  readonly id: string
  readonly limit: number
  readonly used: number
  readonly held: number
  readonly remaining: number
  readonly resetsAt: string
  readonly unknown: string | null
}

export interface CheckTold {
  readonly allowed: boolean
  readonly source: string
  readonly limits: readonly LimitTold[]
}

export interface ProblemTold {
  readonly code: string
  readonly rejection?: string
  readonly binding?: string
  readonly why?: string
  readonly errors?: readonly { readonly field: string; readonly message: string }[]
}

/** An answer per record of a batch, or the problem of a batch of which nothing was taken. */
export interface BatchTold {
  readonly accepted: number
  readonly rejected: number
  readonly results: readonly { readonly status: string; readonly code?: string; readonly field?: string }[]
}

export interface UsageTold {
  readonly data: readonly Readonly<Record<string, string | null>>[]
}

export interface HoldAsk {
  readonly holdId: string
  readonly customerId: string
  readonly model: string
  readonly tokens: Readonly<Record<string, number>>
  readonly ttlSeconds: number
}

const ANSWER_TIMEOUT_MS = 30_000
const BUSY_TRIES_MAX = 10

/** The JSON of an answer. What it holds is what the caller expects; the tests compare it. */
export function told<T>({ text }: Answer): T {
  return JSON.parse(text)
}

export class ApiCaller {
  readonly url: string
  readonly key: string

  constructor(url: string, key: string) {
    this.url = url
    this.key = key
  }

  async send(method: string, path: string, body?: object): Promise<Answer> {
    return this.sendBytes(method, path, body === undefined ? null : JSON.stringify(body))
  }

  /** A body as it is, which may be no JSON at all. What the API is too busy for is asked again, as its Retry-After says. */
  async sendBytes(method: string, path: string, body: string | Buffer | null): Promise<Answer> {
    for (let tries = 1; ; tries++) {
      const answer = await this.#sendOnce(method, path, body)
      const isTooBusy = answer.status === 503 && told<ProblemTold>(answer).code === 'overloaded'
      if (!isTooBusy || tries === BUSY_TRIES_MAX) return answer
      await delay(1_000 * Number(answer.headers.get('retry-after')))
    }
  }

  async #sendOnce(method: string, path: string, body: string | Buffer | null): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.key}`,
        ...(body === null ? {} : { 'content-type': 'application/json' })
      },
      body: typeof body === 'string' || body === null ? body : new Uint8Array(body),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    })
    return { status: response.status, headers: response.headers, text: await response.text() }
  }

  /** Throws unless they are in force. */
  async putLimits(customerId: string, limits: readonly object[], timeZone = 'UTC'): Promise<void> {
    expectStatus(await this.send('PUT', `/v1/customers/${customerId}/limits`, { timeZone, limits }), [200, 201])
  }

  /** Throws unless the broker has every one. */
  async postEvents(events: readonly UsageEnvelope[]): Promise<void> {
    const answer = await this.send('POST', '/v1/usage-events', events)
    expectStatus(answer, [202])
    if (told<BatchTold>(answer).rejected > 0) throw new Error(`an event was rejected: ${answer.text}`)
  }

  check(ask: object): Promise<Answer> {
    return this.send('POST', '/v1/quota/check', ask)
  }

  hold(ask: HoldAsk): Promise<Answer> {
    return this.send('POST', '/v1/quota/holds', ask)
  }

  balance(customerId: string, userId?: string): Promise<Answer> {
    return this.send('GET', `/v1/customers/${customerId}/balance${userId === undefined ? '' : `?userId=${userId}`}`)
  }

  /** Where one limit stands; undefined while the meter can't know it. */
  async standing(customerId: string, limitId: string, userId?: string): Promise<LimitTold | undefined> {
    const answer = await this.balance(customerId, userId)
    if (answer.status !== 200) return undefined
    const limit = told<{ limits: readonly LimitTold[] }>(answer).limits.find(({ id }) => id === limitId)
    return limit?.unknown === null ? limit : undefined
  }

  /** Tokens of a customer in the analytics store, from a day ago to an hour ahead. */
  async usedTokens(customerId: string): Promise<number> {
    const answer = await this.send('GET', `/v1/usage?${usageQuery({ customerId, grain: 'all' })}`)
    expectStatus(answer, [200])
    return Number(told<UsageTold>(answer).data[0]?.tokens ?? 0)
  }
}

/** The query of `GET /v1/usage` over the time in which tests use tokens. */
export function usageQuery(asked: Readonly<Record<string, string>>): string {
  const now = Date.now()
  const from = new Date(now - 86_400_000).toISOString()
  const to = new Date(now + 3_600_000).toISOString()
  return String(new URLSearchParams({ from, to, ...asked }))
}

function expectStatus({ status, text }: Answer, expected: readonly number[]): void {
  if (!expected.includes(status)) throw new Error(`answered ${status} instead of ${expected.join(' or ')}: ${text}`)
}
