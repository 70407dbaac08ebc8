import { randomUUIDv7 } from 'node:crypto'
import { sql } from 'slonik'
import t from 'tap'
import { Type } from 'typebox'
import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import { type Change, PLATFORM } from '../../domain/change.ts'
import { RetryableError } from '../../domain/errors.ts'
import type { Outbox } from '../../domain/published-event.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { freshDatabase } from '../../test/services.ts'
import { Database } from '../connect.ts'
import { EntityDatabase } from '../connect-slonik.ts'
import { rowParser } from '../encoding/row-parser.ts'
import { PostgresOutbox } from './outbox-store.ts'

const TRANSACTION = rowParser('transactions', Type.Object({ id: Type.String() }))
const AT = Date.UTC(2026, 10, 25, 12, 0, 0, 123)

async function openStores(t: Pick<typeof import('tap').default, 'teardown'>) {
  const databaseUrl = await freshDatabase(t)
  const database = new Database({ databaseUrl, applicationName: 'outbox-test' })
  const login = new Database({ databaseUrl, applicationName: 'killer', role: 'login', connectionsMax: 2 })
  const entities = new EntityDatabase({ databaseUrl, applicationName: 'outbox-test' })
  t.teardown(() => Promise.all([database.close(), login.close(), entities.close()]))
  return { database, login, entities, store: new PostgresOutbox(database) }
}

/** A change that tells one event, `step` in its data. */
function changeOf(customerId: string, step: number): Change {
  const audit: AuditRecord = {
    id: randomUUIDv7(),
    customerId,
    actor: { kind: 'service', id: 'test', address: null, requestId: null },
    action: 'customer.updated',
    entity: { kind: 'customer', id: customerId },
    before: null,
    after: null,
    at: AT
  }
  const event = { id: randomUUIDv7(), type: 'customer.updated', customerId, at: AT, data: { step } } as const
  return { reach: PLATFORM, audit: [audit], events: [event], request: null }
}

async function publish(entities: EntityDatabase, customerId: string, step: number): Promise<void> {
  await entities.change(changeOf(customerId, step), 'tell an event', async () => undefined)
}

async function steps(outbox: Outbox, limit = 10): Promise<unknown[]> {
  return (await outbox.take(limit)).map(({ data }) => data.step)
}

t.test('an event is there once its change is committed, as it was told, until it is removed', async (t) => {
  const { entities, store } = await openStores(t)
  await publish(entities, 'c1', 1)
  await t.rejects(
    entities.change(changeOf('c1', 2), 'tell an event and fail', () => Promise.reject(new Error('ours'))),
    { message: 'ours' }
  )
  await publish(entities, 'c2', 3)
  await store.withTurn(async (outbox) => {
    t.same(await steps(outbox), [1, 3], 'nothing of a change that was rolled back')
    t.same(await steps(outbox, 1), [1], 'at most as many as are asked for, the first ones')
    const [first, second] = await outbox.take(2)
    t.match(first, { type: 'customer.updated', customerId: 'c1', at: AT, data: { step: 1 } })
    await outbox.remove([first?.position ?? 0])
    await outbox.remove([first?.position ?? 0])
    t.same(await outbox.take(2), [second], 'removing what is not there changes nothing')
  })
})

t.test('changes of one customer are taken in the order of their commits, though the later began first', async (t) => {
  const { entities, login, store } = await openStores(t)
  const begun = Promise.withResolvers<void>()
  const mayGoOn = Promise.withResolvers<void>()
  // It has an older transaction id than the change that overtakes it on the way to the customer's chain.
  const early = entities.change(changeOf('c1', 2), 'begin first and commit last', async (transaction) => {
    await transaction.one(sql.type(TRANSACTION)`select pg_current_xact_id()::text as id`)
    begun.resolve()
    await mayGoOn.promise
  })
  await begun.promise
  await login.transaction('run all the while, younger than the first change', 'read committed', async (run) => {
    await run({ text: 'select pg_current_xact_id()' })
    await publish(entities, 'c1', 1)
    mayGoOn.resolve()
    await early
    await store.withTurn(async (outbox) => t.same(await steps(outbox), [1, 2]))
  })
})

t.test('an event whose change commits late is taken late, and never lost to a later position', async (t) => {
  const { database, store } = await openStores(t)
  const insert = `insert into outbox (id, customer_id, type, occurred_at, data)
                  values ($1, $2, 'customer.updated', now(), jsonb_build_object('step', $3::integer))`
  await database.transaction('hold back a low position', 'read committed', async (run) => {
    await run({ text: insert, values: ['late', 'c1', 1] })
    await database.query('take the next position', { text: insert, values: ['early', 'c2', 2] })
    await store.withTurn(async (outbox) => {
      t.same(await steps(outbox), [2])
      await outbox.remove((await outbox.take(10)).map(({ position }) => position))
    })
  })
  await store.withTurn(async (outbox) => t.same(await steps(outbox), [1]))
})

t.test('one relay has its turn; when its connection dies it can not go on, and another takes over', async (t) => {
  const { entities, login, store } = await openStores(t)
  await publish(entities, 'c1', 1)
  await store.withTurn(async (outbox) => {
    t.same(await steps(outbox), [1])
    t.equal(await store.withTurn(async () => 'second'), null)
    await login.query('kill the session with the turn', {
      text: `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7031996
                and database = (select oid from pg_database where datname = current_database())`
    })
    await waitUntil(async () => (await store.withTurn(async () => 'second')) === 'second', {
      what: 'another to take the turn',
      timeoutMs: 5_000
    })
    await t.rejects(outbox.take(1), RetryableError)
    await t.rejects(outbox.remove([1]), RetryableError)
  })
})

t.test('the backlog tells how many wait, and since when the first', async (t) => {
  const { entities, store } = await openStores(t)
  t.same(await store.backlog(), { waiting: 0, oldestAt: null })
  await publish(entities, 'c1', 1)
  await publish(entities, 'c2', 2)
  t.same(await store.backlog(), { waiting: 2, oldestAt: AT })
})
