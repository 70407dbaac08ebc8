/** The fields that a row may state, by part: names that a mapping file uses, and columns that a file without one has. */
import type { ImportPart } from './customer-import.ts'

/** How a text is read: `integer` and `json` from what a cell holds, which other sources may also state as such. */
export type FieldShape = 'text' | 'integer' | 'json'

export const IMPORT_FIELDS: Readonly<Record<ImportPart, Readonly<Record<string, FieldShape>>>> = {
  customers: {
    externalId: 'text',
    kind: 'text',
    legalName: 'text',
    country: 'text',
    currency: 'text',
    timeZone: 'text',
    locale: 'text',
    taxId: 'text',
    registrationNumber: 'text',
    contractReference: 'text',
    purchaseOrderNumber: 'text',
    paymentTermsDays: 'integer',
    status: 'text',
    contacts: 'json',
    metadata: 'json'
  },
  users: { customerExternalId: 'text', email: 'text', role: 'text', name: 'text', status: 'text' },
  subscriptions: {
    customerExternalId: 'text',
    planCode: 'text',
    planVersion: 'integer',
    anchor: 'text',
    status: 'text'
  }
}

const PART_OF_CONTACT = /^contacts\.(\d)\.(purpose|name|email|phone)$/
const PART_OF_METADATA = /^metadata\.(.+)$/

/** Where a field's value goes: into the row's fields, into one of its contacts, or into its metadata. Null: no such field. */
export type FieldPlace =
  | { readonly kind: 'plain'; readonly name: string; readonly shape: FieldShape }
  | { readonly kind: 'contact'; readonly index: number; readonly name: string }
  | { readonly kind: 'metadata'; readonly name: string }

export function placeOfField(part: ImportPart, field: string): FieldPlace | null {
  const fields = IMPORT_FIELDS[part]
  const shape = Object.hasOwn(fields, field) ? fields[field] : undefined
  if (shape !== undefined) return { kind: 'plain', name: field, shape }
  if (part !== 'customers') return null
  const [, index, member] = PART_OF_CONTACT.exec(field) ?? []
  if (index !== undefined && member !== undefined) return { kind: 'contact', index: Number(index), name: member }
  const [, key] = PART_OF_METADATA.exec(field) ?? []
  return key === undefined ? null : { kind: 'metadata', name: key }
}
