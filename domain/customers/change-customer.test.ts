import fc from 'fast-check'
import t from 'tap'
import { changeCustomer, moveCustomer, type NewCustomer, newCustomer } from './change-customer.ts'
import { COUNTRY_CODES } from './country-codes.ts'
import { CUSTOMER_STATUSES, type Customer } from './customer.ts'
import { validateCustomer } from './validate-customer.ts'

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
t.comment(`SEED=${seed}`)

const AT = { id: '0198c0de-0000-7000-8000-000000000002', now: 1_000 }
const SHARED = { legalName: 'Clinique Amina', country: 'SN', currency: 'XOF', timeZone: 'Africa/Dakar' } as const
const SME: NewCustomer = { ...SHARED, kind: 'sme', taxId: '0058291' }
const INSTITUTION: NewCustomer = {
  ...SHARED,
  kind: 'institution',
  registrationNumber: 'SN-DKR-2004-B-1032',
  contractReference: 'MSA-014'
}
const CONTACT = { purpose: 'billing', name: 'Awa', email: 'awa@clinic.example' } as const

function sound(input: NewCustomer): Customer {
  const stated = newCustomer(input, AT)
  if ('next' in stated) return stated.next
  throw new Error(JSON.stringify(stated.faults))
}

/** Whatever is stated: a body has no types. */
function faultsOf(input: unknown): string[] {
  const stated = newCustomer(input as NewCustomer, AT)
  return 'faults' in stated ? stated.faults.map(({ field }) => field) : []
}

function patchFaultsOf(customer: Customer, patch: object): string[] {
  const stated = changeCustomer(customer, patch, 2_000)
  return 'faults' in stated ? stated.faults.map(({ field }) => field) : []
}

t.test('a new customer is active, of version 1, and pays as its kind does unless told otherwise', async (t) => {
  t.match(sound(SME), {
    id: AT.id,
    status: 'active',
    version: 1,
    paymentTermsDays: 0,
    createdAt: 1_000,
    updatedAt: 1_000
  })
  t.match(sound(INSTITUTION), { paymentTermsDays: 30, locale: 'en', taxId: null, contacts: [], metadata: {} })
  t.equal(sound({ ...SME, paymentTermsDays: 14 }).paymentTermsDays, 14, 'terms may be given to an SME')
  t.equal(sound({ ...INSTITUTION, paymentTermsDays: 0 }).paymentTermsDays, 0)
  t.same(sound({ ...SME, contacts: [CONTACT] }).contacts, [{ ...CONTACT, phone: null }])
})

t.test('what a kind requires is required, and the other kind does without', async (t) => {
  t.same(faultsOf({ ...SME, taxId: undefined }), ['taxId'])
  t.same(faultsOf({ ...SME, taxId: null }), ['taxId'])
  t.same(faultsOf({ ...SHARED, kind: 'institution' }), ['registrationNumber', 'contractReference'])
  t.same(faultsOf({ ...SME, purchaseOrderNumber: 'PO-1' }), ['purchaseOrderNumber'])
  t.same(faultsOf({ ...INSTITUTION, purchaseOrderNumber: 'PO-1' }), [])
})

t.test('every fault names its field', async (t) => {
  const cases: readonly [object, string][] = [
    [{ kind: 'bank' }, 'kind'],
    [{ legalName: '' }, 'legalName'],
    [{ legalName: 'a\nb' }, 'legalName'],
    [{ legalName: 'x'.repeat(201) }, 'legalName'],
    [{ country: 'EU' }, 'country'],
    [{ country: 'sn' }, 'country'],
    [{ currency: 'XXZ' }, 'currency'],
    [{ currency: 7 }, 'currency'],
    [{ timeZone: '+01:00' }, 'timeZone'],
    [{ timeZone: 'Mars/Base' }, 'timeZone'],
    [{ locale: 'de' }, 'locale'],
    [{ externalId: '' }, 'externalId'],
    [{ externalId: 'x'.repeat(129) }, 'externalId'],
    [{ paymentTermsDays: -1 }, 'paymentTermsDays'],
    [{ paymentTermsDays: 181 }, 'paymentTermsDays'],
    [{ paymentTermsDays: 1.5 }, 'paymentTermsDays'],
    [{ status: 'closed' }, 'status'],
    [{ version: 7 }, 'version'],
    [{ contacts: null }, 'contacts'],
    [{ contacts: Array.from({ length: 21 }, () => CONTACT) }, 'contacts'],
    [{ contacts: [7] }, 'contacts[0]'],
    [{ contacts: [CONTACT, { ...CONTACT, email: 'nobody' }] }, 'contacts[1].email'],
    [{ contacts: [{ ...CONTACT, purpose: 'fun' }] }, 'contacts[0].purpose'],
    [{ contacts: [{ ...CONTACT, phone: '' }] }, 'contacts[0].phone'],
    [{ contacts: [{ ...CONTACT, age: 7 }] }, 'contacts[0].age'],
    [{ metadata: [] }, 'metadata'],
    [{ metadata: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, i])) }, 'metadata'],
    [{ metadata: { a: 'x'.repeat(16_384) } }, 'metadata'],
    [{ metadata: { a: '\0' } }, 'metadata'],
    [{ metadata: { a: ['\ud800'] } }, 'metadata'],
    [{ metadata: { a: { '\0': 1 } } }, 'metadata'],
    [{ metadata: { a: Number.POSITIVE_INFINITY } }, 'metadata'],
    [{ metadata: { a: [[[[[[]]]]]] } }, 'metadata'],
    [{ metadata: { ['k'.repeat(65)]: 1 } }, `metadata.${'k'.repeat(64)}…`]
  ]
  for (const [change, field] of cases) t.same(faultsOf({ ...SME, ...change }), [field], field)
  for (const body of [null, 7, 'x', []]) t.same(faultsOf(body), [''])
})

