import t from 'tap'
import { type Change, PLATFORM } from '../domain/change.ts'
import type { CustomerLimits, Limit } from '../domain/tokens/limit.ts'
import { freshDatabase } from '../test/services.ts'
import { Database } from './connect.ts'
import { EntityDatabase } from './connect-slonik.ts'
import { PostgresLimitStore } from './limit-store.ts'

const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

const databaseUrl = await freshDatabase(t)
const entities = new EntityDatabase({ databaseUrl, applicationName: 'limits-test' })
const database = new Database({ databaseUrl, applicationName: 'limits-test', role: 'login' })
t.teardown(() => Promise.all([entities.close(), database.close()]))
const store = new PostgresLimitStore(entities)

const SHARED = { mode: 'hard', whenUnknown: 'deny' } as const
const WEIGHTS = { input: 1, cacheRead: 0, cacheWrite: 2, output: 5, reasoning: 5 }
const EVERY_KIND: readonly Limit[] = [
  { ...SHARED, id: 'a', scope: { kind: 'customer' }, measure: { kind: 'total' }, window: { kind: 'month' }, max: 0 },
  {
    ...SHARED,
    id: 'b',
    scope: { kind: 'user-model', userId: "o'neil", model: 'm' },
    measure: { kind: 'pool', pool: 'cacheRead' },
    window: { kind: 'rolling', hours: 5 },
    max: Number.MAX_SAFE_INTEGER
  },
  {
    id: 'c',
    scope: { kind: 'each-user' },
    measure: { kind: 'cost', unit: 'EUR/1000000', weights: { '*': WEIGHTS, 'm/2': WEIGHTS } },
    window: { kind: 'period', boundaries: [1_700_000_000_000, 1_702_592_000_000] },
    max: 5,
    mode: 'soft',
    whenUnknown: 'allow'
  }
]

function limitsOf(customerId: string, limits: readonly Limit[] = EVERY_KIND): Omit<CustomerLimits, 'version'> {
  return { customerId, timeZone: 'Europe/Paris', limits }
}

t.test('limits come back as they were put, one version higher each time', async (t) => {
  t.equal(await store.find('kept'), null)
  t.strictSame(await store.put(limitsOf('kept'), null, UNTOLD), { ...limitsOf('kept'), version: 1 })
  t.strictSame(await store.put(limitsOf('kept', []), null, UNTOLD), { ...limitsOf('kept', []), version: 2 })
  t.strictSame(await store.put(limitsOf('kept'), 2, UNTOLD), { ...limitsOf('kept'), version: 3 })
  t.strictSame(await store.find('kept'), { ...limitsOf('kept'), version: 3 })
})

t.test('the zone in which the limits of a known customer were composed is not put over', async (t) => {
  await database.query('take a customer on', {
    text: `insert into customer (id, kind, status, legal_name, country, currency, time_zone, locale, tax_id, payment_terms_days,
                                 contacts, metadata, version, created_at, updated_at)
           values ('known', 'sme', 'active', 'n', 'SN', 'XOF', 'Africa/Dakar', 'fr', '1', 0, '[]', '{}', 1, now(), now())`
  })
  await database.query('compose its limits', {
    text: `insert into customer_limits (customer_id, time_zone, version) values ('known', 'Africa/Dakar', 1)`
  })
  t.match(await store.put(limitsOf('known'), null, UNTOLD), {
    timeZone: 'Africa/Dakar',
    limits: EVERY_KIND,
    version: 1
  })
})

t.test('limits put on another version than the stored one change nothing', async (t) => {
  t.equal(await store.put(limitsOf('guarded'), 1, UNTOLD), null, 'nothing stored is version 0')
  t.match(await store.put(limitsOf('guarded'), 0, UNTOLD), { version: 1 })
  t.equal(await store.put(limitsOf('guarded', []), 0, UNTOLD), null)
  t.equal(await store.put(limitsOf('guarded', []), 2, UNTOLD), null)
  t.strictSame(await store.find('guarded'), { ...limitsOf('guarded'), version: 1 })
})

t.test('limits that are put are on record with whoever put them, and those that are refused are not', async (t) => {
  const actor = { kind: 'service', id: 'test', address: null, requestId: null } as const
  const changeBy = (id: string): Change => {
    const entity = { kind: 'limits', id: 'told' }
    const record = { id, customerId: 'told', actor, action: 'limits.put', entity, before: null, after: null, at: 1 }
    return { ...UNTOLD, audit: [record] }
  }
  await store.put(limitsOf('told'), 0, changeBy('first'))
  await store.put(limitsOf('told'), 0, changeBy('refused'))
  const text = "select id from audit_event where customer_id = 'told'"
  t.same(await database.query('read the trail', { text }), [{ id: 'first' }])
})

t.test('of many changes of one version that race, one wins', async (t) => {
  await store.put(limitsOf('raced'), null, UNTOLD)
  const outcomes = await Promise.all(Array.from({ length: 10 }, () => store.put(limitsOf('raced', []), 1, UNTOLD)))
  t.equal(outcomes.filter((outcome) => outcome !== null).length, 1)
  t.match(await store.find('raced'), { version: 2 })
})

t.test('a customer is due from the moment its limits change until its renewal is set', async (t) => {
  await database.query('empty', { text: 'truncate customer_limits' })
  await store.put(limitsOf('due'), null, UNTOLD)
  t.same(await store.takeDue(1_000, 500), ['due'])
  await store.setRenewal('due', 1, 9_000)
  t.strictSame(await store.takeDue(8_999, 500), [])
  t.same(await store.takeDue(9_000, 500), ['due'])
  await store.put(limitsOf('due'), 1, UNTOLD)
  await store.setRenewal('due', 1, 99_000)
  t.same(await store.takeDue(9_000, 500), ['due'], 'a renewal of an older version is ignored')
})

t.test('whoever is due is given out once per lease, oldest first, however many ask', async (t) => {
  await database.query('empty', { text: 'truncate customer_limits' })
  const ids = Array.from({ length: 150 }, (_, i) => `d${String(i).padStart(3, '0')}`)
  for (const [i, id] of ids.entries()) {
    await store.put(limitsOf(id, []), null, UNTOLD)
    await store.setRenewal(id, 1, 1_000 - i)
  }
  const first = await store.takeDue(1_000, 500)
  t.strictSame(first, ids.toReversed().slice(0, 100))
  const rest = await Promise.all(Array.from({ length: 4 }, () => store.takeDue(1_000, 500)))
  t.strictSame(rest.flat().sort(), ids.slice(0, 50))
  t.strictSame(await store.takeDue(1_499, 500), [])
  t.equal((await store.takeDue(1_500, 500)).length, 100, 'given out again when the lease is over')
})

t.test('a row that is not a whole list of limits is refused, never half read', async (t) => {
  await database.query('damage', {
    text: `insert into customer_limits (customer_id, time_zone, version, own_limits)
           values ('damaged', 'UTC', 1, '[{"id": "a", "max": 1.5}]')`
  })
  await t.rejects(store.find('damaged'), /damaged row.*limits.0.max must be integer/s)
})
