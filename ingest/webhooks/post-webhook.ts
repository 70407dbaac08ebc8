/**
 * One attempt: a POST with the signature of Standard Webhooks. What is asked to connect to is decided by strangers, so that the URL
 * is judged again here, and each address at the moment of connecting, in the look-up of the socket itself: a name that had a public
 * address when it was registered, or a moment ago, has no other way in. Redirects are not followed.
 */
import { lookup } from 'node:dns/promises'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { PostWebhook, ResolveHost } from '../../domain/webhooks/delivery-queue.ts'
import { judgeUrl, type UrlRules } from '../../domain/webhooks/endpoint-url.ts'
import { isPublicAddress } from '../../domain/webhooks/public-address.ts'
import { signatureHeaders } from '../../domain/webhooks/signature.ts'
import type { Attempt, DeliveryFault, DueDelivery } from '../../domain/webhooks/webhook-delivery.ts'

/** From the look-up to the end of the answer. */
const TIMEOUT_MS = 10_000
/** Nobody reads an answer: so much of it is let come, so that the receiver need not see a broken connection. */
const ANSWER_BYTES_MAX = 4_096
const GONE = 410
const USER_AGENT = 'tokenmeter-webhooks/1'

export interface PostOptions extends UrlRules {
  /** The system's, unless told. */
  readonly resolveHost?: ResolveHost
  readonly timeoutMs?: number
  /** PEM of a certificate authority beside the public ones; for tests. */
  readonly authority?: string
}

export async function resolveBySystem(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}

/** No connection is kept: what a receiver's name means is asked each time. */
export function webhookPost(options: PostOptions): PostWebhook {
  return async (delivery) => {
    try {
      const judged = judgeUrl(delivery.url, options)
      if (judged.fault !== undefined) throw new RefusedAddressError(judged.fault)
      const response = await send(new URL(judged.url), delivery, options)
      await readSome(response)
      return outcomeOf(response.statusCode ?? 0)
    } catch (error) {
      return { delivered: false, status: null, fault: faultOf(error) }
    }
  }
}

function send(url: URL, { eventId, payload, secrets }: DueDelivery, options: PostOptions): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const request = url.protocol === 'https:' ? requestHttps : requestHttp
  const body = Buffer.from(payload)
  request(url, {
    method: 'POST',
    agent: false,
    headers: {
      ...signatureHeaders({ id: eventId, at: Date.now(), payload }, secrets),
      'content-type': 'application/json',
      'content-length': body.length,
      'user-agent': USER_AGENT
    },
    lookup: guardedLookup(options),
    signal: AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS),
    ...(options.authority === undefined ? {} : { ca: options.authority })
  })
    .once('response', resolve)
    .on('error', reject)
    .end(body)
  return promise
}

async function readSome(response: IncomingMessage): Promise<void> {
  let bytes = 0
  for await (const chunk of response) {
    bytes += Buffer.byteLength(chunk)
    if (bytes > ANSWER_BYTES_MAX) return
  }
}

/** One private address among public ones refuses the host: whoever answers so is not to be trusted with the choice. */
function guardedLookup({ allowPrivate, resolveHost = resolveBySystem }: PostOptions): LookupFunction {
  const resolve = async (host: string) => {
    const addresses = await resolveHost(host)
    if (!(allowPrivate || addresses.every(isPublicAddress))) throw new RefusedAddressError(`${host} is not public`)
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  }
  return (host, { all }, callback) => {
    resolve(host).then(
      (addresses) => {
        const [first] = addresses
        if (first === undefined) callback(new RefusedAddressError(`${host} has no address`), '')
        else if (all === true) callback(null, addresses)
        else callback(null, first.address, first.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, '')
    )
  }
}

function outcomeOf(status: number): Attempt {
  if (status >= 200 && status < 300) return { delivered: true, status }
  return { delivered: false, status, fault: status === GONE ? 'gone' : 'status-not-2xx' }
}

class RefusedAddressError extends Error {
  readonly code = 'address-refused'
}

const FAULT_OF_CODE: Readonly<Record<string, DeliveryFault>> = {
  'address-refused': 'address-refused',
  ENOTFOUND: 'host-unknown',
  EAI_AGAIN: 'host-unknown',
  EAI_FAIL: 'host-unknown',
  ETIMEDOUT: 'timed-out'
}
/** OpenSSL's names of what is wrong with a certificate, and Node's own. */
const CERTIFICATE_CODE = /^(ERR_TLS_|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_)/

/** An error without a code is none of the network's: a defect, thrown on. */
function faultOf(error: unknown): DeliveryFault {
  if (!(error instanceof Error)) throw error
  if (isTimeout(error)) return 'timed-out'
  const { code } = error as NodeJS.ErrnoException
  if (typeof code !== 'string') throw error
  if (CERTIFICATE_CODE.test(code)) return 'certificate-refused'
  return FAULT_OF_CODE[code] ?? 'connection-failed'
}

function isTimeout({ name, cause }: Error): boolean {
  return name === 'TimeoutError' || name === 'AbortError' || (cause instanceof Error && cause.name === 'TimeoutError')
}
