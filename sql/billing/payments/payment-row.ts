// Rows of payment and payment_account, checked as they come out.

import { sql } from 'slonik'
import { Type } from 'typebox'
import { PAYMENT_METHODS, PAYMENT_STATUSES, type Payment } from '../../../domain/billing/payments/payment.ts'
import type { StoredAccount } from '../../../domain/billing/payments/payment-store.ts'
import { type Row, rowParser } from '../../encoding/row-parser.ts'

const NullableText = Type.Union([Type.String(), Type.Null()])

/** Amounts as text: slonik makes one kind of number of every bigint. */
export const PAYMENT_COLUMNS = sql.fragment`
  id, customer_id, invoice_id, provider, method, status, amount_minor::text as amount_minor, currency, reference, failure_code,
  refunded_minor::text as refunded_minor, refunding_minor::text as refunding_minor, refunds, excess_minor::text as excess_minor,
  provider_customer, provider_method, received_at, created_at, updated_at`

export const PAYMENT_SHAPE = {
  id: Type.String(),
  customer_id: Type.String(),
  invoice_id: Type.String(),
  provider: Type.String(),
  method: Type.Enum([...PAYMENT_METHODS]),
  status: Type.Enum([...PAYMENT_STATUSES]),
  amount_minor: Type.String(),
  currency: Type.String(),
  reference: NullableText,
  failure_code: NullableText,
  refunded_minor: Type.String(),
  refunding_minor: Type.String(),
  refunds: Type.Integer(),
  excess_minor: Type.String(),
  provider_customer: NullableText,
  provider_method: NullableText,
  received_at: Type.Union([Type.Number(), Type.Null()]),
  created_at: Type.Number(),
  updated_at: Type.Number()
}

export const PAYMENT_ROW = rowParser('payment', Type.Object(PAYMENT_SHAPE))

export function toPayment(row: Row<typeof PAYMENT_ROW>): Payment {
  const { provider_customer: providerCustomer, provider_method: providerMethod } = row
  return {
    id: row.id,
    customerId: row.customer_id,
    invoiceId: row.invoice_id,
    provider: row.provider,
    method: row.method,
    status: row.status,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    reference: row.reference,
    failureCode: row.failure_code,
    refundedMinor: BigInt(row.refunded_minor),
    refundingMinor: BigInt(row.refunding_minor),
    refunds: row.refunds,
    excessMinor: BigInt(row.excess_minor),
    charged: providerCustomer === null || providerMethod === null ? null : { providerCustomer, providerMethod },
    receivedAt: row.received_at,
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}

export const ACCOUNT_ROW = rowParser(
  'payment_account',
  Type.Object({
    customer_id: Type.String(),
    provider: Type.String(),
    provider_customer: Type.String(),
    provider_method: Type.String(),
    updated_at: Type.Number()
  })
)

export function toAccount(row: Row<typeof ACCOUNT_ROW>): StoredAccount {
  return {
    customerId: row.customer_id,
    provider: row.provider,
    providerCustomer: row.provider_customer,
    providerMethod: row.provider_method,
    updatedAt: row.updated_at
  }
}
