import { connect, createServer } from 'node:net'

/**
 * Ports are taken below 32768, outside the range from which Linux gives outgoing connections theirs. Inside it, a client
 * that keeps reconnecting to a killed server can take the server's own port, or even connect to itself.
 */
const LOWEST_PORT = 20_000
const HIGHEST_PORT = 32_000
const ATTEMPTS_MAX = 200

export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (HIGHEST_PORT - LOWEST_PORT))
    if (await isPortFree(port)) return port
  }
  throw new Error(`no free port on 127.0.0.1 between ${LOWEST_PORT} and ${HIGHEST_PORT} in ${ATTEMPTS_MAX} attempts`)
}

export async function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** Sends `request` to a port of this machine and resolves with the first bytes of the answer. */
export async function askPort(port: number, request: string, timeoutMs = 2_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(request))
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`port ${port} did not answer in ${timeoutMs} ms`)))
    socket.once('data', (bytes) => {
      resolve(bytes.toString())
      socket.destroy()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`port ${port} closed the connection without an answer`)))
  })
}
