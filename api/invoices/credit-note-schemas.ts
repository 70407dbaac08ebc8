import Type from 'typebox'
import { CREDIT_NOTE_SETTLEMENTS } from '../../domain/billing/invoices/credit-note.ts'
import * as schemas from '../schemas/shared.ts'
import { INVOICE_EXAMPLE, minor } from './invoice-schemas.ts'

const CREDIT_NOTE_ID = '0198c0de-0000-7000-8000-000000000071'
const REASON_LENGTH_MAX = 500

export const CreditNoteId = Type.String({
  description: 'Id of the credit note.',
  minLength: 1,
  maxLength: 128,
  pattern: schemas.VISIBLE,
  examples: [CREDIT_NOTE_ID]
})

export const NewCreditNoteBody = Type.Object(
  {
    amountMinor: Type.Optional(
      Type.String({
        description:
          "What is credited, tax included, in the minor unit of the invoice's currency, decimal digits. Left out: all that is left, the total less what was credited before.",
        pattern: '^[1-9][0-9]{0,17}$'
      })
    ),
    settlement: Type.Optional({
      ...schemas.oneOf(
        ['invoice', 'credit'],
        "`invoice`: off what is open of it, and what is more than that to the customer's credit. `credit`: to the customer's credit, which pays of its next invoices. Money that was paid is given back through its payment."
      ),
      default: 'invoice'
    }),
    reason: schemas.visible('What it is for.', REASON_LENGTH_MAX)
  },
  {
    ...schemas.strict,
    title: 'NewCreditNote',
    examples: [{ amountMinor: '1200', reason: 'Two hours without service on 12 March.' }]
  }
)

export const CreditNoteTold = Type.Object(
  {
    id: Type.String({ description: 'UUID.' }),
    number: Type.String({ description: 'Gapless in its series.' }),
    customerId: Type.String(),
    invoiceId: Type.String({ description: 'Of what it takes something back.' }),
    currency: Type.String({ description: 'ISO 4217.' }),
    amountMinor: minor('What is credited, tax included.'),
    taxMinor: minor('The part of it that is tax. Notes that take back all of an invoice take back all of its tax.'),
    appliedMinor: minor('The part of it that is no longer to be paid of the invoice.'),
    keptMinor: minor("The part of it that is the customer's credit for later invoices."),
    settlement: schemas.oneOf(CREDIT_NOTE_SETTLEMENTS, 'Where it went; `refund`: paid back.'),
    reason: Type.String({ description: 'What it is for.' }),
    issuedAt: schemas.Instant
  },
  { ...schemas.strict, title: 'CreditNote', description: 'What is taken back of an invoice; never changed.' }
)

export const CREDIT_NOTE_EXAMPLE = {
  id: CREDIT_NOTE_ID,
  number: 'CN-000007',
  customerId: INVOICE_EXAMPLE.customerId,
  invoiceId: INVOICE_EXAMPLE.id,
  currency: 'EUR',
  amountMinor: '1200',
  taxMinor: '200',
  appliedMinor: '1200',
  keptMinor: '0',
  settlement: 'invoice',
  reason: 'Two hours without service on 12 March.',
  issuedAt: '2026-04-02T08:15:00.000Z'
} as const
