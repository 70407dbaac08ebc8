// What becomes of rows, on a real database and files as a former service exports them.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { OUTCOMES } from '../../domain/customers/import/customer-import.ts'
import { OWN_NAMES, readMapping } from '../../domain/customers/import/import-mapping.ts'
import { Database } from '../../sql/connect.ts'
import { PostgresCustomerImport } from '../../sql/import/customer-import.ts'
import { RehearsedCustomerImport } from '../../sql/import/rehearsal.ts'
import { SourceTables } from '../../sql/import/source-tables.ts'
import { startCustomerService } from '../../test/customer-service.ts'
import { addCustomer, addPlan } from '../../test/plans-and-customers.ts'
import { importCustomers } from './import-customers.ts'
import { SourceFiles } from './source-files.ts'

type Test = Pick<typeof import('tap').t, 'teardown'>
type Files = Readonly<Record<string, string | Uint8Array>>
interface Row {
  readonly [column: string]: unknown
}

const EXAMPLES = join(import.meta.dirname, '../../docs/examples/migration')
/** A Tuesday, in the afternoon of Dakar. */
const NOW = Date.parse('2026-03-10T15:20:00Z')

async function makeTarget(t: Test) {
  const service = await startCustomerService(t)
  const { databaseUrl } = service
  const database = new Database({ databaseUrl, applicationName: 'test', role: 'tokenmeter_platform' })
  const owner = new Database({ databaseUrl, applicationName: 'test', role: 'login' })
  t.teardown(() => Promise.all([database.close(), owner.close()]))
  const run = async (
    source: SourceFiles | SourceTables,
    { mapping = OWN_NAMES, isRehearsed = false, batchSize = 3, withEvents = true } = {}
  ) => {
    const lines: string[] = []
    const store = isRehearsed
      ? new RehearsedCustomerImport(database, (line) => lines.push(line))
      : new PostgresCustomerImport(database)
    const dependencies = { source, mapping, store, now: () => NOW, onProgress: () => undefined }
    const counts = await importCustomers(dependencies, { isResumed: false, batchSize, withEvents })
    lines.push(...(await Array.fromAsync(store.refusals())))
    await source.close()
    const refused = lines.map((line): Row => JSON.parse(line))
    const told = [...counts].map(([part, of]) => [part, OUTCOMES.map((outcome) => of[outcome])])
    return { refused, counts: Object.fromEntries(told) }
  }
  return {
    service,
    database,
    databaseUrl,
    look: async (text: string) => [...(await owner.query<Row>('look', { text }))],
    run,
    /** Files as a folder, with our own names unless told otherwise. */
    take: async (files: Files, options: Parameters<typeof run>[1] = {}) => {
      const folder = mkdtempSync(join(tmpdir(), 'tokenmeter-import-'))
      t.teardown(() => rmSync(folder, { recursive: true, force: true }))
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
      return run(await SourceFiles.open(folder, options.mapping ?? OWN_NAMES), options)
    }
  }
}

function mappingOf(file: unknown) {
  const read = readMapping(file)
  if ('mapping' in read) return read.mapping
  throw new Error(JSON.stringify(read.faults))
}

