import Fastify from 'fastify'
import t from 'tap'
import { handleError } from '../problem.ts'
import { answerInTime } from './answer-in-time.ts'

/** Longer than any test waits. */
const PATIENT_MS = 60_000

interface Teardown {
  teardown(handler: () => unknown): void
}

/** Its routes answer when the test says so; those at `/hasty` are given 1 ms for it. */
async function start(t: Teardown, lines: string[] = []) {
  const answer = Promise.withResolvers<{ readonly late: boolean }>()
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => lines.push(line) } } })
  app.setErrorHandler(handleError)
  answerInTime(app, PATIENT_MS)
  const hasty = { config: { answerWithinMs: 1 } } as const
  app.get('/hasty', hasty, () => answer.promise)
  app.post('/hasty', hasty, () => answer.promise)
  app.get('/patient', () => answer.promise)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  return { url, answer }
}

t.test('what is not answered in time is 503 with Retry-After, whether or not it has a body', async (t) => {
  const lines: string[] = []
  const { url, answer } = await start(t, lines)
  const json = { 'content-type': 'application/json' }
  for (const request of [{}, { method: 'POST' }, { method: 'POST', headers: json, body: '{"of":"some length"}' }]) {
    const response = await fetch(`${url}/hasty`, request)
    t.equal(response.status, 503)
    t.equal(response.headers.get('retry-after'), '5')
    t.match(await response.json(), { code: 'timed-out' })
  }
  t.match(lines[0], 'GET /hasty did not answer within 1 ms')
  answer.resolve({ late: true })
})

t.test('the answer of a handler that was given up is dropped, and the connection goes on', async (t) => {
  const { url, answer } = await start(t)
  t.equal((await fetch(`${url}/hasty`)).status, 503)
  answer.resolve({ late: true })
  const next = await fetch(`${url}/patient`)
  t.same([next.status, await next.json()], [200, { late: true }])
})

t.test('a route may take longer than another one', async (t) => {
  const { url, answer } = await start(t)
  const patient = fetch(`${url}/patient`)
  t.equal((await fetch(`${url}/hasty`)).status, 503)
  answer.resolve({ late: false })
  t.equal((await patient).status, 200)
})

t.test('an answer that is half out is broken off', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  answerInTime(app, 1)
  app.get('/', (_request, reply) => {
    reply.raw.writeHead(200, { 'content-length': '10' })
    reply.raw.write('half')
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const response = await fetch(url)
  await t.rejects(response.text())
})
