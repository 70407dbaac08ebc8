import { sql } from 'slonik'
import { Type } from 'typebox'
import {
  CONTACT_PURPOSES,
  CUSTOMER_KINDS,
  CUSTOMER_STATUSES,
  type Customer,
  LOCALES
} from '../../domain/customers/customer.ts'
import type { Json } from '../../domain/json.ts'
import { type Row, rowParser } from '../encoding/row-parser.ts'

const NullableText = Type.Union([Type.String(), Type.Null()])

const Contact = Type.Object({
  purpose: Type.Enum([...CONTACT_PURPOSES]),
  name: Type.String(),
  email: Type.String(),
  phone: NullableText
})

export const CUSTOMER_COLUMNS = sql.fragment`
  id, kind, status, legal_name, external_id, country, currency, time_zone, locale, tax_id, registration_number,
  contract_reference, purchase_order_number, payment_terms_days, contacts, metadata, version, created_at, updated_at`

export const CUSTOMER_ROW = rowParser(
  'customer',
  Type.Object({
    id: Type.String(),
    kind: Type.Enum([...CUSTOMER_KINDS]),
    status: Type.Enum([...CUSTOMER_STATUSES]),
    legal_name: Type.String(),
    external_id: NullableText,
    country: Type.String(),
    currency: Type.String(),
    time_zone: Type.String(),
    locale: Type.Enum([...LOCALES]),
    tax_id: NullableText,
    registration_number: NullableText,
    contract_reference: NullableText,
    purchase_order_number: NullableText,
    payment_terms_days: Type.Integer(),
    contacts: Type.Array(Contact),
    metadata: Type.Unsafe<Readonly<Record<string, Json>>>(Type.Object({})),
    version: Type.Integer({ minimum: 1 }),
    created_at: Type.Number(),
    updated_at: Type.Number()
  })
)

export function toCustomer(row: Row<typeof CUSTOMER_ROW>): Customer {
  return {
    id: row.id,
    kind: row.kind,
    status: row.status,
    legalName: row.legal_name,
    externalId: row.external_id,
    country: row.country,
    currency: row.currency,
    timeZone: row.time_zone,
    locale: row.locale,
    taxId: row.tax_id,
    registrationNumber: row.registration_number,
    contractReference: row.contract_reference,
    purchaseOrderNumber: row.purchase_order_number,
    paymentTermsDays: row.payment_terms_days,
    contacts: row.contacts,
    metadata: row.metadata,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}
