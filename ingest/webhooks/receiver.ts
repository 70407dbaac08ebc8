// A receiver of webhooks for tests: a real server on the loopback address that notes what it is sent.

import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Receiver {
  readonly port: number
  /** In the order of their arrival. */
  readonly received: readonly Received[]
}

interface Teardown {
  teardown(handler: () => Promise<void>): void
}

/** Status to answer; null: hang up without an answer. */
type Answer = (request: Received, count: number) => number | null

/** `count` is 1 for the first request. */
export async function startReceiver(t: Teardown, answer: Answer = () => 204): Promise<Receiver> {
  const received: Received[] = []
  return listen(t, { received, server: createServer(noting(received, answer)) })
}

/** The same over TLS, under the name that `CERTIFICATE` is for. */
export async function startTlsReceiver(t: Teardown): Promise<Receiver> {
  const received: Received[] = []
  const server = createTlsServer(
    { cert: CERTIFICATE, key: KEY },
    noting(received, () => 204)
  )
  return listen(t, { received, server })
}

/** The headers as the verifying library takes them. */
export function signedHeaders({ headers }: Received): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

function noting(received: Received[], answer: Answer): RequestListener {
  return async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk))
    const { url: path = '', headers } = request
    const one = { path, headers, body: Buffer.concat(chunks).toString() }
    received.push(one)
    const status = answer(one, received.length)
    if (status === null) request.socket.destroy()
    else response.writeHead(status, { location: '/elsewhere' }).end('x'.repeat(status === 204 ? 0 : 100_000))
  }
}

async function listen(
  t: Teardown,
  { server, received }: { readonly server: Server; readonly received: readonly Received[] }
): Promise<Receiver> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the receiver listens on no port')
  return { port: address.port, received }
}

export const RECEIVER_HOST = 'receiver.example.test'

/** Made for tests, trusted by nobody, and good for a hundred years. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBVfXd2w95EkbSbp+
zaseaV3eraHE+6gnf5LIMPhejbehRANCAATf4tl/+jiOq2p8PgQ/5ixyLUmdMcTB
1yU7tCdO2iajmM0h+Qqaps6zwPCVSR37I/eoq+5nahUCOBObcilK8mn1
-----END PRIVATE KEY-----
`
export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVyZWNlaXZl
ci5leGFtcGxlLnRlc3QwIBcNMjUwMTAxMDAwMDAwWhgPMjEyNTAxMDEwMDAwMDBa
MCAxHjAcBgNVBAMMFXJlY2VpdmVyLmV4YW1wbGUudGVzdDBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABN/i2X/6OI6ranw+BD/mLHItSZ0xxMHXJTu0J07aJqOYzSH5
CpqmzrPA8JVJHfsj96ir7mdqFQI4E5tyKUryafWjVDBSMCAGA1UdEQQZMBeCFXJl
Y2VpdmVyLmV4YW1wbGUudGVzdDAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBTF
QoYHzMo0afYWPvfSWYRd3F8EsjAKBggqhkjOPQQDAgNIADBFAiA/IGLSkf3Z9JGS
pK/Meo/aICe+O/nKNeYeQkZGxDq4jwIhAMfNjcL9iVlKQiN39kLpuyZj/d1Zd8rT
MwWGQV4sR2lu
-----END CERTIFICATE-----
`
