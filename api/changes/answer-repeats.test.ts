import { once } from 'node:events'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { StoredAnswer } from '../../domain/change.ts'
import type { Principal } from '../access/access-rule.ts'
import { handleError } from '../problem.ts'
import { answerRepeats } from './answer-repeats.ts'
import { requestKeyOf } from './change-of.ts'

const CALLER: Principal = { id: 'ada', kind: 'user', customerId: 'clinic', role: 'owner', scopes: new Set() }

function appOf(t: Test, { principal = CALLER }: { readonly principal?: Principal } = {}) {
  const app = Fastify()
  app.setErrorHandler(handleError)
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async (request) => {
    request.principal = principal
  })
  answerRepeats(app, { find: async (): Promise<StoredAnswer | undefined> => undefined })
  t.teardown(() => app.close())
  return app
}

t.test('whoever goes away before the answer may ask again with the same key', async (t) => {
  const app = appOf(t)
  const entered = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  let isFirst = true
  app.post('/', async (_request, reply) => {
    if (!isFirst) return { done: true }
    isFirst = false
    entered.resolve()
    await once(reply.raw, 'close')
    gone.resolve()
    return { done: true }
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const ask = (signal: AbortSignal | null) =>
    fetch(url, { method: 'POST', headers: { 'idempotency-key': 'key-1' }, signal })
  const impatience = new AbortController()
  const first = ask(impatience.signal)
  await entered.promise
  t.equal((await ask(null)).status, 409, 'while the first is still being done it is in flight')
  impatience.abort()
  await t.rejects(first, { name: 'AbortError' })
  await gone.promise
  t.equal((await ask(null)).status, 200)
})

t.test('a body that can be read and not be written again is refused', async (t) => {
  const app = appOf(t)
  app.post('/', async () => ({}))
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'key-1' }
  const payload = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
  const refused = await app.inject({ method: 'POST', url: '/', headers, payload })
  t.match([refused.statusCode, refused.json()], [400, { code: 'validation-failed' }])
})

t.test('no two callers are one, whatever stands in their ids', async (t) => {
  const principals: readonly Principal[] = [
    { ...CALLER, customerId: 'a', id: 'b/c' },
    { ...CALLER, customerId: 'a/b', id: 'c' },
    { ...CALLER, customerId: null, role: null, id: 'ops' },
    { ...CALLER, customerId: null, role: null, id: 'ops', kind: 'api-key' }
  ]
  const callers = await Promise.all(
    principals.map(async (principal) => {
      const app = appOf(t, { principal })
      app.post('/', async (request) => ({ caller: requestKeyOf(request)?.caller }))
      return (await app.inject({ method: 'POST', url: '/', headers: { 'idempotency-key': 'key-1' } })).json().caller
    })
  )
  t.equal(new Set(callers).size, principals.length)
})
