import t from 'tap'
import { PostgresIdempotencyStore } from '../../sql/change/idempotency-store.ts'
import { Database } from '../../sql/connect.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { forgetOld } from './forget-answers.ts'

const HOUR_MS = 3_600_000
const KEY = { name: 'k', scopes: ['usage:read'] }

t.test('answers are forgotten after a day and not before, and what they told stays', async (t) => {
  const { call, entities, databaseUrl } = await startCustomerService(t)
  const database = new Database({ databaseUrl, applicationName: 'forget-test', role: 'login' })
  t.teardown(() => database.close())
  for (const key of ['old', 'young']) await call('POST /v1/api-keys', KEY, { 'idempotency-key': key })
  await database.query('age', {
    text: `update idempotency_record set created_at = now() - interval '25 hours' where key = 'old'`
  })
  const idempotencyStore = new PostgresIdempotencyStore(entities)
  const forget = (now: number, isStopped = false) => forgetOld({ idempotencyStore, now: () => now }, () => isStopped)
  t.equal(await forget(Date.now(), true), 0)
  t.equal(await forget(Date.now() - 2 * HOUR_MS), 0)
  t.equal(await forget(Date.now()), 1)
  const repeated = await call('POST /v1/api-keys', KEY, { 'idempotency-key': 'young' })
  t.equal(repeated.headers['idempotent-replayed'], 'true')
  t.equal((await call('GET /v1/api-keys')).body.data.length, 2)
})
