import { randomUUIDv7 } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import Type, { type Static } from 'typebox'
import type { InvoiceStore } from '../../domain/billing/invoices/invoice-store.ts'
import { MANUAL, type Payment } from '../../domain/billing/payments/payment.ts'
import { paymentToJson } from '../../domain/billing/payments/payment-json.ts'
import type { PaymentStore } from '../../domain/billing/payments/payment-store.ts'
import { type AccessRule, PLATFORM_ONLY } from '../access/access-rule.ts'
import type { Api } from '../api-dependencies.ts'
import { changeOf, reachOf } from '../changes/change-of.ts'
import { getInvoice } from '../invoices/change-invoice.ts'
import { InvoiceId } from '../invoices/invoice-schemas.ts'
import { InvoicePath } from '../invoices/invoices.ts'
import { ProblemError } from '../problem.ts'
import { pageAsked, pageOf, pageQuery, tellPage } from '../schemas/pages.ts'
import * as schemas from '../schemas/shared.ts'
import { NewPaymentBody, PAYMENT_EXAMPLE, PaymentId, PaymentStatusAsked, PaymentTold } from './payment-schemas.ts'

export interface PaymentDependencies {
  readonly invoiceStore: Pick<InvoiceStore, 'find'>
  readonly paymentStore: PaymentStore
  readonly now: () => number
}

export const READ_PAYMENTS: AccessRule = { scope: 'payments:read', roles: ['owner', 'admin', 'billing'] }
export const WRITE_PAYMENTS: AccessRule = { scope: 'payments:write', roles: PLATFORM_ONLY }

/** So far ahead a caller's clock may be. */
const CLOCKS_DIFFER_MS = 60_000

export const PaymentPath = Type.Object({ paymentId: PaymentId }, schemas.strict)

export function paymentRoutes(api: Api, dependencies: PaymentDependencies): void {
  recordRoute(api, dependencies)
  listRoute(api, dependencies)
  getRoute(api, dependencies)
}

function recordRoute(api: Api, dependencies: PaymentDependencies): void {
  const { paymentStore } = dependencies
  api.post(
    '/v1/invoices/:invoiceId/payments',
    {
      config: { access: WRITE_PAYMENTS },
      schema: {
        operationId: 'recordPayment',
        tags: ['payments'],
        summary: 'Record money that came by hand',
        description:
          'By bank transfer or mobile money: all that is open of the invoice, or a part of it. What is being charged through a provider is not open meanwhile. An invoice of which nothing is open any more is paid.',
        params: InvoicePath,
        body: NewPaymentBody,
        response: {
          201: schemas.answer(PaymentTold, 'The payment.', PAYMENT_EXAMPLE),
          ...schemas.problems(
            'malformed-json',
            'unsupported-media-type',
            'validation-failed',
            'unknown-invoice',
            'illegal-transition',
            'more-than-open',
            'reference-taken',
            'idempotency-in-flight',
            'idempotency-key-reused',
            'service-unavailable'
          )
        }
      }
    },
    async (request, reply) => {
      const invoice = await getInvoice(request, dependencies)
      const { id: invoiceId, customerId, currency } = invoice
      const payment = recorded(request.body, { invoiceId, customerId, currency, now: dependencies.now() })
      const told = paymentToJson(payment)
      const headers = { location: `/v1/payments/${payment.id}` }
      const change = changeOf(request, {
        ...subjectOf(payment),
        action: 'payment.recorded',
        before: null,
        after: told,
        answer: { status: 201, headers, body: JSON.stringify(told) }
      })
      const outcome = await paymentStore.record(payment, change)
      if (outcome === 'unknown-invoice') throw new Error(`invoice ${invoiceId} is gone`)
      if (outcome === 'nothing-open') {
        throw new ProblemError('illegal-transition', `Nothing is to be paid of an invoice that is ${invoice.status}.`)
      }
      if (outcome === 'more-than-open') throw moreThanOpen()
      if (outcome === 'reference-taken') throw referenceTaken(payment)
      return reply.code(201).headers(headers).send(told)
    }
  )
}

