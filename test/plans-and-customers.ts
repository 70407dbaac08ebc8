// Customers, plans and keys for tests that need some, written straight to the stores: how they come about is tested elsewhere.

import { randomUUIDv7 } from 'node:crypto'
import { SCOPES } from '../api/access/access-rule.ts'
import { type Change, PLATFORM } from '../domain/change.ts'
import { hashOf, makeSecret } from '../domain/customers/api-key.ts'
import type { Customer } from '../domain/customers/customer.ts'
import type { PlanVersion } from '../domain/subscriptions/plan.ts'
import type { CustomerService } from './customer-service.ts'

type Service = Pick<CustomerService, 'stores' | 'now'>

/** Told to nobody. */
const UNTOLD: Change = { reach: PLATFORM, audit: [], events: [], request: null }

/** An SME of Paris. */
export function customerOf(content: Partial<Customer> = {}): Customer {
  return {
    id: randomUUIDv7(),
    kind: 'sme',
    status: 'active',
    legalName: 'Clinique du Lac',
    externalId: null,
    country: 'FR',
    currency: 'EUR',
    timeZone: 'Europe/Paris',
    locale: 'fr',
    taxId: 'FR40303265045',
    registrationNumber: null,
    contractReference: null,
    purchaseOrderNumber: null,
    paymentTermsDays: 0,
    contacts: [],
    metadata: {},
    version: 1,
    createdAt: 0,
    updatedAt: 0,
    ...content
  }
}

/** A published version, by the month and without a trial. */
export function planOf(content: Partial<PlanVersion> = {}): PlanVersion {
  const id = randomUUIDv7()
  return {
    id,
    code: `plan-${id}`,
    version: 1,
    status: 'published',
    title: 'Plan',
    currency: 'EUR',
    interval: 'month',
    baseFeeMinor: 3_100n,
    trialDays: 0,
    onlyFor: null,
    prices: [],
    limits: [],
    revision: 1,
    createdAt: 0,
    updatedAt: 0,
    publishedAt: 0,
    ...content
  }
}

export async function addCustomer({ stores }: Service, content: Partial<Customer> = {}): Promise<Customer> {
  const customer = customerOf(content)
  await stores.customerStore.insert(customer, UNTOLD)
  return customer
}

export async function addPlan({ stores }: Service, content: Partial<PlanVersion> = {}): Promise<PlanVersion> {
  const plan = planOf(content)
  return stores.planStore.insert(plan.code, (version) => ({ plan: { ...plan, version }, change: UNTOLD }))
}

/** The headers of a credential of the customer's that opens whatever any of its roles may. */
export async function addKey(
  { stores, now }: { readonly stores: Pick<Service['stores'], 'apiKeyStore'>; readonly now: Service['now'] },
  customerId: string
): Promise<Record<string, string>> {
  const secret = makeSecret('test')
  const key = {
    id: randomUUIDv7(),
    customerId,
    name: 'test',
    scopes: SCOPES,
    expiresAt: null,
    revokedAt: null,
    replacedBy: null,
    lastUsedAt: null,
    version: 1,
    createdAt: now(),
    updatedAt: now()
  }
  await stores.apiKeyStore.insert({ key, hash: hashOf(secret) }, UNTOLD)
  return { 'x-api-key': secret }
}
