/**
 * Customers as the OpenAPI document shows them. The rules themselves are `validateCustomer` of the domain, whose messages name the
 * field and know what a kind of customer requires; the bodies here describe the same shape to readers and generators.
 */
import Type from 'typebox'
import {
  CONTACT_PURPOSES,
  CUSTOMER_KINDS,
  CUSTOMER_STATUSES,
  type Customer,
  LOCALES
} from '../../domain/customers/customer.ts'
import {
  CONTACTS_MAX,
  EMAIL_LENGTH_MAX,
  NAME_LENGTH_MAX,
  PAYMENT_TERMS_DAYS_MAX,
  PHONE_LENGTH_MAX,
  REFERENCE_LENGTH_MAX
} from '../../domain/customers/validate-customer.ts'
import type { Json } from '../../domain/json.ts'
import * as schemas from './shared.ts'

const reference = (description: string) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], minLength: 1, maxLength: REFERENCE_LENGTH_MAX, description })

const contact = {
  purpose: schemas.oneOf(CONTACT_PURPOSES, 'What it is for.'),
  name: Type.String({ minLength: 1, maxLength: NAME_LENGTH_MAX }),
  email: Type.String({ minLength: 3, maxLength: EMAIL_LENGTH_MAX })
}
const Phone = Type.Unsafe<string | null>({ type: ['string', 'null'], minLength: 1, maxLength: PHONE_LENGTH_MAX })
const ContactStated = Type.Object(
  { ...contact, phone: Type.Optional(Phone) },
  { ...schemas.strict, title: 'ContactStated' }
)
const ContactTold = Type.Object({ ...contact, phone: Phone }, { ...schemas.strict, title: 'Contact' })

const kind = schemas.oneOf(
  CUSTOMER_KINDS,
  '`sme`: has a tax id. `institution`: has a registration number and the reference of a contract. It never changes.'
)
const fields = {
  legalName: Type.String({ description: 'Its name in law.', minLength: 1, maxLength: NAME_LENGTH_MAX }),
  externalId: reference('What another system calls it; unique.'),
  country: Type.String({ description: 'ISO 3166-1 alpha-2.', pattern: '^[A-Z]{2}$' }),
  currency: Type.String({ description: 'ISO 4217: of its invoices.', pattern: '^[A-Z]{3}$' }),
  timeZone: Type.String({ description: 'IANA time zone: its days and billing periods begin at midnight there.' }),
  locale: schemas.oneOf(LOCALES, 'Language of its invoices.'),
  taxId: reference('Required of an SME.'),
  registrationNumber: reference('In a register, or of a licence; required of an institution.'),
  contractReference: reference('Required of an institution.'),
  purchaseOrderNumber: reference("On an institution's invoices."),
  paymentTermsDays: Type.Integer({
    description:
      'Days after the invoice until it is due; 0: on receipt. Unless told, 0 for an SME and 30 for an institution.',
    minimum: 0,
    maximum: PAYMENT_TERMS_DAYS_MAX
  })
}
const contacts = { maxItems: CONTACTS_MAX, description: 'Whom to turn to.' }
const Metadata = Type.Unsafe<Readonly<Record<string, Json>>>({
  type: 'object',
  additionalProperties: true,
  description: 'Whatever the caller keeps with the customer: at most 50 keys and 16,384 bytes of JSON.'
})

const optional = {
  externalId: Type.Optional(fields.externalId),
  locale: Type.Optional(fields.locale),
  taxId: Type.Optional(fields.taxId),
  registrationNumber: Type.Optional(fields.registrationNumber),
  contractReference: Type.Optional(fields.contractReference),
  purchaseOrderNumber: Type.Optional(fields.purchaseOrderNumber),
  paymentTermsDays: Type.Optional(fields.paymentTermsDays),
  contacts: Type.Optional(Type.Array(ContactStated, contacts)),
  metadata: Type.Optional(Metadata)
}

const EXAMPLE_FIELDS = {
  kind: 'institution',
  legalName: 'Banque du Littoral SA',
  externalId: 'crm-10382',
  country: 'SN',
  currency: 'XOF',
  timeZone: 'Africa/Dakar',
  locale: 'fr',
  registrationNumber: 'SN-DKR-2004-B-1032',
  contractReference: 'MSA-2026-014',
  paymentTermsDays: 45,
  contacts: [
    { purpose: 'billing', name: 'Awa Ndiaye', email: 'facturation@littoral.example', phone: '+221 33 800 00 00' }
  ],
  metadata: { segment: 'bank' }
} as const

export const NewCustomerBody = Type.Object(
  {
    kind,
    legalName: fields.legalName,
    country: fields.country,
    currency: fields.currency,
    timeZone: fields.timeZone,
    ...optional
  },
  {
    ...schemas.strict,
    title: 'NewCustomer',
    examples: [
      EXAMPLE_FIELDS,
      {
        kind: 'sme',
        legalName: 'Clinique Amina SARL',
        country: 'SN',
        currency: 'XOF',
        timeZone: 'Africa/Dakar',
        taxId: '0058291 2G3'
      }
    ]
  }
)

export const CustomerPatchBody = Type.Object(
  {
    legalName: Type.Optional(fields.legalName),
    country: Type.Optional(fields.country),
    currency: Type.Optional(fields.currency),
    timeZone: Type.Optional(fields.timeZone),
    ...optional
  },
  {
    ...schemas.strict,
    title: 'CustomerPatch',
    description: 'What is left out stays, null takes away; contacts and metadata are replaced whole.',
    examples: [{ legalName: 'Banque du Littoral et du Sahel SA', purchaseOrderNumber: 'PO-7741' }]
  }
)

/** In the order of `tellCustomer`: a repeat of a request is answered with the JSON that the store kept. */
export const CustomerTold = Type.Object(
  {
    id: Type.String({ description: 'Id of the customer: the subject of its usage events.' }),
    kind,
    status: schemas.oneOf(
      CUSTOMER_STATUSES,
      'Calls of a customer that is `suspended` or `closed` are denied. `closed` is for ever.'
    ),
    ...fields,
    contacts: Type.Array(ContactTold, contacts),
    metadata: Metadata,
    version: Type.Integer({ description: 'Raised by one with each change; the ETag is this number in quotes.' }),
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant
  },
  { ...schemas.strict, title: 'Customer', description: 'A customer.' }
)

export const CUSTOMER_EXAMPLE = {
  id: '0198c0de-0000-7000-8000-000000000002',
  status: 'active',
  ...EXAMPLE_FIELDS,
  taxId: null,
  purchaseOrderNumber: null,
  version: 1,
  createdAt: '2026-03-12T09:30:00.000Z',
  updatedAt: '2026-03-12T09:30:00.000Z'
} as const

export function tellCustomer(customer: Customer) {
  return {
    id: customer.id,
    kind: customer.kind,
    status: customer.status,
    legalName: customer.legalName,
    externalId: customer.externalId,
    country: customer.country,
    currency: customer.currency,
    timeZone: customer.timeZone,
    locale: customer.locale,
    taxId: customer.taxId,
    registrationNumber: customer.registrationNumber,
    contractReference: customer.contractReference,
    purchaseOrderNumber: customer.purchaseOrderNumber,
    paymentTermsDays: customer.paymentTermsDays,
    contacts: customer.contacts.map(({ purpose, name, email, phone }) => ({ purpose, name, email, phone })),
    metadata: customer.metadata,
    version: customer.version,
    createdAt: new Date(customer.createdAt).toISOString(),
    updatedAt: new Date(customer.updatedAt).toISOString()
  }
}
