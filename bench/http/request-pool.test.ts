import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import t from 'tap'
import { RequestPool } from './request-pool.ts'

async function serve(t: { teardown(handler: () => void): void }, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.closeAllConnections())
  t.teardown(() => server.close())
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
}

const REQUEST = { path: '/echo', headers: { 'content-type': 'text/plain' }, body: 'hello' }

t.test('a request arrives as it is, and so does its answer, whatever its status', async (t) => {
  const target = await serve(t, (request, response) => {
    request.setEncoding('utf8')
    request.once('data', (body) => {
      response.writeHead(429).end(`${request.method} ${request.url} ${request.headers['content-type']} ${body}`)
    })
  })
  const pool = new RequestPool({ targets: [target], connections: 1, pipelining: 1 })
  t.teardown(() => pool.close())
  const { status, chunks } = await pool.post(REQUEST)
  t.equal(status, 429)
  t.equal(Buffer.concat(chunks).toString(), 'POST /echo text/plain hello')
})

t.test('several servers are asked in turn, over no more connections than stated', async (t) => {
  const asked = [0, 0]
  const connections = [new Set(), new Set()]
  const targets = await Promise.all(
    asked.map((_, server) =>
      serve(t, (request, response) => {
        asked[server] = (asked[server] ?? 0) + 1
        connections[server]?.add(request.socket)
        request.resume().once('end', () => response.end())
      })
    )
  )
  const pool = new RequestPool({ targets, connections: 3, pipelining: 1 })
  t.teardown(() => pool.close())
  await Promise.all(Array.from({ length: 40 }, () => pool.post(REQUEST)))
  t.same(asked, [20, 20])
  for (const { size } of connections) t.ok(size >= 1 && size <= 3, `${size} connections`)
})

t.test('a server that hangs up is an error and not an answer', async (t) => {
  const target = await serve(t, (request) => request.socket.destroy())
  const pool = new RequestPool({ targets: [target], connections: 1, pipelining: 1 })
  t.teardown(() => pool.close())
  await t.rejects(pool.post(REQUEST))
})
