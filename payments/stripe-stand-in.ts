/**
 * Stripe's API as far as stripe-provider.ts asks it, for tests: a server on the loopback address that keeps its charges in memory.
 * It lives in the process of the test and so outlives whatever that kills. What it makes of a request, and whether the answer
 * arrives, is for the test to say (`Turn`); what a key was answered it keeps as Stripe does, a 500 included.
 *
 *     const stripe = await startStripeStandIn(t)
 *     stripe.turnFor = () => ({ answer: Math.random() < 0.3 ? 'lost' : 'given' })
 *     new StripeProvider({ ...stripe.connection, timeoutMs: 2_000 })
 *     t.equal(stripe.charges.length, 1)
 */
import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type Answer,
  fault,
  give,
  metadataOf,
  ok,
  page,
  readRequest,
  type StandInFault,
  type StandInRequest
} from './stand-in-http.ts'

/** `declined` is the bank's code: `insufficient_funds`. */
export type Ending = 'succeeded' | { readonly declined: string }

/** What one request meets. Left out: it succeeds and is answered. */
export interface Turn {
  /** What becomes of a charge (`pending` aside) or a refund (`processing` aside), the first time it is asked for under its key. */
  readonly makes?: Ending | 'processing' | 'pending' | 'requires_action' | 'requires_confirmation'
  /**
   * `lost`: all is done, and the connection breaks instead of an answer. `held`: all is done, and the answer waits for `release()`; a
   * second request under the key is answered 409 meanwhile. A fault below 500 is answered before anything is made. One from 500 on is
   * answered after what `makes` says was made, if it says so, and stays the answer under this key.
   */
  readonly answer?: 'given' | 'lost' | 'held' | StandInFault
}

export interface StandInIntent {
  readonly id: string
  readonly object: 'payment_intent'
  /** In Stripe's units of the currency. */
  readonly amount: number
  readonly currency: string
  readonly customer: string
  readonly payment_method: string
  readonly metadata: Readonly<Record<string, string>>
  /** s. */
  readonly created: number
  /** With it anybody may confirm the payment: it is written down nowhere. */
  readonly client_secret: string
  status: string
  last_payment_error: Readonly<Record<string, string>> | null
  cancellation_reason: string | null
}

export interface StandInRefund {
  readonly id: string
  readonly object: 'refund'
  readonly payment_intent: string
  readonly amount: number
  readonly metadata: Readonly<Record<string, string>>
  readonly status: string
}

/** A body and the headers with which Stripe would post it. */
export interface SignedEvent {
  readonly body: Buffer
  readonly headers: { readonly 'stripe-signature': string }
}

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

interface KeptAnswer {
  readonly asked: string
  readonly answer: Answer
}

const API_KEY = 'sk_test_of_the_stand_in'
const WEBHOOK_SECRET = 'whsec_of_the_stand_in'

export async function startStripeStandIn(t: Teardown): Promise<StripeStandIn> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const server = createServer()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
  })
  return new StripeStandIn(server)
}

export class StripeStandIn {
  /** Asked for each request that `next` says nothing of. */
  turnFor: (request: StandInRequest) => Turn = () => ({})
  /** As they came, repeats included. */
  readonly requests: StandInRequest[] = []
  /** Every intent that was made, declined and canceled ones included. */
  readonly intents: StandInIntent[] = []
  readonly refunds: StandInRefund[] = []
  readonly #port: number
  readonly #turns: Turn[] = []
  readonly #answers = new Map<string, KeptAnswer>()
  readonly #inFlight = new Set<string | null>()
  readonly #held: (() => void)[] = []

