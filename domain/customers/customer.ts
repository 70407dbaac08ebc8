/** Who the platform serves: a small or medium enterprise, or a financial institution. */
import type { Json } from '../json.ts'

export const CUSTOMER_KINDS = ['sme', 'institution'] as const
export type CustomerKind = (typeof CUSTOMER_KINDS)[number]

export const CUSTOMER_STATUSES = ['active', 'suspended', 'closed'] as const
export type CustomerStatus = (typeof CUSTOMER_STATUSES)[number]

export const CONTACT_PURPOSES = ['billing', 'technical', 'legal'] as const

export const LOCALES = ['en', 'fr'] as const

export interface Contact {
  readonly purpose: (typeof CONTACT_PURPOSES)[number]
  readonly name: string
  readonly email: string
  readonly phone: string | null
}

export interface Customer {
  /** UUID v7. Usage events carry it as their subject. */
  readonly id: string
  readonly kind: CustomerKind
  /** Calls of a customer that is suspended or closed are denied, whatever its limits say; closed is for ever. */
  readonly status: CustomerStatus
  readonly legalName: string
  /** What another system calls it; unique. */
  readonly externalId: string | null
  /** ISO 3166-1 alpha-2. */
  readonly country: string
  /** ISO 4217: of its invoices. */
  readonly currency: string
  /** IANA name: windows and billing periods follow its calendar. */
  readonly timeZone: string
  /** Language of its invoices. */
  readonly locale: (typeof LOCALES)[number]
  /** Required of an SME. */
  readonly taxId: string | null
  /** Number in a register or of a licence; required of an institution. */
  readonly registrationNumber: string | null
  /** Required of an institution. */
  readonly contractReference: string | null
  /** On an institution's invoices. */
  readonly purchaseOrderNumber: string | null
  /** Days after the invoice until it is due; 0: on receipt, as SMEs pay unless told otherwise. */
  readonly paymentTermsDays: number
  readonly contacts: readonly Contact[]
  readonly metadata: Readonly<Record<string, Json>>
  /** Raised by one with each change. */
  readonly version: number
  readonly createdAt: number
  readonly updatedAt: number
}
