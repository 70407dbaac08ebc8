import t from 'tap'
import { startCustomerService } from '../../test/customer-service.ts'

const CUSTOMER = {
  kind: 'sme',
  legalName: 'Clinique du Parc SARL',
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  taxId: 'SN-123',
  contacts: [{ purpose: 'billing', name: 'Awa Ndiaye', email: 'awa@clinic.example' }]
}

t.test('every change is told with who made it, newest first', async (t) => {
  const { call } = await startCustomerService(t)
  const created = await call('POST /v1/customers', CUSTOMER)
  t.equal(created.status, 201, created.text)
  const { id } = created.body
  t.equal((await call(`POST /v1/customers/${id}/suspend`)).status, 200)
  const { status, body } = await call(`GET /v1/audit-events?customerId=${id}`)
  t.equal(status, 200)
  t.match(body, {
    data: [
      { sequence: 2, action: 'customer.suspended', before: { status: 'active' }, after: { status: 'suspended' } },
      {
        sequence: 1,
        customerId: id,
        action: 'customer.created',
        actor: { kind: 'api-key', id: 'test', address: '127.0.0.1' },
        entity: { kind: 'customer', id },
        before: null,
        after: { contacts: [{ name: 'Awa Ndiaye', email: 'awa@clinic.example' }] },
        occurredAt: /Z$/,
        origin: null
      }
    ],
    nextCursor: null,
    hasMore: false
  })
  const first = await call(`GET /v1/audit-events?customerId=${id}&limit=1`)
  t.match(first.body, { data: [{ sequence: 2 }], hasMore: true })
  const second = await call(`GET /v1/audit-events?customerId=${id}&limit=1&cursor=${first.body.nextCursor}`)
  t.match(second.body, { data: [{ sequence: 1 }], hasMore: false })
  t.match((await call('GET /v1/audit-events?action=customer.cr*')).body.data, [{ action: 'customer.created' }])
  t.same((await call('GET /v1/audit-events?to=2001-01-01T00:00:00Z')).body.data, [])
})

t.test("a customer's key sees its own trail alone", async (t) => {
  const { call } = await startCustomerService(t)
  const own = (await call('POST /v1/customers', CUSTOMER)).body.id
  const foreign = (await call('POST /v1/customers', CUSTOMER)).body.id
  const key = await call('POST /v1/api-keys', { name: 'auditor', customerId: own, scopes: ['audit:read'] })
  t.equal(key.status, 201, key.text)
  const asOwn = { authorization: `Bearer ${key.body.secret}` }
  const seen = await call('GET /v1/audit-events', undefined, asOwn)
  t.equal(seen.status, 200, seen.text)
  t.same(new Set(seen.body.data.map(({ customerId }: { customerId: string }) => customerId)), new Set([own]))
  t.match(await call(`GET /v1/audit-events?customerId=${foreign}`, undefined, asOwn), {
    status: 404,
    body: { code: 'unknown-customer' }
  })
  const other = await call('POST /v1/api-keys', { name: 'meter', customerId: own, scopes: ['usage:read'] })
  const asOther = { authorization: `Bearer ${other.body.secret}` }
  t.match(await call('GET /v1/audit-events', undefined, asOther), { status: 403, body: { code: 'access-denied' } })
})

t.test('what can not be asked is refused with the field that is wrong', async (t) => {
  const { call } = await startCustomerService(t)
  for (const [query, field] of [
    ['from=yesterday', 'query.from'],
    ['from=2016-12-31T23:59:60Z', 'query.from'],
    ['cursor=zzz', 'query.cursor'],
    [`cursor=${Buffer.from('[-8640000000000000,"",1]').toString('base64url')}`, 'query.cursor'],
    ['limit=0', 'query.limit'],
    ['who=me', 'query.who']
  ] as const) {
    const { status, body } = await call(`GET /v1/audit-events?${query}`)
    t.equal(status, 400, query)
    t.match(body, { code: 'validation-failed', errors: [{ field }] }, query)
  }
})
