import t from 'tap'
import type { AuditRecord } from '../../domain/audit/audit-record.ts'
import type { AuditFilter, KeptRecord } from '../../domain/audit/audit-store.ts'
import { verifyChain } from '../../domain/audit/verify-chain.ts'
import { type Change, PLATFORM, type Reach } from '../../domain/change.ts'
import { ForeignCursorError } from '../../domain/page.ts'
import { freshDatabase } from '../../test/services.ts'
import { Database, type DatabaseRole } from '../connect.ts'
import { EntityDatabase } from '../connect-slonik.ts'
import { encodePageKey } from '../encoding/page-key.ts'
import { PostgresAuditChains } from './audit-chains.ts'
import { PostgresAuditStore } from './audit-store.ts'
import { PostgresAuditTrail } from './audit-trail.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>

const AT = 1_772_366_400_000
const ALL: AuditFilter = {
  customerId: null,
  entityKind: null,
  entityId: null,
  actorId: null,
  action: null,
  from: null,
  to: null,
  cursor: '',
  limit: 100
}

function recordOf(id: string, told: Partial<AuditRecord> = {}): AuditRecord {
  return {
    id,
    customerId: 'clinic',
    actor: { kind: 'user', id: 'awa', address: '192.0.2.1', requestId: 'request-1' },
    action: 'user.updated',
    entity: { kind: 'user', id: 'moussa' },
    before: { name: 'Moussa', email: 'moussa@clinic.example', role: 'viewer' },
    after: { name: 'Moussa', email: 'moussa@clinic.example', role: 'developer' },
    at: AT,
    ...told
  }
}

function changeOf(audit: readonly AuditRecord[]): Change {
  return { reach: PLATFORM, audit, events: [], request: null }
}

async function connect(t: Test) {
  const databaseUrl = await freshDatabase(t)
  const entities = new EntityDatabase({ databaseUrl, applicationName: 'test' })
  const pipeline = new Database({ databaseUrl, applicationName: 'test' })
  t.teardown(() => Promise.all([entities.close(), pipeline.close()]))
  const store = new PostgresAuditStore(entities)
  return {
    databaseUrl,
    store,
    entities,
    trail: new PostgresAuditTrail(pipeline),
    chains: new PostgresAuditChains(pipeline),
    write: (...audit: AuditRecord[]) => entities.change(changeOf(audit), 'write records', async () => undefined),
    ids: async (filter: Partial<AuditFilter>, reach: Reach = PLATFORM) =>
      (await store.list(reach, { ...ALL, ...filter })).rows.map(({ id }) => id)
  }
}

async function verifyTrail(chains: PostgresAuditChains, customerId: string) {
  const stand = await chains.stand(customerId)
  const records = chains.records(customerId, stand.head?.sequence ?? 0)
  return verifyChain({ customerId, stand, records, anchor: null })
}

t.test('a record comes back as it was told, with its place in the trail', async (t) => {
  const { store, write } = await connect(t)
  const record = recordOf('one', {
    after: { name: 'é"\\\n', parts: { address: { street: 'Rue 10', no: 3 } }, none: null }
  })
  await write(record)
  const [found] = (await store.list(PLATFORM, ALL)).rows
  t.match(found, { sequence: 1, hash: /^[0-9a-f]{64}$/, origin: null })
  const { sequence: _, hash: __, origin: ___, ...told } = found ?? ({} as KeptRecord)
  t.same(told, record)
})

