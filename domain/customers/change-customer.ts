/** How a customer comes to be and what may become of it. Pure: whoever asks brings the id and the time, and stores what comes out. */
import type { BodyFault } from '../body-place.ts'
import { isObject } from '../tokens/field-reader.ts'
import type { Contact, Customer, CustomerStatus } from './customer.ts'
import { type CustomerFields, validateCustomer } from './validate-customer.ts'

export type ContactStated = Omit<Contact, 'phone'> & { readonly phone?: string | null }

/** What has to be stated of a new customer; the rest has defaults. */
type Required = Pick<CustomerFields, 'kind' | 'legalName' | 'country' | 'currency' | 'timeZone'>

export type NewCustomer = Required &
  Partial<Omit<CustomerFields, keyof Required | 'contacts'>> & { readonly contacts?: readonly ContactStated[] }

/** Each field that is named is replaced as a whole, lists and metadata too; null takes away. */
export type CustomerPatch = Partial<Omit<CustomerFields, 'kind' | 'contacts'>> & {
  readonly contacts?: readonly ContactStated[]
}

export type Stated = { readonly next: Customer } | { readonly faults: readonly BodyFault[] }
export type Moved = { readonly next: Customer } | { readonly refused: string }

/** Days after the invoice until it is due, unless told otherwise: an SME pays on receipt. */
const PAYMENT_TERMS_DAYS = { sme: 0, institution: 30 } as const

const NOT_STATED = {
  externalId: null,
  locale: 'en',
  taxId: null,
  registrationNumber: null,
  contractReference: null,
  purchaseOrderNumber: null,
  contacts: [],
  metadata: {}
} as const

/** The types of `input` are not believed: whatever it is, it is a customer or its faults are told. */
export function newCustomer(input: NewCustomer, { id, now }: { readonly id: string; readonly now: number }): Stated {
  if (!isObject(input)) return { faults: validateCustomer(input) }
  const paymentTermsDays = input.kind === 'institution' ? PAYMENT_TERMS_DAYS.institution : PAYMENT_TERMS_DAYS.sme
  const fields = { ...NOT_STATED, paymentTermsDays, ...input }
  const faults = validateCustomer(fields)
  if (faults.length > 0) return { faults }
  const contacts = withPhones(fields.contacts)
  return { next: { ...fields, contacts, id, status: 'active', version: 1, createdAt: now, updatedAt: now } }
}

/** As `newCustomer`: whatever `patch` is. A kind never changes, though it may be stated. */
export function changeCustomer(customer: Customer, patch: CustomerPatch, now: number): Stated {
  if (!isObject(patch)) return { faults: validateCustomer(patch) }
  const { id, status, version, createdAt, updatedAt: _, ...stored } = customer
  const fields = { ...stored, ...patch }
  const faults = [...validateCustomer(fields)]
  if (fields.kind !== customer.kind) faults.push({ field: 'kind', message: `is ${customer.kind} and can not change` })
  if (faults.length > 0) return { faults }
  const contacts = withPhones(fields.contacts)
  return { next: { ...fields, contacts, id, status, version: version + 1, createdAt, updatedAt: now } }
}

const STEPS = {
  suspend: { from: ['active'], to: 'suspended' },
  reactivate: { from: ['suspended'], to: 'active' },
  close: { from: ['active', 'suspended'], to: 'closed' }
} as const satisfies Record<string, { readonly from: readonly CustomerStatus[]; readonly to: CustomerStatus }>

export type CustomerStep = keyof typeof STEPS

export function moveCustomer(customer: Customer, step: CustomerStep, now: number): Moved {
  const from: readonly CustomerStatus[] = STEPS[step].from
  if (!from.includes(customer.status)) {
    return {
      refused: `A customer that is ${customer.status} can not be moved by ${step}: it must be ${from.join(' or ')}.`
    }
  }
  return { next: { ...customer, status: STEPS[step].to, version: customer.version + 1, updatedAt: now } }
}

/** A contact's phone may be left out. */
function withPhones(contacts: readonly ContactStated[]): readonly Contact[] {
  return contacts.map(({ purpose, name, email, phone = null }) => ({ purpose, name, email, phone }))
}
