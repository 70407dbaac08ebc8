import Type from 'typebox'
import { MANUAL_METHODS, PAYMENT_METHODS, PAYMENT_STATUSES } from '../../domain/billing/payments/payment.ts'
import type { StoredAccount } from '../../domain/billing/payments/payment-store.ts'
import type { JsonObject } from '../../domain/json.ts'
import { minor } from '../invoices/invoice-schemas.ts'
import * as schemas from '../schemas/shared.ts'

const PAYMENT_ID = '0198c0de-0000-7000-8000-000000000081'
const REFERENCE_LENGTH_MAX = 128
const REASON_LENGTH_MAX = 500

export const PaymentId = Type.String({
  description: 'Id of the payment.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [PAYMENT_ID]
})

const Amount = Type.String({
  description: 'In the minor unit of the currency, decimal digits, since numbers lose some.',
  pattern: '^[1-9][0-9]{0,14}$'
})

export const PaymentStatusAsked = schemas.oneOf(
  PAYMENT_STATUSES,
  '`pending`: the provider has not said yet. `refunded`: all of it was given back.'
)

export const NewPaymentBody = Type.Object(
  {
    amountMinor: Type.String({ ...Amount, description: 'What came: all that is open, or a part of it.' }),
    method: schemas.oneOf(MANUAL_METHODS, 'How it came.'),
    reference: Type.Optional(
      schemas.visible('What the bank or the operator calls it: once for each invoice.', REFERENCE_LENGTH_MAX)
    ),
    receivedAt: Type.Optional({
      ...schemas.Instant,
      description: 'When it came; by default now, never later than a minute from now.'
    })
  },
  {
    ...schemas.strict,
    title: 'NewPayment',
    description: 'Money that came by hand.',
    examples: [
      {
        amountMinor: '4900',
        method: 'bank_transfer',
        reference: 'SEPA 2026-03-12/0042',
        receivedAt: '2026-03-12T08:00:00.000Z'
      }
    ]
  }
)

export const RefundBody = Type.Object(
  {
    amountMinor: Type.Optional(Type.String({ ...Amount, description: 'By default all that is left of the payment.' })),
    reason: Type.String({
      description: 'Printed on the credit note.',
      minLength: 1,
      maxLength: REASON_LENGTH_MAX,
      pattern: schemas.VISIBLE
    })
  },
  { ...schemas.strict, title: 'Refund', examples: [{ amountMinor: '1200', reason: 'Outage of 3 March' }] }
)

export const PaymentTold = Type.Object(
  {
    id: Type.String({ description: 'UUID.' }),
    customerId: Type.String(),
    invoiceId: Type.String(),
    provider: Type.String({ description: '`manual`, or the name of a provider.' }),
    method: schemas.oneOf(PAYMENT_METHODS, 'How it was paid.'),
    status: PaymentStatusAsked,
    amountMinor: minor('What was asked for, or came.'),
    currency: Type.String({ description: 'ISO 4217.' }),
    reference: schemas.NullableString('What the provider or the bank calls it; null until known.'),
    failureCode: schemas.NullableString('Why it failed, by the provider; null otherwise.'),
    refundedMinor: minor('What was given back.'),
    receivedAt: schemas.NullableInstant('When the money came; null until it did.'),
    createdAt: schemas.Instant,
    updatedAt: schemas.Instant
  },
  { ...schemas.strict, title: 'Payment', description: 'An attempt to pay an invoice.' }
)

export const PAYMENT_EXAMPLE = {
  id: PAYMENT_ID,
  customerId: 'clinic-42',
  invoiceId: '0198c0de-0000-7000-8000-000000000061',
  provider: 'manual',
  method: 'bank_transfer',
  status: 'succeeded',
  amountMinor: '4900',
  currency: 'EUR',
  reference: 'SEPA 2026-03-12/0042',
  failureCode: null,
  refundedMinor: '0',
  receivedAt: '2026-03-12T08:00:00.000Z',
  createdAt: '2026-03-12T09:34:12.250Z',
  updatedAt: '2026-03-12T09:34:12.250Z'
} as const

const ACCOUNT = {
  provider: schemas.oneOf(['stripe'], 'Who moves the money.'),
  providerCustomer: Type.String({
    description: 'What the provider knows the customer by.',
    pattern: '^[A-Za-z0-9_-]{1,128}$'
  }),
  providerMethod: Type.String({
    description: "How it pays, as the provider names it: never a card's number.",
    pattern: '^[A-Za-z_][A-Za-z0-9_-]{0,127}$'
  })
}

export const AccountBody = Type.Object(ACCOUNT, {
  ...schemas.strict,
  title: 'NewPaymentAccount',
  examples: [{ provider: 'stripe', providerCustomer: 'cus_QX1', providerMethod: 'pm_1PZ' }]
})

export const AccountTold = Type.Object(
  { customerId: Type.String(), ...ACCOUNT, updatedAt: schemas.Instant },
  { ...schemas.strict, title: 'PaymentAccount', description: 'How a customer pays through a provider.' }
)

export const ACCOUNT_EXAMPLE = {
  customerId: 'clinic-42',
  provider: 'stripe',
  providerCustomer: 'cus_QX1',
  providerMethod: 'pm_1PZ',
  updatedAt: '2026-03-12T09:34:12.250Z'
} as const

export function tellAccount({ updatedAt, provider, ...account }: StoredAccount) {
  if (provider !== 'stripe') throw new Error(`${account.customerId} pays through ${provider}, which nobody knows`)
  return { ...account, provider, updatedAt: new Date(updatedAt).toISOString() } as const satisfies JsonObject
}

export const EventTaken = Type.Object(
  { received: Type.Literal(true, { description: 'It need not be sent again.' }) },
  { ...schemas.strict, title: 'PaymentEventTaken' }
)
