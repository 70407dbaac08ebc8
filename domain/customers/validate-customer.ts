/**
 * Whether what came from outside is a customer. It looks at the whole of what a customer would be, after defaults or after a
 * patch, so that one set of rules serves both; every fault is told with its field. A customer without a fault is one that
 * Postgres takes.
 */
import { type BodyFault, Place } from '../body-place.ts'
import { isObject } from '../tokens/field-reader.ts'
import { isTimeZone } from '../tokens/windows.ts'
import { COUNTRY_CODES } from './country-codes.ts'
import { CONTACT_PURPOSES, CUSTOMER_KINDS, type Customer, LOCALES } from './customer.ts'

/** What a caller states of a customer; the rest is the service's. */
export type CustomerFields = Omit<Customer, 'id' | 'status' | 'version' | 'createdAt' | 'updatedAt'>

export const NAME_LENGTH_MAX = 200
export const REFERENCE_LENGTH_MAX = 128
export const EMAIL_LENGTH_MAX = 254
export const PHONE_LENGTH_MAX = 40
export const PAYMENT_TERMS_DAYS_MAX = 180
export const CONTACTS_MAX = 20
export const METADATA_KEYS_MAX = 50
export const METADATA_BYTES_MAX = 16_384
const METADATA_KEY_LENGTH_MAX = 64
/** Lists and objects within one another, the metadata itself being the first. */
const METADATA_DEPTH_MAX = 6

const FIELDS: readonly (keyof CustomerFields)[] = [
  'kind',
  'legalName',
  'externalId',
  'country',
  'currency',
  'timeZone',
  'locale',
  'taxId',
  'registrationNumber',
  'contractReference',
  'purchaseOrderNumber',
  'paymentTermsDays',
  'contacts',
  'metadata'
]
const CURRENCIES: ReadonlySet<unknown> = new Set(Intl.supportedValuesOf('currency'))

/** No fault: an empty list. */
export function validateCustomer(fields: unknown): readonly BodyFault[] {
  const faults: BodyFault[] = []
  const body = new Place(fields, '', faults)
  if (!body.isObjectOf(FIELDS)) return faults
  body.field('kind').checkOneOf(CUSTOMER_KINDS)
  body.field('legalName').checkName(NAME_LENGTH_MAX)
  checkPlaceAndMoney(body)
  checkReferences(body)
  body.field('paymentTermsDays').checkInteger(0, PAYMENT_TERMS_DAYS_MAX)
  for (const contact of body.field('contacts').entries(0, CONTACTS_MAX)) checkContact(contact)
  checkMetadata(body.field('metadata'))
  return faults
}

export function checkEmail(email: Place): void {
  email.checkName(EMAIL_LENGTH_MAX)
  if (typeof email.value === 'string') email.checkMatch(/^[^\s@]+@[^\s@]+$/, 'must be an e-mail address')
}

function checkPlaceAndMoney(body: Place): void {
  const country = body.field('country')
  if (typeof country.value !== 'string' || !COUNTRY_CODES.has(country.value)) {
    country.report('must be a country of ISO 3166-1, two upper-case letters')
  }
  const currency = body.field('currency')
  if (!CURRENCIES.has(currency.value)) currency.report('must be a currency of ISO 4217, three upper-case letters')
  const timeZone = body.field('timeZone')
  if (typeof timeZone.value !== 'string' || !isTimeZone(timeZone.value)) timeZone.report('must be an IANA time zone')
  body.field('locale').checkOneOf(LOCALES)
}

/** Terms of payment are anybody's; a purchase order number only an institution's invoices show. */
function checkReferences(body: Place): void {
  const kind = body.field('kind').value
  checkReference(body.field('externalId'), 'optional')
  checkReference(body.field('taxId'), kind === 'sme' ? 'required' : 'optional')
  checkReference(body.field('registrationNumber'), kind === 'institution' ? 'required' : 'optional')
  checkReference(body.field('contractReference'), kind === 'institution' ? 'required' : 'optional')
  const purchaseOrder = body.field('purchaseOrderNumber')
  if (kind === 'sme' && purchaseOrder.value !== null) purchaseOrder.report('is of institutions only')
  else checkReference(purchaseOrder, 'optional')
}

function checkReference(place: Place, presence: 'required' | 'optional'): void {
  if (place.value !== null) place.checkName(REFERENCE_LENGTH_MAX)
  else if (presence === 'required') place.report('is required of a customer of this kind')
}

function checkContact(contact: Place): void {
  if (!contact.isObjectOf(['purpose', 'name', 'email', 'phone'])) return
  contact.field('purpose').checkOneOf(CONTACT_PURPOSES)
  contact.field('name').checkName(NAME_LENGTH_MAX)
  checkEmail(contact.field('email'))
  const phone = contact.field('phone')
  if (phone.value !== undefined && phone.value !== null) phone.checkName(PHONE_LENGTH_MAX)
}

function checkMetadata(metadata: Place): void {
  const { value } = metadata
  const keys = isObject(value) ? Object.keys(value) : []
  if (!metadata.isObjectOf(keys)) return
  if (keys.length > METADATA_KEYS_MAX)
    metadata.report(`must have at most ${METADATA_KEYS_MAX} keys, not ${keys.length}`)
  const tooLong = keys.find((key) => key.length === 0 || key.length > METADATA_KEY_LENGTH_MAX)
  if (tooLong !== undefined)
    metadata.field(tooLong).report(`must have a key of 1 to ${METADATA_KEY_LENGTH_MAX} characters`)
  const fault = findMetadataFault(value, 1)
  if (fault !== null) metadata.report(fault)
  else if (Buffer.byteLength(JSON.stringify(value)) > METADATA_BYTES_MAX) {
    metadata.report(`must be at most ${METADATA_BYTES_MAX} bytes of JSON`)
  }
}

/** What keeps a value from being kept as it is: `jsonb` has no zero character and no half of a surrogate pair. */
function findMetadataFault(value: unknown, depth: number): string | null {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0') ? null : 'must be text of Unicode'
  if (typeof value === 'number') return Number.isFinite(value) ? null : 'must have finite numbers only'
  if (typeof value !== 'object' || value === null) return null
  if (depth > METADATA_DEPTH_MAX) return `must be at most ${METADATA_DEPTH_MAX} levels deep`
  for (const [key, member] of Object.entries(value)) {
    const fault = findMetadataFault(key, depth) ?? findMetadataFault(member, depth + 1)
    if (fault !== null) return fault
  }
  return null
}