t.test('records are found by customer, entity, actor, action and time', async (t) => {
  const { write, ids } = await connect(t)
  const actor = { kind: 'service', id: 'billing', address: null, requestId: null } as const
  await write(
    recordOf('a'),
    recordOf('b', { at: AT + 1, actor }),
    recordOf('c', { at: AT + 2, action: 'user.disabled', entity: { kind: 'user', id: 'fatou' } }),
    recordOf('d', { at: AT + 3, customerId: 'bank', action: 'users.merged', entity: { kind: 'group', id: 'moussa' } }),
    recordOf('e', { at: AT + 4, customerId: null, action: 'plan.published', entity: { kind: 'plan', id: 'basic' } })
  )
  t.same(await ids({}), ['e', 'd', 'c', 'b', 'a'])
  t.same(await ids({ customerId: 'clinic' }), ['c', 'b', 'a'])
  t.same(await ids({ entityKind: 'user', entityId: 'moussa' }), ['b', 'a'])
  t.same(await ids({ entityId: 'moussa' }), ['d', 'b', 'a'])
  t.same(await ids({ actorId: 'billing' }), ['b'])
  t.same(await ids({ action: 'user.updated' }), ['b', 'a'])
  t.same(await ids({ action: 'user.*' }), ['c', 'b', 'a'])
  t.same(await ids({ action: 'us_r.*' }), [], 'nothing but a final star stands for anything else')
  t.same(await ids({ from: AT + 1, to: AT + 3 }), ['c', 'b'])
})

t.test('pages follow each other without a gap or a repeat, through records of one moment', async (t) => {
  const { store, write } = await connect(t)
  const records = Array.from({ length: 23 }, (_, number) =>
    recordOf(`id-${number}`, {
      customerId: number % 3 === 0 ? null : `customer-${number % 3}`,
      at: AT + Math.floor(number / 9)
    })
  )
  await write(...records)
  const expected = (await store.list(PLATFORM, ALL)).rows.map(({ id }) => id)
  t.equal(new Set(expected).size, 23)
  const paged: string[] = []
  let cursor: string | null = ''
  for (let page = 0; cursor !== null && page < 10; page++) {
    const { rows, next }: Awaited<ReturnType<PostgresAuditStore['list']>> = await store.list(PLATFORM, {
      ...ALL,
      cursor,
      limit: 4
    })
    paged.push(...rows.map(({ id }) => id))
    cursor = next
  }
  t.same(paged, expected)
  for (const key of [['x'], [AT, 'a', 1.5], [1e300, 'a', 1]]) {
    await t.rejects(store.list(PLATFORM, { ...ALL, cursor: encodePageKey(key) }), ForeignCursorError)
  }
})

t.test("a customer's reach shows its own trail, whatever is asked for", async (t) => {
  const { write, ids } = await connect(t)
  await write(recordOf('own'), recordOf('foreign', { customerId: 'bank' }), recordOf('platform', { customerId: null }))
  const reach: Reach = { kind: 'customer', customerId: 'clinic' }
  t.same(await ids({}, reach), ['own'])
  t.same(await ids({ customerId: 'bank' }, reach), [])
  t.same(await ids({ customerId: '' }, reach), [])
})

t.test('no role of the service may change or remove a record', async (t) => {
  const { databaseUrl, write, entities } = await connect(t)
  await write(recordOf('one'))
  const statements = [
    `update audit_event set action = 'x.y'`,
    `update audit_event set personal = '{}'`,
    'delete from audit_event',
    'truncate audit_event',
    'alter table audit_event disable row level security'
  ]
  for (const role of ['tokenmeter_pipeline', 'tokenmeter_platform', 'tokenmeter_app', 'tokenmeter_eraser']) {
    const database = new Database({ databaseUrl, applicationName: 'test', role: role as DatabaseRole })
    for (const text of statements) {
      if (role === 'tokenmeter_eraser' && text.includes('personal')) continue
      await t.rejects(database.query(text, { text }), { code: '42501' }, `${role}: ${text}`)
    }
    await database.close()
  }
  const untouched = await new PostgresAuditStore(entities).list(PLATFORM, ALL)
  t.match(untouched.rows, [{ id: 'one', action: 'user.updated', after: { name: 'Moussa' } }])
})

