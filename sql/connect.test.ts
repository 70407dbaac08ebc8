import t from 'tap'
import { RetryableError } from '../domain/errors.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { EntityDatabase } from './connect-slonik.ts'
import { PostgresLimitStore } from './limit-store.ts'

t.test('a server that is away makes a retryable error that says what could not be done', async (t) => {
  const database = new Database({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none', applicationName: 'test' })
  t.teardown(() => database.close())
  await t.rejects(
    database.query('look around', { text: 'select 1' }),
    new RetryableError('postgres-unavailable', 'could not look around: connect ECONNREFUSED 127.0.0.1:1')
  )
  await t.rejects(database.session('lock'), { code: 'postgres-unavailable' })
  await t.rejects(
    database.transaction('write', 'read committed', async () => 1),
    { code: 'postgres-unavailable' }
  )
})

t.test('a statement that takes too long is given up by the server and may be retried', async (t) => {
  const database = new Database({
    databaseUrl: await freshDatabase(t),
    applicationName: 'test',
    statementTimeoutMs: 50
  })
  t.teardown(() => database.close())
  await t.rejects(database.query('wait', { text: 'select pg_sleep(30)' }), {
    code: 'postgres-timeout',
    message: 'could not wait: canceling statement due to statement timeout'
  })
  t.strictSame(await database.query('go on', { text: 'select 1 as one' }), [{ one: 1 }])
})

t.test('a session that the server ends is retryable, and the next statement gets another', async (t) => {
  const databaseUrl = await freshDatabase(t)
  const database = new Database({ databaseUrl, applicationName: 'victim', connectionsMax: 1 })
  const killer = new Database({ databaseUrl, applicationName: 'killer', role: 'login' })
  t.teardown(() => Promise.all([database.close(), killer.close()]))
  const started = Promise.withResolvers<void>()
  const cut = database.transaction('work', 'read committed', async (run) => {
    await run({ text: 'select 1' })
    started.resolve()
    await run({ text: 'select pg_sleep(30)' })
  })
  const outcome = t.rejects(cut, { code: 'postgres-unavailable' })
  await started.promise
  await killer.query('kill', {
    text: "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'victim'"
  })
  await outcome
  t.strictSame(await database.query('go on', { text: 'select 1 as one' }), [{ one: 1 }])

  await database
    .transaction('be cut off between two statements', 'read committed', async () => {
      await killer.query('kill', {
        text: "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'victim'"
      })
    })
    .catch((error: unknown) => t.match(error, { code: 'postgres-unavailable' }))
  t.strictSame(await database.query('go on', { text: 'select 1 as one' }), [{ one: 1 }])
})

t.test('a transaction that throws leaves nothing', async (t) => {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'test' })
  t.teardown(() => database.close())
  const defect = new Error('ours')
  await t.rejects(
    database.transaction('write half', 'read committed', async (run) => {
      await run({ text: "insert into usage_uncounted values (0, 0, 'duplicate', null, '')" })
      throw defect
    }),
    defect
  )
  t.strictSame(await database.query('read', { text: 'select partition from usage_uncounted' }), [])
})

t.test('a defect of ours passes as it is', async (t) => {
  const database = new Database({ databaseUrl: await freshDatabase(t), applicationName: 'test' })
  t.teardown(() => database.close())
  const defect = await database.query('err', { text: 'select nothing from nowhere' }).catch((error: unknown) => error)
  t.match(defect, { code: '42P01' })
  t.notOk(defect instanceof RetryableError)
})

t.test('the entity stores tell the same errors, and connect once the server is back', async (t) => {
  const away = new EntityDatabase({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none', applicationName: 'test' })
  t.teardown(() => away.close())
  await t.rejects(new PostgresLimitStore(away).find('acme'), {
    code: 'postgres-unavailable',
    message: /^could not find the limits of acme: connect ECONNREFUSED/
  })

  const databaseUrl = await freshDatabase(t)
  const entities = new EntityDatabase({ databaseUrl, applicationName: 'victim', statementTimeoutMs: 200 })
  const other = new Database({ databaseUrl, applicationName: 'killer', role: 'login' })
  t.teardown(() => Promise.all([entities.close(), other.close()]))
  const store = new PostgresLimitStore(entities)
  t.equal(await store.find('acme'), null)
  await other.transaction('hold the table', 'read committed', async (run) => {
    await run({ text: 'lock table customer_limits' })
    await t.rejects(store.find('acme'), { code: 'postgres-timeout' })
  })
  await other.query('kill', {
    text: "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'victim'"
  })
  const answer = await store.find('acme').catch((error: unknown) => error)
  if (answer !== null) t.match(answer, { code: 'postgres-unavailable' })
  t.equal(await store.find('acme'), null)
})
