import { randomUUIDv7 } from 'node:crypto'
import t from 'tap'
import { type Change, PLATFORM, type Reach, RepeatedRequest } from '../../domain/change.ts'
import { changeCustomer, moveCustomer, type NewCustomer, newCustomer } from '../../domain/customers/change-customer.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { CustomerFilter } from '../../domain/customers/customer-store.ts'
import { ForeignCursorError } from '../../domain/page.ts'
import { waitUntil } from '../../stack/machine/wait-until.ts'
import { freshDatabase } from '../../test/services.ts'
import { Database } from '../connect.ts'
import { EntityDatabase } from '../connect-slonik.ts'
import { PostgresCustomerStore } from './customer-store.ts'

const databaseUrl = await freshDatabase(t)
const entities = new EntityDatabase({ databaseUrl, applicationName: 'customers-test', connectionsMax: 8 })
const pipeline = new Database({ databaseUrl, applicationName: 'customers-test' })
t.teardown(() => Promise.all([entities.close(), pipeline.close()]))
const store = new PostgresCustomerStore(entities)

const EVERYBODY: CustomerFilter = { status: null, kind: null, externalId: null, search: null, limit: 200, cursor: '' }
const NOW = Date.parse('2026-03-12T09:30:00.123Z')

function customerOf(given: Partial<NewCustomer> = {}): Customer {
  const input: NewCustomer = {
    kind: 'sme',
    legalName: 'Clinique Amina',
    country: 'SN',
    currency: 'XOF',
    timeZone: 'Africa/Dakar',
    taxId: '0058291',
    ...given
  }
  const stated = newCustomer(input, { id: randomUUIDv7(), now: NOW })
  if ('next' in stated) return stated.next
  throw new Error(JSON.stringify(stated.faults))
}

function nextOf(customer: Customer, patch: Parameters<typeof changeCustomer>[1]): Customer {
  const stated = changeCustomer(customer, patch, NOW + 1)
  if ('next' in stated) return stated.next
  throw new Error(JSON.stringify(stated.faults))
}

function changeBy(customerId: string, reach: Reach = PLATFORM, key: string | null = null): Change {
  const actor = { kind: 'service', id: 'test', address: null, requestId: null } as const
  const entity = { kind: 'customer', id: customerId }
  const audit = { id: randomUUIDv7(), customerId, actor, action: 'test', entity, before: null, after: null, at: NOW }
  const event = { id: randomUUIDv7(), type: 'customer.updated', customerId, at: NOW, data: {} } as const
  const answer = { status: 201, headers: {}, body: '{}' }
  const request = key === null ? null : { caller: 'test', key, fingerprint: 'f', answer }
  return { reach, audit: [audit], events: [event], request }
}

async function told(customerId: string): Promise<unknown> {
  const rows = await pipeline.query('count what was told', {
    text: `select (select count(*)::int from outbox where customer_id = $1) as events,
                  (select count(*)::int from audit_event where customer_id = $1) as records`,
    values: [customerId]
  })
  return rows[0]
}

t.test('a customer comes back as it was put, to the millisecond', async (t) => {
  const customer = customerOf({
    externalId: "o'neil \\ % _",
    paymentTermsDays: 45,
    contacts: [{ purpose: 'billing', name: 'Awa "é"', email: 'awa@clinic.example' }],
    metadata: { nested: { list: [1, null, 'x', true], text: '😀' }, empty: {} }
  })
  t.equal(await store.insert(customer, changeBy(customer.id)), 'inserted')
  t.strictSame(await store.find(PLATFORM, customer.id), customer)
  const next = nextOf(customer, { legalName: 'Clinique', externalId: null, contacts: [], metadata: { a: 1 } })
  t.equal(await store.update(next, changeBy(customer.id)), 'updated')
  t.strictSame(await store.find(PLATFORM, customer.id), next)
  t.equal(await store.find(PLATFORM, 'nobody'), null)
})