t.test('a user is erased, everybody else stays, and the trail verifies', async (t) => {
  const { store, chains, write } = await connect(t)
  await write(
    recordOf('about-moussa'),
    recordOf('by-moussa', {
      actor: { kind: 'user', id: 'moussa', address: '192.0.2.2', requestId: null },
      entity: { kind: 'user', id: 'fatou' }
    }),
    recordOf('by-himself', { actor: { kind: 'user', id: 'moussa', address: '192.0.2.2', requestId: null } }),
    recordOf('about-fatou', { entity: { kind: 'user', id: 'fatou' } }),
    recordOf('elsewhere', { customerId: 'bank' })
  )
  const erasure = () =>
    changeOf([recordOf(`erasure-${Math.random()}`, { action: 'user.erased', before: null, after: null })])
  t.equal(await store.erasePersonal('clinic', 'moussa', erasure()), 3)
  t.equal(await store.erasePersonal('clinic', 'moussa', erasure()), 0, 'again, there is nothing left')
  const found = new Map((await store.list(PLATFORM, ALL)).rows.map((row) => [row.id, row]))
  const erased = { name: null, email: null, role: 'developer' }
  const kept = { name: 'Moussa', email: 'moussa@clinic.example', role: 'developer' }
  t.match(found.get('about-moussa'), { actor: { address: '192.0.2.1' }, after: erased })
  t.match(found.get('by-moussa'), { actor: { address: null }, after: kept })
  t.match(found.get('by-himself'), { actor: { address: null }, after: erased })
  t.match(found.get('about-fatou'), { actor: { address: '192.0.2.1' }, after: kept })
  t.match(found.get('elsewhere'), { actor: { address: '192.0.2.1' }, after: kept })
  t.match(await verifyTrail(chains, 'clinic'), { head: { sequence: 6 }, fault: null })
})

t.test('what comes again after an erasure is the same record, and brings nothing back', async (t) => {
  const { store, trail } = await connect(t)
  const append = async (record: AuditRecord) => {
    const from = await trail.open(0)
    const to = { cursor: from.cursor + 1, previousArrivedAt: AT }
    return trail.append({ partition: 0, from, to, records: [{ offset: from.cursor, record }] })
  }
  t.match(await append(recordOf('one')), { outcome: 'appended', appended: 1 })
  await store.erasePersonal('clinic', 'moussa', changeOf([]))
  t.match(await append(recordOf('one')), { outcome: 'appended', appended: 0, duplicates: 1 })
  t.match((await store.list(PLATFORM, ALL)).rows, [{ after: { name: null } }])
  t.match(await append(recordOf('one', { action: 'user.deleted' })), { outcome: 'conflicts', offsets: new Set([2]) })
  t.equal((await trail.open(0)).cursor, 2, 'a conflict leaves the cursor where it was')
})

t.test('changes of the API and batches of the consumer share the trails, one after the other', async (t) => {
  const { chains, trail, write } = await connect(t)
  const customers = ['a', 'b', 'c', 'd']
  const changes = Array.from({ length: 40 }, (_, n) =>
    write(recordOf(`change-${n}`, { customerId: customers[n % 4] ?? null }))
  )
  const batches = Array.from({ length: 6 }, async (_, partition) => {
    const records = Array.from({ length: 20 }, (_, offset) => ({
      offset,
      // Each batch meets the customers in another order.
      record: recordOf(`event-${partition}-${offset}`, {
        customerId: customers[(offset * (partition + 1)) % 4] ?? null
      })
    }))
    const from = await trail.open(partition)
    return trail.append({ partition, from, to: { cursor: 20, previousArrivedAt: AT }, records })
  })
  await Promise.all([...changes, ...batches])
  const findings = await Promise.all(customers.map((customer) => verifyTrail(chains, customer)))
  t.same(
    findings.map(({ fault }) => fault),
    [null, null, null, null]
  )
  t.equal(
    findings.reduce((sum, { head }) => sum + head.sequence, 0),
    40 + 6 * 20
  )
})
