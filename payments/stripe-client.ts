/** The connection to Stripe's API: Stripe's own client, with every time-out stated and each request sent once. */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { Stripe } from 'stripe'

export interface StripeConnection {
  /** `sk_…`, or a restricted key `rk_…` that may read and write payment intents and refunds. */
  readonly apiKey: string
  /** Host, port and protocol are those of Stripe unless given: `127.0.0.1` is a stand-in, another name a proxy. */
  readonly host?: string
  readonly port?: number
  readonly protocol?: 'http' | 'https'
  /** Milliseconds in which nothing comes back, connecting included, until a request fails as retryable. */
  readonly timeoutMs: number
}

export function connectStripe({ apiKey, timeoutMs, protocol = 'https', host, port }: StripeConnection): Stripe {
  const Agent = protocol === 'http' ? HttpAgent : HttpsAgent
  // The client's own time-out begins when the socket is connected; the agent's bounds connecting as well.
  const agent = new Agent({ keepAlive: true, timeout: timeoutMs })
  return new Stripe(apiKey, {
    httpClient: sendingOnce(Stripe.createNodeHttpClient(agent)),
    maxNetworkRetries: 0,
    timeout: timeoutMs,
    telemetry: false,
    protocol,
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port })
  })
}

/** After these the client sends a request again, even when `maxNetworkRetries` is 0. */
const SENT_AGAIN_AFTER: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE'])

/** Retries are made by whoever collects, who counts them and waits in between: the client is not told why a connection broke. */
function sendingOnce(client: Stripe.HttpClient): Stripe.HttpClient {
  return {
    getClientName: () => client.getClientName(),
    async makeRequest(...request) {
      try {
        return await client.makeRequest(...request)
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && SENT_AGAIN_AFTER.has(error.code))) throw error
        throw new Error(`the connection broke: ${error.code}`, { cause: error })
      }
    }
  }
}