  constructor(server: Server) {
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the stand-in listens on no port')
    this.#port = address.port
    server.on('request', (request, response) => void this.#serve(request, response))
  }

  /** For `StripeProvider`; a process under test has them by its configuration. */
  get connection() {
    const address = { host: '127.0.0.1', port: this.#port, protocol: 'http' } as const
    return { apiKey: API_KEY, webhookSecret: WEBHOOK_SECRET, ...address }
  }

  /** The intents that took money, or are about to. */
  get charges(): StandInIntent[] {
    return this.intents.filter(({ status }) => status === 'succeeded' || status === 'processing')
  }

  /** Turns of the next POST requests, in order. */
  next(...turns: Turn[]): void {
    this.#turns.push(...turns)
  }

  /** How a charge that was processing ends. */
  settle(id: string, how: Ending): void {
    end(this.#intent(id), how)
  }

  /** Gives the answers that were held. */
  release(): void {
    for (const give of this.#held.splice(0)) give()
  }

  /** As Stripe does after a day. */
  forgetKeys(): void {
    this.#answers.clear()
  }

  /** An event of any type about an intent as it stands, or about `object`, signed as Stripe signs. `at` is when, in ms. */
  webhook({
    type,
    intentId,
    object = this.#intent(intentId),
    at = Date.now(),
    secret = WEBHOOK_SECRET,
    scheme = 'v1'
  }: {
    readonly type: string
    readonly intentId: string
    readonly object?: object
    readonly at?: number
    readonly secret?: string
    readonly scheme?: string
  }): SignedEvent {
    const event = { id: `evt_${type}_${intentId}`, object: 'event', type, data: { object } }
    const body = JSON.stringify(event)
    const seconds = Math.floor(at / 1_000)
    const signature = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')
    return { body: Buffer.from(body), headers: { 'stripe-signature': `t=${seconds},${scheme}=${signature}` } }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await readRequest(request)
    if (asked === null) return
    this.requests.push(asked)
    if (request.headers.authorization !== `Bearer ${API_KEY}`) return give(response, fault({ status: 401 }))
    const turn = (asked.method === 'POST' ? this.#turns.shift() : undefined) ?? this.turnFor(asked)
    if (typeof turn.answer === 'object' && turn.answer.status < 500) return give(response, fault(turn.answer))
    const answer = this.#answerUnderKey(asked, turn)
    if (turn.answer === 'lost') return void request.socket.destroy()
    if (turn.answer !== 'held') return give(response, answer)
    const done = () => {
      this.#inFlight.delete(asked.idempotencyKey)
    }
    this.#inFlight.add(asked.idempotencyKey)
    response.on('close', done)
    this.#held.push(() => {
      done()
      give(response, answer)
    })
  }

  #answerUnderKey(asked: StandInRequest, turn: Turn): Answer {
    const { idempotencyKey: key } = asked
    if (key === null) return this.#answerOf(asked, turn)
    if (this.#inFlight.has(key))
      return fault({ status: 409, type: 'idempotency_error', code: 'idempotency_key_in_use' })
    const spelt = `${asked.path}?${asked.parameters}`
    const kept = this.#answers.get(key)
    if (kept !== undefined)
      return kept.asked === spelt ? kept.answer : fault({ status: 400, type: 'idempotency_error' })
    const answer = this.#answerOf(asked, turn)
    // What is refused before it is begun is not kept: the same key may be used again.
    if (answer.status < 400 || answer.status === 402 || answer.status >= 500)
      this.#answers.set(key, { asked: spelt, answer })
    return answer
  }

  #answerOf(asked: StandInRequest, turn: Turn): Answer {
    const isFault = typeof turn.answer === 'object'
    if (isFault && turn.makes === undefined) return fault(turn.answer)
    const [, , noun, id, verb] = asked.path.split('/')
    const intent = this.intents.find((one) => one.id === (id ?? asked.parameters.get('payment_intent')))
    const answer = this.#act([asked.method, noun, id && ':id', verb].filter(Boolean).join(' '), { asked, turn, intent })
    return isFault ? fault(turn.answer) : answer
  }

  #act(
    what: string,
    { asked, turn, intent }: { asked: StandInRequest; turn: Turn; intent: StandInIntent | undefined }
  ): Answer {
    const { parameters } = asked
    if (what === 'POST payment_intents') return this.#charge(parameters, turn.makes ?? 'succeeded')
    if (what === 'GET payment_intents') {
      const since = Number(parameters.get('created[gte]') ?? 0)
      const isListed = ({ customer, created }: StandInIntent) =>
        customer === parameters.get('customer') && created >= since
      return page(this.intents.filter(isListed), parameters)
    }
    if (intent === undefined) return fault({ status: 404, code: 'resource_missing', param: 'intent' })
    if (what === 'GET payment_intents :id') return ok(intent)
    if (what === 'POST payment_intents :id cancel') return cancel(intent, parameters.get('cancellation_reason'))
    const refunds = this.refunds.filter((refund) => refund.payment_intent === intent.id)
    if (what === 'GET refunds') return page(refunds, parameters)
    if (what !== 'POST refunds') return fault({ status: 404 })
    const left = refunds.reduce((sum, { amount }) => sum - amount, intent.amount)
    if (left < Number(parameters.get('amount'))) return fault({ status: 400, code: 'charge_already_refunded' })
    return this.#refund(parameters, turn.makes ?? 'succeeded')
  }

  #charge(parameters: URLSearchParams, makes: NonNullable<Turn['makes']>): Answer {
    const id = `pi_${this.intents.length + 1}`
    const intent: StandInIntent = {
      id,
      object: 'payment_intent',
      amount: Number(parameters.get('amount')),
      currency: parameters.get('currency') ?? '',
      customer: parameters.get('customer') ?? '',
      payment_method: parameters.get('payment_method') ?? '',
      metadata: metadataOf(parameters),
      created: Math.floor(Date.now() / 1_000),
      client_secret: `${id}_secret`,
      status: 'requires_confirmation',
      last_payment_error: null,
      cancellation_reason: null
    }
    this.intents.push(intent)
    end(intent, makes)
    if (intent.last_payment_error === null) return ok(intent)
    return { status: 402, text: JSON.stringify({ error: { ...intent.last_payment_error, payment_intent: intent } }) }
  }

  #refund(parameters: URLSearchParams, makes: NonNullable<Turn['makes']>): Answer {
    const refund: StandInRefund = {
      id: `re_${this.refunds.length + 1}`,
      object: 'refund',
      payment_intent: parameters.get('payment_intent') ?? '',
      amount: Number(parameters.get('amount')),
      metadata: metadataOf(parameters),
      status: typeof makes === 'object' ? 'failed' : makes,
      ...(typeof makes === 'object' ? { failure_reason: makes.declined } : {})
    }
    this.refunds.push(refund)
    return ok(refund)
  }

  #intent(id: string): StandInIntent {
    const intent = this.intents.find((one) => one.id === id)
    if (intent === undefined) throw new Error(`the stand-in has made no ${id}`)
    return intent
  }
}

function end(intent: StandInIntent, makes: NonNullable<Turn['makes']>): void {
  if (typeof makes === 'string') {
    intent.status = makes
    return
  }
  const { declined } = makes
  // Some of the bank's codes are Stripe's codes as well; all others are one.
  const code = ['authentication_required', 'expired_card'].includes(declined) ? declined : 'card_declined'
  intent.status = 'requires_payment_method'
  intent.last_payment_error = { type: 'card_error', code, decline_code: declined, message: 'Your card was declined.' }
}

function cancel(intent: StandInIntent, reason: string | null): Answer {
  if (['succeeded', 'canceled', 'processing'].includes(intent.status))
    return fault({ status: 400, code: 'payment_intent_unexpected_state', payment_intent: intent })
  intent.status = 'canceled'
  intent.cancellation_reason = reason
  return ok(intent)
}
