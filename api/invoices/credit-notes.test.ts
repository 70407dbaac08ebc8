import t from 'tap'
import { parseTaxTable } from '../../domain/billing/tax-table.ts'
import { HOUR_MS, startBillingService } from '../../test/billing/billing-service.ts'
import { addCustomer, addKey, addPlan } from '../../test/plans-and-customers.ts'

const MARCH_10 = Date.parse('2026-03-10T10:00:00Z')
const APRIL_10 = Date.parse('2026-04-09T22:00:00Z')
const PARALLEL = 12

const service = await startBillingService(t)
const { call, database } = service
const plan = await addPlan(service, { baseFeeMinor: 3_333n })

/** One invoice of 33.33 EUR and 20 % tax: 40.00, of which 6.67 are tax. */
async function billed() {
  service.setNow(MARCH_10)
  const customer = await addCustomer(service)
  await service.subscribe(customer, plan)
  await billAt(MARCH_10 + 3 * HOUR_MS)
  const { id } = (await call(`GET /v1/invoices?customerId=${customer.id}`)).body.data[0]
  return { customer, id, path: `/v1/invoices/${id}`, notes: `/v1/invoices/${id}/credit-notes` } as const
}

function billAt(at: number) {
  return service.billAt(at, { terms: { taxes: parseTaxTable(['FR:20']) } })
}

async function creditOf(customerId: string): Promise<number> {
  const [row] = await database.query<{ sum: number }>('sum', {
    text: 'select coalesce(sum(amount_minor), 0)::integer as sum from customer_credit where customer_id = $1',
    values: [customerId]
  })
  return row?.sum ?? 0
}

async function actionsOf(customerId: string, kind: string): Promise<string[]> {
  const rows = await database.query<{ action: string }>('read the trail', {
    text: 'select action from audit_event where customer_id = $1 and entity_kind = $2 order by sequence',
    values: [customerId, kind]
  })
  return rows.map(({ action }) => action)
}

t.test('credit notes take an invoice back, part by part, to the last unit of its tax', async (t) => {
  const { customer, path, notes } = await billed()
  const key = { 'idempotency-key': 'note-1' }
  const ask = { amountMinor: '1000', reason: 'Two hours without service' }
  const first = await call(`POST ${notes}`, ask, { ...key, 'if-match': '"1"' })
  t.match(first, { status: 201, headers: { location: `/v1/credit-notes/${first.body.id}` } })
  t.match(first.body, {
    amountMinor: '1000',
    taxMinor: '167',
    appliedMinor: '1000',
    keptMinor: '0',
    settlement: 'invoice'
  })
  t.match(first.body.number, /^CN-\d{6}$/)
  t.same(
    (await call(`POST ${notes}`, ask, { ...key, 'if-match': '"1"' })).body,
    first.body,
    'a repeat is the same note'
  )
  t.match((await call(`GET ${path}`)).body, {
    creditedMinor: '1000',
    openMinor: '3000',
    status: 'finalized',
    version: 2
  })
  t.equal((await call(`POST ${notes}`, ask, { 'if-match': '"1"' })).status, 412)
  t.match(await call(`POST ${notes}`, { ...ask, amountMinor: '3001' }), {
    status: 409,
    body: { code: 'illegal-transition', reason: 'more-than-left' }
  })
  t.match(await call(`POST ${path}/void`), { status: 409, body: { reason: 'has-credit-notes' } })
  const rest = await call(`POST ${notes}`, { reason: 'All of it' })
  t.match(rest.body, { amountMinor: '3000', taxMinor: '500', appliedMinor: '3000' })
  t.equal(Number(rest.body.number.slice(3)), Number(first.body.number.slice(3)) + 1, 'what was refused took no number')
  t.match((await call(`GET ${path}`)).body, { creditedMinor: '4000', openMinor: '0', status: 'paid', version: 3 })
  t.equal(await creditOf(customer.id), 0)
  t.same(await actionsOf(customer.id, 'credit-note'), ['credit-note.issued', 'credit-note.issued'])
  t.same(await actionsOf(customer.id, 'invoice'), ['invoice.finalized', 'invoice.credited', 'invoice.paid'])
  const events = await database.query('read', {
    text: `select type from outbox where customer_id = $1 and type like 'invoice.%' order by position`,
    values: [customer.id]
  })
  t.same(events, [{ type: 'invoice.finalized' }, { type: 'invoice.paid' }])
})

