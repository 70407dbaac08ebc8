import { randomUUIDv7 } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Compile } from 'typebox/schema'
import { tellCustomer } from '../../api/schemas/customers.ts'
import { tellUser } from '../../api/schemas/users.ts'
import type { InvoiceHead } from '../../domain/billing/invoices/invoice.ts'
import { invoiceToJson } from '../../domain/billing/invoices/invoice-json.ts'
import type { Payment } from '../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../domain/billing/payments/payment-json.ts'
import type { Customer } from '../../domain/customers/customer.ts'
import type { User } from '../../domain/customers/user.ts'
import type { JsonObject } from '../../domain/json.ts'
import { PUBLISHED_EVENT_TYPES, type PublishedEventType } from '../../domain/published-event.ts'
import type { Subscription } from '../../domain/subscriptions/subscription.ts'
import { subscriptionToJson } from '../../domain/subscriptions/subscription-json.ts'
import { EVENT_TYPE_PREFIX, encodePublishedEvent } from './encode-published-event.ts'

const FOLDER = join(import.meta.dirname, '..', '..', 'docs', 'events')
const SUFFIX = '.schema.json'
const AT = Date.UTC(2026, 10, 25, 12, 0, 0, 123)

const CUSTOMER: Customer = {
  id: 'c1',
  kind: 'institution',
  status: 'active',
  legalName: 'Banque du Littoral',
  externalId: null,
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  locale: 'fr',
  taxId: null,
  registrationNumber: 'R-1',
  contractReference: 'K-1',
  purchaseOrderNumber: null,
  paymentTermsDays: 30,
  contacts: [{ purpose: 'billing', name: 'A', email: 'a@bank.example', phone: null }],
  metadata: { segment: 'bank', tags: [1, null] },
  version: 1,
  createdAt: AT,
  updatedAt: AT
}

const USER: User = {
  id: 'u1',
  customerId: 'c1',
  email: 'a@bank.example',
  name: null,
  role: 'owner',
  status: 'invited',
  lastSeenAt: null,
  version: 1,
  createdAt: AT,
  updatedAt: AT
}

const SUBSCRIPTION: Subscription = {
  id: 's1',
  customerId: 'c1',
  planId: 'p1',
  status: 'active',
  anchor: '2026-11-25',
  interval: 'month',
  timeZone: 'Africa/Dakar',
  currentPeriod: { start: AT, end: AT + 1 },
  trialEnd: AT,
  scheduledChange: { kind: 'cancel', planId: null, at: AT + 1 },
  pausedAt: null,
  canceledAt: null,
  version: 2,
  createdAt: AT,
  updatedAt: AT
}

const INVOICE: InvoiceHead = {
  id: 'i1',
  number: 'INV-000001',
  customerId: 'c1',
  subscriptionId: 's1',
  status: 'finalized',
  boundary: AT,
  period: null,
  currency: 'XOF',
  billTo: CUSTOMER,
  issuer: null,
  subtotalMinor: 10_000n,
  burns: [{ grantId: 'g1', amountMinor: 1_000n }],
  grantsMinor: 1_000n,
  taxes: [{ rate: { percent: '18', isInclusive: false }, netMinor: 9_000n, taxMinor: 1_620n }],
  taxMinor: 1_620n,
  includedTaxMinor: 0n,
  totalMinor: 10_620n,
  creditAppliedMinor: 620n,
  dueMinor: 10_000n,
  paidMinor: 0n,
  creditedMinor: 0n,
  paymentTermsDays: 30,
  finalizedAt: AT,
  dueAt: AT,
  closedAt: null,
  version: 1,
  createdAt: AT,
  updatedAt: AT
}

const PAYMENT: Payment = {
  id: 'p1',
  customerId: 'c1',
  invoiceId: 'i1',
  provider: 'stripe',
  method: 'card',
  status: 'failed',
  amountMinor: 10_000n,
  currency: 'XOF',
  reference: 'pi_1',
  failureCode: 'insufficient_funds',
  refundedMinor: 0n,
  refundingMinor: 0n,
  excessMinor: 0n,
  refunds: 0,
  charged: { providerCustomer: 'cus_1', providerMethod: 'pm_1' },
  receivedAt: null,
  createdAt: AT,
  updatedAt: AT
}

/** What is told of each kind of entity, and of the types that tell more. */
const ENTITIES: Readonly<Record<string, JsonObject>> = {
  customer: tellCustomer(CUSTOMER),
  payment: paymentToJson(PAYMENT),
  user: tellUser(USER),
  subscription: subscriptionToJson(SUBSCRIPTION),
  invoice: invoiceToJson(INVOICE),
  'invoice.overdue': { ...invoiceToJson(INVOICE), reminder: 1 },
  quota: {
    customerId: 'c1',
    limitId: 'month',
    userId: null,
    model: null,
    percent: 80,
    used: 1_700,
    max: 2_000,
    mode: 'hard',
    windowEnd: new Date(AT).toISOString()
  }
}

function entityOf(type: string): JsonObject {
  const entity = ENTITIES[type] ?? ENTITIES[type.split('.')[0] ?? '']
  if (entity === undefined) throw new Error(`no example of what ${type} tells`)
  return entity
}

/** The schema in one piece: other files of the folder in place of what refers to them. */
function readSchema(name: string): object {
  return JSON.parse(readFileSync(join(FOLDER, name), 'utf8'), (_, value) =>
    typeof value === 'object' && typeof value?.$ref === 'string' ? readSchema(value.$ref) : value
  )
}

function emitted(type: PublishedEventType, data: JsonObject): Record<string, unknown> {
  const { value } = encodePublishedEvent({ id: randomUUIDv7(), type, customerId: 'c1', at: AT, data })
  return JSON.parse(value.toString())
}

function without(object: object, name: string): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([member]) => member !== name))
}

t.test('each type of event has one schema, and each schema a type', async (t) => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(SUFFIX))
  t.same(files.map((name) => name.slice(0, -SUFFIX.length)).toSorted(), PUBLISHED_EVENT_TYPES.toSorted())
})

for (const type of PUBLISHED_EVENT_TYPES) {
  t.test(
    `what is emitted as ${type} is what its schema says, and everything that is told is in the schema`,
    async (t) => {
      const schema = Compile(readSchema(`${type}${SUFFIX}`))
      const event = emitted(type, entityOf(type))
      t.same(schema.Errors(event), [true, []])
      t.match(event, { specversion: '1.0', type: `${EVENT_TYPE_PREFIX}${type}`, subject: 'c1', source: '/tokenmeter' })
      t.equal(event.time, '2026-11-25T12:00:00.123Z')
      for (const name of Object.keys(event)) t.notOk(schema.Check(without(event, name)), `${name} is required`)
      for (const name of Object.keys(entityOf(type))) {
        t.notOk(schema.Check(emitted(type, without(entityOf(type), name))), `data.${name} is required`)
      }
      t.notOk(schema.Check({ ...event, type: 'tokenmeter.other' }))
      t.ok(
        schema.Check({ ...event, traceparent: '00', data: { ...entityOf(type), later: 1 } }),
        'more may be told later'
      )
    }
  )
}
