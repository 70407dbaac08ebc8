/**
 * The URL of an endpoint, as far as it can be judged by itself. A host name is judged again by the addresses that it has, when it is
 * registered and each time a connection is made: what it means may change between the two.
 */
import { isPublicAddress } from './public-address.ts'

export const URL_LENGTH_MAX = 2_048

/** Top-level names that no public name server answers for. */
const PRIVATE_NAMES = ['localhost', 'local', 'internal', 'intranet', 'lan', 'home', 'corp', 'private', 'arpa'] as const

export interface UrlRules {
  /** For tests and development: http, and addresses of any kind. */
  readonly allowPrivate: boolean
}

/** `host` is the name to look up; null: the URL has an address in it, which was judged. */
export type JudgedUrl =
  | { readonly url: string; readonly host: string | null; readonly fault?: never }
  | { readonly fault: string }

export function judgeUrl(text: string, { allowPrivate }: UrlRules): JudgedUrl {
  const url = URL.parse(text)
  if (url === null || text.length > URL_LENGTH_MAX) return { fault: 'must be an absolute URL' }
  if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:'))
    return { fault: 'must begin with https' }
  if (url.username !== '' || url.password !== '') return { fault: 'must have no user and no password in it' }
  if (url.hash !== '') return { fault: 'must have no fragment' }
  const host = hostOf(url)
  const isAddress = isIpLiteral(host)
  if (!allowPrivate && (isAddress ? !isPublicAddress(host) : isPrivateName(host))) return { fault: REFUSED_HOST }
  return { url: url.href, host: isAddress ? null : host }
}

export const REFUSED_HOST = 'must lead to a public address'

/** Without the brackets of IPv6 and the dot that may end a name. URL has made plain whatever was octal, hexadecimal or full-width. */
export function hostOf({ hostname }: URL): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname.replace(/\.$/, '')
}

function isIpLiteral(host: string): boolean {
  return host.includes(':') || /^[\d.]+$/.test(host)
}

function isPrivateName(host: string): boolean {
  const [last = '', ...others] = host.split('.').toReversed()
  return others.length === 0 || PRIVATE_NAMES.some((name) => name === last)
}