t.test('an external id is one customer’s: a second one is refused, and nothing is told of it', async (t) => {
  const [first, second] = [customerOf({ externalId: 'crm-1' }), customerOf({ externalId: 'crm-1' })]
  t.equal(await store.insert(first, changeBy(first.id)), 'inserted')
  t.equal(await store.insert(second, changeBy(second.id, PLATFORM, 'again')), 'external-id-taken')
  t.equal(await store.find(PLATFORM, second.id), null)
  t.same(await told(second.id), { events: 0, records: 0 })
  const other = { ...second, externalId: null }
  t.equal(
    await store.insert(other, changeBy(other.id, PLATFORM, 'again')),
    'inserted',
    'the refusal did not use the key up'
  )
  t.equal(await store.update(nextOf(other, { externalId: 'crm-1' }), changeBy(other.id)), 'external-id-taken')
  t.strictSame(await store.find(PLATFORM, other.id), other)
  t.same(await told(other.id), { events: 1, records: 1 })
})

t.test('of many changes of one version that race, one is made and told', async (t) => {
  const customer = customerOf()
  await store.insert(customer, changeBy(customer.id))
  const names = Array.from({ length: 10 }, (_, i) => `Clinique ${i}`)
  const outcomes = await Promise.all(
    names.map((legalName) => store.update(nextOf(customer, { legalName }), changeBy(customer.id)))
  )
  t.same(outcomes.toSorted().slice(8), ['other-version', 'updated'])
  const winner = names[outcomes.indexOf('updated')]
  t.match(await store.find(PLATFORM, customer.id), { version: 2, legalName: winner })
  t.same(await told(customer.id), { events: 2, records: 2 })
})

t.test('a change of status or zone makes limits due in its own transaction, another one does not', async (t) => {
  const customer = customerOf()
  await store.insert(customer, changeBy(customer.id))
  const isDue = async () => {
    const rows = await pipeline.query<{ renew_at: string }>('read when limits are due', {
      text: 'update customer_limits set renew_at = 9 where customer_id = $1 returning (select renew_at from customer_limits where customer_id = $1)',
      values: [customer.id]
    })
    return rows[0]?.renew_at === '0'
  }
  const renamed = nextOf(customer, { legalName: 'Clinique' })
  await store.update(renamed, changeBy(customer.id))
  t.notOk(await isDue())
  const moved = nextOf(renamed, { timeZone: 'Europe/Paris' })
  await store.update(moved, changeBy(customer.id))
  t.ok(await isDue())
  const suspended: Customer = { ...moved, status: 'suspended', version: moved.version + 1 }
  await store.update(suspended, changeBy(customer.id))
  t.ok(await isDue())
  t.equal(await store.update(suspended, changeBy(customer.id)), 'other-version')
  t.notOk(await isDue())
})

t.test('a repeat of an Idempotency-Key changes nothing, though another customer comes with it', async (t) => {
  const [first, second] = [customerOf(), customerOf()]
  await store.insert(first, changeBy(first.id, PLATFORM, 'once'))
  await t.rejects(store.insert(second, changeBy(second.id, PLATFORM, 'once')), RepeatedRequest)
  t.equal(await store.find(PLATFORM, second.id), null)
})

t.test('a list is filtered by status, kind, external id and the beginning of the name', async (t) => {
  const made = [
    customerOf({ legalName: 'Zébu Ltd', externalId: 'z-1' }),
    customerOf({ legalName: 'zébu%_\\ SA' }),
    customerOf({ kind: 'institution', legalName: 'ZÉBUL Bank', registrationNumber: '1', contractReference: '2' })
  ]
  for (const customer of made) await store.insert(customer, changeBy(customer.id))
  const found = async (filter: Partial<CustomerFilter>) =>
    (await store.list(PLATFORM, { ...EVERYBODY, search: 'zéBU', ...filter })).rows
      .map(({ legalName }) => legalName)
      .sort()
  t.same(await found({}), ['ZÉBUL Bank', 'Zébu Ltd', 'zébu%_\\ SA'])
  t.same(await found({ kind: 'institution' }), ['ZÉBUL Bank'])
  t.same(await found({ externalId: 'z-1' }), ['Zébu Ltd'])
  t.same(await found({ status: 'closed' }), [])
  t.same(await found({ search: 'zébu%' }), ['zébu%_\\ SA'], 'a % stands for itself')
  t.same(await found({ search: 'zébu%_\\' }), ['zébu%_\\ SA'])
  t.same(await found({ search: 'Z_bu' }), [])
  t.same(await found({ search: 'bu' }), [])
})