function listRoute(api: Api, { paymentStore }: PaymentDependencies): void {
  api.get(
    '/v1/payments',
    {
      config: { access: READ_PAYMENTS },
      schema: {
        operationId: 'listPayments',
        tags: ['payments'],
        summary: 'Payments',
        description: "Also those that failed. A customer's credential sees its own customer's.",
        querystring: Type.Object(
          {
            customerId: Type.Optional(schemas.CustomerId),
            invoiceId: Type.Optional(InvoiceId),
            status: Type.Optional(PaymentStatusAsked),
            ...pageQuery
          },
          schemas.strict
        ),
        response: {
          200: pageOf(PaymentTold, 'A page of payments.', PAYMENT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-customer', 'service-unavailable')
        }
      }
    },
    async (request) => {
      const { customerId = null, invoiceId = null, status = null, ...page } = request.query
      const asked = { customerId, invoiceId, status, ...pageAsked(page) }
      return tellPage(await paymentStore.list(reachOf(request), asked), paymentToJson)
    }
  )
}

function getRoute(api: Api, dependencies: PaymentDependencies): void {
  api.get(
    '/v1/payments/:paymentId',
    {
      config: { access: READ_PAYMENTS },
      schema: {
        operationId: 'getPayment',
        tags: ['payments'],
        summary: 'A payment',
        params: PaymentPath,
        response: {
          200: schemas.answer(PaymentTold, 'The payment.', PAYMENT_EXAMPLE),
          ...schemas.problems('validation-failed', 'unknown-payment', 'service-unavailable')
        }
      }
    },
    async (request) => paymentToJson(await getPayment(request, dependencies))
  )
}

export type PaymentRequest = FastifyRequest & { readonly params: { readonly paymentId: string } }

/** Within the caller's reach. */
export async function getPayment(
  request: PaymentRequest,
  { paymentStore }: { readonly paymentStore: Pick<PaymentStore, 'find'> }
): Promise<Payment> {
  const { paymentId } = request.params
  const payment = await paymentStore.find(reachOf(request), paymentId)
  if (payment === null) throw new ProblemError('unknown-payment', `There is no payment ${paymentId}.`)
  return payment
}

/** Whom and what a change of a payment is about. */
export function subjectOf({ id, customerId, updatedAt }: Payment) {
  return { customerId, entity: { kind: 'payment', id }, at: updatedAt }
}

function recorded(
  { amountMinor, method, reference, receivedAt: stated }: Static<typeof NewPaymentBody>,
  { now, ...of }: Pick<Payment, 'invoiceId' | 'customerId' | 'currency'> & { readonly now: number }
): Payment {
  const receivedAt = stated === undefined ? now : Date.parse(stated)
  if (receivedAt > now + CLOCKS_DIFFER_MS) {
    const errors = [{ field: 'receivedAt', message: 'must not be later than now' }]
    throw new ProblemError('validation-failed', 'See `errors`.', { errors })
  }
  return {
    id: randomUUIDv7(),
    ...of,
    provider: MANUAL,
    method,
    status: 'succeeded',
    amountMinor: BigInt(amountMinor),
    reference: reference ?? null,
    failureCode: null,
    refundedMinor: 0n,
    refundingMinor: 0n,
    refunds: 0,
    excessMinor: 0n,
    charged: null,
    receivedAt,
    createdAt: now,
    updatedAt: now
  }
}

function referenceTaken({ reference, invoiceId }: Payment): ProblemError {
  return new ProblemError(
    'reference-taken',
    `${reference} is recorded of ${invoiceId}: a second one needs a reference of its own.`
  )
}

function moreThanOpen(): ProblemError {
  return new ProblemError('more-than-open', 'Read the invoice again: less than this is open, or a charge is under way.')
}