t.test('faults are told at once', async (t) => {
  t.same(faultsOf({ kind: 'sme', legalName: '', country: '', currency: '', timeZone: '' }), [
    'legalName',
    'country',
    'currency',
    'timeZone',
    'taxId'
  ])
})

t.test('whatever is stated either is a customer that its own rules let pass, or has faults', async () => {
  const bit = fc.oneof(fc.constant(undefined), fc.constant(null), fc.string(), fc.integer(), fc.jsonValue())
  const body = fc.record({
    kind: fc.constantFrom('sme', 'institution', 'bank'),
    legalName: fc.oneof(fc.constant('Clinique'), bit),
    country: fc.constantFrom('SN', 'FR', 'ZZ'),
    currency: fc.constantFrom('XOF', 'EUR', 'xof'),
    timeZone: fc.constantFrom('Africa/Dakar', 'Nowhere'),
    taxId: fc.oneof(fc.constant('1'), bit),
    registrationNumber: fc.oneof(fc.constant('2'), bit),
    contractReference: fc.oneof(fc.constant('3'), bit),
    contacts: fc.oneof(fc.constant([CONTACT]), bit),
    metadata: fc.oneof(fc.dictionary(fc.string({ minLength: 1 }), fc.jsonValue()), bit)
  })
  fc.assert(
    fc.property(body, (input) => {
      const stated = newCustomer(input as NewCustomer, AT)
      if ('faults' in stated) return stated.faults.length > 0
      const { id: _, status, version, createdAt, updatedAt, ...fields } = stated.next
      return status === 'active' && version === 1 && createdAt === updatedAt && validateCustomer(fields).length === 0
    }),
    { seed, numRuns: 2_000 }
  )
})

t.test('a patch changes what it names and nothing else, one version higher', async () => {
  const before = sound({ ...INSTITUTION, contacts: [CONTACT], metadata: { a: 1, b: 2 } })
  const patches = fc.record(
    {
      legalName: fc.constantFrom('Banque', 'Banque du Sahel'),
      externalId: fc.constantFrom(null, 'crm-1'),
      locale: fc.constantFrom('en' as const, 'fr' as const),
      paymentTermsDays: fc.integer({ min: 0, max: 180 }),
      metadata: fc.constantFrom({ c: 3 }, {})
    },
    { requiredKeys: [] }
  )
  fc.assert(
    fc.property(patches, (patch) => {
      const stated = changeCustomer(before, patch, 2_000)
      const expected = { ...before, ...patch, version: 2, updatedAt: 2_000 }
      return 'next' in stated && JSON.stringify(sorted(stated.next)) === JSON.stringify(sorted(expected))
    }),
    { seed }
  )
})

t.test('a patch may not take away what the kind requires, nor change the kind or what is the service’s', async (t) => {
  const institution = sound(INSTITUTION)
  t.same(patchFaultsOf(institution, { contractReference: null }), ['contractReference'])
  t.same(patchFaultsOf(institution, { kind: 'institution' }), [])
  t.same(patchFaultsOf(institution, { kind: 'sme', taxId: '7' }), ['kind'])
  t.same(patchFaultsOf(institution, { status: 'closed' }), ['status'])
  t.same(patchFaultsOf(institution, { id: 'x', version: 9 }), ['id', 'version'])
  t.same(patchFaultsOf(institution, []), [''])
})

t.test('a customer is suspended and reactivated any number of times, and closed once', async () => {
  const allowed = { suspend: ['active'], reactivate: ['suspended'], close: ['active', 'suspended'] } as const
  const becomes = { suspend: 'suspended', reactivate: 'active', close: 'closed' } as const
  const steps = fc.array(fc.constantFrom('suspend' as const, 'reactivate' as const, 'close' as const), {
    maxLength: 12
  })
  fc.assert(
    fc.property(steps, (path) => {
      let customer = sound(SME)
      for (const [i, step] of path.entries()) {
        const from: readonly string[] = allowed[step]
        const moved = moveCustomer(customer, step, 2_000 + i)
        if ('refused' in moved) {
          if (from.includes(customer.status)) return false
          continue
        }
        const { status, version } = customer
        if (!from.includes(status) || moved.next.status !== becomes[step] || moved.next.version !== version + 1)
          return false
        customer = moved.next
      }
      return CUSTOMER_STATUSES.includes(customer.status)
    }),
    { seed }
  )
})

t.test('countries are the 249 of ISO 3166-1, each with a name', async (t) => {
  const names = new Intl.DisplayNames('en', { type: 'region', fallback: 'none' })
  t.equal(COUNTRY_CODES.size, 249)
  for (const code of COUNTRY_CODES) t.ok(names.of(code), code)
})

function sorted(customer: Customer): unknown {
  return Object.entries(customer).sort(([a], [b]) => (a < b ? -1 : 1))
}