t.test('pages follow each other by id, none empty, and a cursor of another list is refused', async (t) => {
  const page = await store.list(PLATFORM, { ...EVERYBODY, limit: 2 })
  t.equal(page.rows.length, 2)
  const rest = await store.list(PLATFORM, { ...EVERYBODY, cursor: page.next ?? '' })
  const all = await store.list(PLATFORM, EVERYBODY)
  t.same([...page.rows, ...rest.rows], all.rows)
  t.equal(rest.next, null)
  const exact = await store.list(PLATFORM, { ...EVERYBODY, limit: all.rows.length })
  t.equal(exact.next, null, 'a full last page is the last one')
  for (const key of [[7], ['a', 'b'], ['\0'], {}]) {
    const cursor = Buffer.from(JSON.stringify(key)).toString('base64url')
    await t.rejects(store.list(PLATFORM, { ...EVERYBODY, cursor }), ForeignCursorError)
  }
})

t.test('within the reach of one customer there is no other, to see or to change', async (t) => {
  const [own, foreign] = [customerOf(), customerOf()]
  for (const customer of [own, foreign]) await store.insert(customer, changeBy(customer.id))
  const reach = { kind: 'customer', customerId: own.id } as const
  t.strictSame(await store.find(reach, own.id), own)
  t.equal(await store.find(reach, foreign.id), null)
  t.same((await store.list(reach, EVERYBODY)).rows, [own])
  t.equal(await store.update(nextOf(foreign, { locale: 'fr' }), changeBy(own.id, reach)), 'other-version')
  t.strictSame(await store.find(PLATFORM, foreign.id), foreign)
  const smuggled = customerOf()
  await t.rejects(store.insert(smuggled, changeBy(own.id, reach)), /row-level security/)
  await t.rejects(store.update(nextOf(own, { locale: 'fr' }), changeBy(foreign.id, reach)), /row-level security/)
  t.strictSame(await store.find(PLATFORM, own.id), own, 'a change whose record lies out of reach is not made')
})

t.test(
  'a customer is suspended while a grant is given to it, and neither waits for the other in a circle',
  async (t) => {
    const platform = new Database({ databaseUrl, applicationName: 'customers-test', role: 'tokenmeter_platform' })
    // Only who signed in is told what its sessions wait for.
    const login = new Database({ databaseUrl, applicationName: 'customers-test', role: 'login' })
    t.teardown(() => Promise.all([platform.close(), login.close()]))
    const customer = customerOf()
    await store.insert(customer, changeBy(customer.id))
    const values = [customer.id]
    await platform.query('begin limits', {
      text: `insert into customer_limits (customer_id, time_zone, version) values ($1, 'UTC', 1)`,
      values
    })
    const [marked, maySettle] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const given = platform.transaction('lock as a grant does', 'read committed', async (run) => {
      await run({ text: 'update customer_limits set version = version + 1 where customer_id = $1', values })
      marked.resolve()
      await maySettle.promise
      await run({ text: 'select from customer where id = $1 for key share', values })
    })
    await marked.promise
    const moved = moveCustomer(customer, 'suspend', NOW + 1)
    if ('refused' in moved) throw new Error(moved.refused)
    const suspended = store.update(moved.next, changeBy(customer.id))
    await waitUntil(
      async () => {
        const [row] = await login.query<{ waiting: boolean }>('look for who waits', {
          text: `select exists (select from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock') as waiting`
        })
        return row?.waiting === true
      },
      { what: 'the suspension to wait for the limits', timeoutMs: 10_000 }
    )
    maySettle.resolve()
    await given
    t.equal(await suspended, 'updated')
  }
)

t.test('the application’s role sees no row while no customer is named', async (t) => {
  const login = new Database({ databaseUrl, applicationName: 'customers-test', role: 'login' })
  t.teardown(() => login.close())
  const seen = await login.transaction('look', 'read committed', async (run) => {
    await run({ text: 'set local role tokenmeter_app' })
    return run({ text: 'select id from customer' })
  })
  t.same(seen, [])
})
