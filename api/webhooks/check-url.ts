/**
 * Whether a URL may be registered: by itself, and by the addresses that its host has now. This tells a customer at once what would
 * fail; what keeps requests out of the network is the same question at each connection (ingest/webhooks/post-webhook.ts).
 */
import type { ResolveHost } from '../../domain/webhooks/delivery-queue.ts'
import { judgeUrl, REFUSED_HOST, type UrlRules } from '../../domain/webhooks/endpoint-url.ts'
import { isPublicAddress } from '../../domain/webhooks/public-address.ts'
import { ProblemError } from '../problem.ts'

export interface WebhookUrls extends UrlRules {
  readonly resolveHost: ResolveHost
}

/** The URL as it is kept. Throws 400. */
export async function checkUrl(text: string, urls: WebhookUrls): Promise<string> {
  const judged = judgeUrl(text, urls)
  if (judged.fault !== undefined) throw urlFault(judged.fault)
  const { url, host } = judged
  if (host === null || urls.allowPrivate) return url
  const addresses = await addressesOf(host, urls)
  if (addresses.length === 0 || !addresses.every(isPublicAddress)) throw urlFault(REFUSED_HOST)
  return url
}

async function addressesOf(host: string, { resolveHost }: WebhookUrls): Promise<readonly string[]> {
  try {
    return await resolveHost(host)
  } catch (error) {
    if (error instanceof Error && 'code' in error) throw urlFault('must name a host that has an address', error)
    throw error
  }
}

function urlFault(message: string, cause?: Error): ProblemError {
  return new ProblemError('validation-failed', 'See `errors`.', { errors: [{ field: 'url', message }], cause })
}