const jsonLines = (...rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
const customer = (externalId: string, others: object = {}) => ({
  externalId,
  kind: 'sme',
  legalName: `Société ${externalId}`,
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  taxId: `T-${externalId}`,
  ...others
})
const user = (customerExternalId: string, email: string, others: object = {}) => ({
  customerExternalId,
  email,
  role: 'owner',
  ...others
})
const subscription = (customerExternalId: string, others: object = {}) => ({
  customerExternalId,
  planCode: 'plan',
  anchor: '2025-01-31',
  ...others
})

t.test('the export of the institution service is taken over', async (t) => {
  const target = await makeTarget(t)
  const mapping = mappingOf(JSON.parse(readFileSync(`${EXAMPLES}/institution/mapping.json`, 'utf8')))
  const done = await target.run(await SourceFiles.open(`${EXAMPLES}/institution/customers.jsonl`, mapping), { mapping })
  t.same(done, { refused: [], counts: { customers: [2, 0, 0, 0] } })
  t.match(
    await target.look('select external_id, payment_terms_days, contacts, metadata from customer order by external_id'),
    [
      {
        external_id: 'if-7',
        payment_terms_days: 45,
        contacts: [{ purpose: 'billing' }, { phone: null }],
        metadata: { branches: 41 }
      },
      { external_id: 'if-8', payment_terms_days: 30, contacts: [] }
    ]
  )
})

t.test('the tables of a former service are taken over, and read on after the last key', async (t) => {
  const target = await makeTarget(t)
  await target.look('create schema gestion')
  await target.look(
    `create table gestion.societe (id integer primary key, raison_sociale text, numero_fiscal text, pays text, actif boolean)`
  )
  await target.look(
    `insert into gestion.societe select i, 'Société ' || i, 'T-' || i, null, i <> 2 from generate_series(1, 1200) as i`
  )
  await target.look(
    'create table gestion.utilisateur (id bigint primary key, societe_id integer, courriel text, nom text, profil text)'
  )
  await target.look(
    `insert into gestion.utilisateur values (1, 1, 'A@un.example', null, 'G'), (2, 999999, 'b@x.example', 'B', 'L')`
  )
  await target.look(
    'create table gestion.abonnement (societe_id integer primary key, formule text, formule_version smallint, debut date)'
  )
  await target.look(`insert into gestion.abonnement values (1, 'plan', 1, '2025-01-31')`)
  await addPlan(target.service, { code: 'plan', currency: 'XOF' })
  const mapping = mappingOf(JSON.parse(readFileSync(`${EXAMPLES}/tables/mapping.json`, 'utf8')))
  const tables = await SourceTables.open(target.databaseUrl, mapping)
  t.notMatch(tables.name, /@/, 'its name holds no password')
  const after = await Array.fromAsync(tables.rows('customers', { rows: 1_198, key: '1198' }))
  t.match(after, [{ row: 1_199, key: '1199', values: { id: '1199', actif: 'true' } }, { row: 1_200 }])
  const done = await target.run(tables, { mapping, batchSize: 500 })
  t.same(done.counts, { customers: [1_200, 0, 0, 0], users: [1, 0, 0, 1], subscriptions: [1, 0, 0, 0] })
  t.match(done.refused, [{ part: 'users', line: 2, externalId: 'pme-999999', field: 'customerExternalId' }])
  t.same(await target.look(`select external_id from customer where status = 'suspended'`), [{ external_id: 'pme-2' }])
  await t.rejects(
    SourceTables.open(target.databaseUrl, mappingOf({ users: { table: 'nowhere', key: 'id', fields: {} } })),
    {
      message: /nowhere/
    }
  )
})

/** What a row is, and the field and reason of its refusal. */
const REFUSED: readonly (readonly [part: string, row: object, field: string, reason: RegExp])[] = [
  ['customers', { ...customer(''), externalId: undefined }, 'externalId', /printable/],
  ['customers', customer('x1', { externalId: 'a\u0000b' }), 'externalId', /printable/],
  ['customers', customer('x2', { kind: 'bank' }), 'kind', /must be one of sme/],
  ['customers', customer('x3', { legalName: '' }), 'legalName', /printable/],
  ['customers', customer('x4', { country: 'Sénégal' }), 'country', /ISO 3166/],
  ['customers', customer('x5', { currency: 'CFA' }), 'currency', /ISO 4217/],
  ['customers', customer('x6', { timeZone: 'Dakar' }), 'timeZone', /IANA/],
  ['customers', customer('x7', { taxId: null }), 'taxId', /required/],
  ['customers', customer('x8', { paymentTermsDays: '1000' }), 'paymentTermsDays', /0 to 180/],
  ['customers', customer('x9', { status: 'actif' }), 'status', /must be one of active/],
  ['customers', customer('x10', { contacts: [{ purpose: 'billing', name: 'A' }] }), 'contacts[0].email', /printable/],
  ['customers', customer('x11', { metadata: 'none' }), 'metadata', /object/],
  ['customers', customer('x12', { siret: '1' }), 'siret', /not a known field/],
  [
    'customers',
    customer('known', { kind: 'institution', registrationNumber: 'R', contractReference: 'C' }),
    'externalId',
    /on line 1 already/
  ],
  ['users', user('nobody', 'a@x.example'), 'customerExternalId', /no customer/],
  ['users', user('known', ''), 'email', /printable/],
  ['users', user('known', 'somebody'), 'email', /e-mail/],
  ['users', user('known', 'r@x.example', { role: 'king' }), 'role', /must be one of owner/],
  ['users', user('known', 's@x.example', { status: 'gone' }), 'status', /must be one of invited/],
  ['users', user('known', 'ONE@x.example'), 'email', /on line 1 already/],
  ['subscriptions', subscription('nobody'), 'customerExternalId', /no customer/],
  ['subscriptions', subscription('suspended'), 'customerExternalId', /suspended or closed/],
  ['subscriptions', subscription('s1', { planCode: 'gold' }), 'planCode', /gold is no plan/],
  ['subscriptions', subscription('s2', { planVersion: 9 }), 'planCode', /version 9 is no plan/],
  ['subscriptions', subscription('s3', { planCode: 'draft' }), 'planCode', /not published/],
  ['subscriptions', subscription('s4', { planCode: 'bank' }), 'planCode', /another kind/],
  ['subscriptions', subscription('s5', { planCode: 'euro' }), 'planCode', /another currency/],
  ['subscriptions', subscription('s6', { anchor: '31/01/2025' }), 'anchor', /a date such as/],
  ['subscriptions', subscription('s7', { anchor: '2025-02-30' }), 'anchor', /a date such as/],
  ['subscriptions', subscription('s8', { anchor: '2026-03-11' }), 'anchor', /later than today, 2026-03-10/],
  [
    'subscriptions',
    subscription('s9', { status: 'trialing', anchor: '2026-03-10' }),
    'anchor',
    /must be later than today/
  ],
  ['subscriptions', subscription('s10', { status: 'paused' }), 'status', /must be one of active/],
  ['subscriptions', subscription('known'), 'customerExternalId', /on line 1 already/]
]

t.test('a row that is refused is told with its line, its field, the reason and the row itself', async (t) => {
  const target = await makeTarget(t)
  await addPlan(target.service, { code: 'plan', currency: 'XOF' })
  await addPlan(target.service, { code: 'draft', currency: 'XOF', status: 'draft', publishedAt: null })
  await addPlan(target.service, { code: 'bank', currency: 'XOF', onlyFor: 'institution' })
  await addPlan(target.service, { code: 'euro', currency: 'EUR' })
  const others = Array.from({ length: 10 }, (_, i) => customer(`s${i + 1}`))
  const sound = {
    customers: [customer('known'), customer('suspended', { status: 'suspended' }), ...others],
    users: [user('known', 'one@x.example')],
    subscriptions: [subscription('known')]
  }
  const rowsOf = (part: string) => REFUSED.filter(([of]) => of === part)
  const files = Object.fromEntries(
    Object.entries(sound).map(([part, rows]) => [
      `${part}.jsonl`,
      jsonLines(...rows, ...rowsOf(part).map(([, row]) => row))
    ])
  )
  const rehearsed = await target.take(files, { isRehearsed: true })
  t.same(await target.look('select count(*) from customer'), [{ count: '0' }])
  const done = await target.take(files)
  t.same(rehearsed, done, 'a dry run says the same')
  t.equal(done.refused.length, REFUSED.length)
  for (const [i, [part, row, field, reason]] of REFUSED.entries()) {
    const told = done.refused[i]
    const first = Object.entries(sound).find(([of]) => of === part)?.[1].length ?? 0
    const line = first + rowsOf(part).findIndex(([, of]) => of === row) + 1
    t.match(told, { part, line, field, reason }, `${part} ${field}`)
    t.same(told?.row, JSON.parse(JSON.stringify(row)))
  }
  t.same(done.counts, { customers: [12, 0, 0, 14], users: [1, 0, 0, 6], subscriptions: [1, 0, 0, 13] })
})

t.test('what is there already changes by what a row states, and only by that', async (t) => {
  const target = await makeTarget(t)
  await addPlan(target.service, { code: 'plan', currency: 'XOF' })
  const rows = [customer('a', { locale: 'fr', metadata: { tier: 1 } }), customer('b'), customer('c')]
  await target.take({
    'customers.jsonl': jsonLines(...rows),
    'users.jsonl': jsonLines(user('a', 'o@a.example'), user('a', 'v@a.example', { role: 'viewer', status: 'invited' })),
    'subscriptions.jsonl': jsonLines(subscription('b'))
  })
  await target.look('delete from outbox')
  await target.look('update customer_limits set renew_at = 1')
  const { taxId: _, ...withoutTaxId } = customer('a', { legalName: 'Autre nom' })
  const done = await target.take({
    'customers.jsonl': jsonLines(
      withoutTaxId,
      customer('b', { status: 'suspended' }),
      customer('c', { kind: 'institution' })
    ),
    'users.jsonl': jsonLines(
      user('a', 'o@a.example', { role: 'viewer' }),
      user('a', 'v@a.example', { role: 'admin', status: 'active' })
    ),
    'subscriptions.jsonl': jsonLines(subscription('b'), subscription('c', { status: 'trialing', anchor: '2026-03-20' }))
  })
  t.same(done.counts, { customers: [0, 2, 0, 1], users: [0, 1, 0, 1], subscriptions: [1, 0, 1, 0] })
  t.match(done.refused, [
    { externalId: 'c', field: 'registrationNumber' },
    { field: 'role', reason: 'is the last owner of its customer' }
  ])
  t.match(
    await target.look(
      'select legal_name, tax_id, locale, metadata, status, version from customer order by external_id'
    ),
    [
      { legal_name: 'Autre nom', tax_id: 'T-a', locale: 'fr', metadata: { tier: 1 }, version: 2 },
      { status: 'suspended', version: 2 },
      { version: 1 }
    ]
  )
  t.match(await target.look('select type from outbox order by position'), [
    { type: 'customer.updated' },
    { type: 'customer.suspended' },
    { type: 'user.updated' },
    { type: 'subscription.created' }
  ])
  t.same(await target.look('select count(*) from customer_limits where renew_at = 0'), [{ count: '2' }])
  t.match(
    await target.look(`select status, is_trial, period_start = '2026-03-10', trial_end = '2026-03-20' as ends
                         from subscription natural join (select subscription_id as id, is_trial from subscription_period) as p
                        where anchor = '2026-03-20'`),
    [{ status: 'trialing', is_trial: true, ends: true }]
  )
})

t.test('of two processes that go on with one import the second writes nothing', async (t) => {
  const { database, look } = await makeTarget(t)
  const source = { name: 'source', fingerprint: 'same' }
  const first = new PostgresCustomerImport(database)
  const second = new PostgresCustomerImport(database)
  await first.begin(source, true)
  const stands = await second.begin(source, true)
  t.same(stands.get('customers')?.place, { rows: 0, key: null })
  const batch = { part: 'customers', from: { rows: 0, key: null }, to: { rows: 1, key: null }, candidates: [] } as const
  const nothing = { customers: [], users: [], subscriptions: [], audit: [], events: [], refusals: [] }
  const judge = () => ({ ...nothing, counts: { created: 0, updated: 0, unchanged: 1, refused: 0 } })
  await first.apply(batch, judge)
  await t.rejects(second.apply(batch, judge), { message: /another process goes on with this import/ })
  t.same(await look(`select rows_read from customer_import_part where part = 'customers'`), [{ rows_read: '1' }])
})

t.test('what somebody else made meanwhile stops the batch, which can be resumed from', async (t) => {
  const { database, look, service } = await makeTarget(t)
  const made = await addCustomer(service, { externalId: 'a' })
  const store = new PostgresCustomerImport(database)
  await store.begin({ name: 'source', fingerprint: 'same' }, false)
  const batch = { part: 'customers', from: { rows: 0, key: null }, to: { rows: 1, key: null }, candidates: [] } as const
  const customers = [{ before: null, next: { ...made, id: 'another' } }]
  const others = { users: [], subscriptions: [], audit: [], events: [], refusals: [] }
  const counts = { created: 1, updated: 0, unchanged: 0, refused: 0 }
  await t.rejects(
    store.apply(batch, () => ({ ...others, customers, counts })),
    { name: 'RetryableError', code: 'postgres-conflict', message: /^could not import customers 1 to 1: .*external_id/ }
  )
  t.same(await look('select sum(rows_read) as rows from customer_import_part'), [{ rows: '0' }])
})

t.test('without events nobody is told, and the trail is', async (t) => {
  const target = await makeTarget(t)
  await target.take({ 'customers.jsonl': jsonLines(customer('a')) }, { withEvents: false })
  t.same(
    await target.look('select (select count(*) from outbox) as events, (select count(*) from audit_event) as records'),
    [{ events: '0', records: '1' }]
  )
})