t.test('credit pays of the next invoice, and what was paid already becomes credit', async (t) => {
  const { customer, id, notes } = await billed()
  await database.query('pay', {
    text: `update invoice set paid_minor = due_minor, status = 'paid', closed_at = now(), version = 2 where id = $1`,
    values: [id]
  })
  const applied = await call(`POST ${notes}`, { amountMinor: '1500', reason: 'Too much' })
  t.match(applied.body, { settlement: 'invoice', appliedMinor: '0', keptMinor: '1500' })
  const kept = await call(`POST ${notes}`, { amountMinor: '500', settlement: 'credit', reason: 'Goodwill' })
  t.match(kept.body, { settlement: 'credit', appliedMinor: '0', keptMinor: '500' })
  t.equal(await creditOf(customer.id), 2_000)
  await billAt(APRIL_10 + 3 * HOUR_MS)
  const { body } = await call(`GET /v1/invoices?customerId=${customer.id}`)
  t.match(body.data[1], { totalMinor: '4000', creditAppliedMinor: '2000', dueMinor: '2000', openMinor: '2000' })
  t.equal(await creditOf(customer.id), 0)
})

t.test('notes that are issued at the same time never exceed the invoice, and leave no number out', async (t) => {
  const { notes } = await billed()
  const numbers = async () => {
    const rows = await database.query<{ place: number }>('read', {
      text: 'select substr(number, 4)::integer as place from credit_note order by number'
    })
    return rows.map(({ place }) => place)
  }
  const asked = Array.from({ length: PARALLEL }, () => call(`POST ${notes}`, { amountMinor: '900', reason: 'Again' }))
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  t.ok(statuses.includes(201) && statuses.every((status) => status === 201 || status === 409))
  for (let i = 0; i < 5; i++) await call(`POST ${notes}`, { amountMinor: '900', reason: 'Again' })
  const { body } = await call(`GET /v1/credit-notes?invoiceId=${notes.split('/')[3]}`)
  t.equal(body.data.length, 4, '4 times 9.00 of 40.00')
  const places = await numbers()
  t.same(
    places,
    places.map((_, i) => i + 1)
  )
})

t.test('a customer reads its own notes, and nobody credits what is a draft or void', async (t) => {
  const { customer, path, notes } = await billed()
  const { body: note } = await call(`POST ${notes}`, { amountMinor: '100', reason: 'A little' })
  const headers = await addKey(service, customer.id)
  t.same((await call(`GET /v1/credit-notes/${note.id}`, undefined, headers)).body, note)
  t.same((await call('GET /v1/credit-notes', undefined, headers)).body.data, [note])
  t.equal((await call(`POST ${notes}`, { reason: 'Mine' }, headers)).status, 403)
  const other = await billed()
  const stranger = await addKey(service, other.customer.id)
  t.match(await call(`GET /v1/credit-notes/${note.id}`, undefined, stranger), {
    status: 404,
    body: { code: 'unknown-credit-note' }
  })
  t.same((await call('GET /v1/credit-notes', undefined, stranger)).body.data, [])
  t.equal((await call(`POST ${path}0/credit-notes`, { reason: 'Nothing' })).status, 404)
  await call(`POST ${other.path}/void`)
  t.match(await call(`POST ${other.notes}`, { reason: 'Void' }), { status: 409, body: { reason: 'not-creditable' } })
  t.equal((await call(`POST ${notes}`, { amountMinor: '0', reason: 'Nothing' })).status, 400)
})
