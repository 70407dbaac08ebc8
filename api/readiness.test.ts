import t from 'tap'
import { readinessOf } from './readiness.ts'

t.test('a process is ready once each service has answered once, until it stops', async (t) => {
  let away = true
  let stopping = false
  const check = async (): Promise<void> => {
    if (away) throw Object.assign(new Error('redis://secret'), { code: 'ECONNREFUSED' })
  }
  const readiness = readinessOf({ redis: check, postgres: async () => undefined }, () => stopping)
  t.match(await readiness(), {
    ready: false,
    checks: [{ name: 'redis', ready: false, reason: 'ECONNREFUSED' }, { ready: true }]
  })
  away = false
  t.match(await readiness(), { ready: true })
  away = true
  t.match(await readiness(), { ready: true, checks: [{ name: 'redis', ready: false }, { ready: true }] })
  stopping = true
  t.match(await readiness(), { ready: false })
})
