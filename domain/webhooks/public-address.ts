/**
 * Whether an IP address may be posted to. A customer chooses the URL and our network sends the request: were private addresses
 * let through, a webhook would reach metadata services, databases and neighbours that trust who is inside.
 */
const IPV4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/

interface Network {
  readonly base: bigint
  /** Bits that are not looked at. */
  readonly hostBits: bigint
}

/** Everything that is not globally reachable unicast by the IANA registry of special-purpose addresses. */
const REFUSED_IPV4 = [
  '0.0.0.0/8', // this network
  '10.0.0.0/8', // private
  '100.64.0.0/10', // carrier-grade NAT, and the metadata service of a cloud
  '127.0.0.0/8', // loopback
  '168.63.129.16/32', // a cloud's host agent, on a public address
  '169.254.0.0/16', // link-local, and the metadata service of most clouds
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/3' // multicast, reserved, broadcast
].map(networkOf)

/** Only this part of IPv6 is given out for the public network: loopback, mapped IPv4, NAT64, fc00::/7, fe80::/10, ff00::/8 lie outside. */
const PUBLIC_IPV6 = networkOf('2000::/3')
/** Inside of it, what leads to an IPv4 address or to nobody. */
const REFUSED_IPV6 = [
  '2001::/23', // protocol assignments, Teredo among them
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '3fff::/20' // documentation
].map(networkOf)

/** False also for what is no address, or one with a zone. */
export function isPublicAddress(address: string): boolean {
  const ipv4 = parseIpv4(address)
  if (ipv4 !== null) return !REFUSED_IPV4.some((network) => contains(network, ipv4))
  const ipv6 = parseIpv6(address)
  if (ipv6 === null || !contains(PUBLIC_IPV6, ipv6)) return false
  return !REFUSED_IPV6.some((network) => contains(network, ipv6))
}

function contains({ base, hostBits }: Network, address: bigint): boolean {
  return base >> hostBits === address >> hostBits
}

function networkOf(notation: string): Network {
  const [address = '', length] = notation.split('/')
  const ipv4 = parseIpv4(address)
  const base = ipv4 ?? parseIpv6(address)
  if (base === null) throw new Error(`${notation} is no network`)
  return { base, hostBits: BigInt((ipv4 === null ? 128 : 32) - Number(length)) }
}

function parseIpv4(address: string): bigint | null {
  const parts = IPV4.exec(address)?.slice(1).map(Number)
  if (parts === undefined || parts.some((part) => part > 255)) return null
  return parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n)
}

/** Through URL, which refuses what is no address and writes each in one way: groups without an IPv4 tail, one `::` at most. */
function parseIpv6(address: string): bigint | null {
  if (!/^[\da-f:.]+$/i.test(address) || !address.includes(':')) return null
  const parsed = URL.parse(`http://[${address}]/`)
  if (parsed === null) return null
  const [head = '', tail] = parsed.hostname.slice(1, -1).split('::')
  const [before, after] = [groupsOf(head), groupsOf(tail ?? '')]
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0n)
  return [...before, ...zeros, ...after].reduce((sum, group) => (sum << 16n) | group, 0n)
}

function groupsOf(text: string): bigint[] {
  return text === '' ? [] : text.split(':').map((group) => BigInt(`0x${group}`))
}
